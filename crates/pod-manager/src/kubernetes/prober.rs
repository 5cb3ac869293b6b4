//! What the router itself asks of a Pod: whether opencode answers, and how far the clone is.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use session_key::SessionHash;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    api::ApiError,
    context::Context,
    logs::follow_clone,
    objects::{names::PORT, secret::password_of},
    status::{Ready, Unresponsive, pod::RunningContainer},
};
use crate::{
    model::{Endpoint, Failure, FailureCode, Password},
    opencode::health::HealthCheck,
};

/// How long a turn is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How many are asked at once: a router that begins finds all that run at once.
pub(super) const MAX_CONCURRENT: usize = 64;
/// Between two turns for who did not answer in time.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two attempts at a call that was refused.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Begins to ask what is to be asked of the session's Pod now, and ends what is not.
pub(super) fn attend(ctx: &Arc<Context>, hash: SessionHash) {
    ctx.store.attend(
        hash,
        |up, has_password| {
            let ctx = ctx.clone();
            spawn(async move { probe(&ctx, hash, up, has_password).await })
        },
        |uid| {
            let ctx = ctx.clone();
            spawn(async move { read_clone(&ctx, hash, &uid).await })
        },
    );
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    let task: JoinHandle<()> = tokio::spawn(task);
    AbortOnDropHandle::new(task)
}

/// Asks opencode until it answers. It is asked where it is: kubelet's own probes come by the second.
async fn probe(ctx: &Context, hash: SessionHash, up: RunningContainer, has_password: bool) {
    let within = ctx.settings.answer_within;
    // (Of clocks that disagree, too.)
    let began_lately = ctx.clock.now().duration_since(up.started_at).map_or(true, |since| since <= within);
    let password = match has_password {
        false => None,
        true => match password(ctx, hash).await {
            Some(password) => Some(password),
            None => {
                // Nothing but a new start gives it another one.
                let failure = without_password();
                ctx.store.update_probes(hash, |probes| {
                    probes.unresponsive =
                        Some(Unresponsive { run_id: up.run_id.clone(), failure, is_over: began_lately });
                });
                return;
            }
        },
    };
    let address = SocketAddr::new(up.address, PORT);
    let mut turns = within.as_millis().div_ceil(PROBE_TIMEOUT.as_millis());
    let mut check = HealthCheck::new(&ctx.http, address, password.as_ref());
    while !answers(ctx, &mut check).await {
        turns = turns.saturating_sub(1);
        if turns > 0 {
            continue;
        }
        // One router that can't reach it ends it for all of them: that is for the one that acts, and not while somebody uses it
        // through another.
        let is_over = began_lately && ctx.leader.is_leader() && !is_used(ctx, hash, up.started_at);
        let failure = silence(within, is_over);
        ctx.store.update_probes(hash, |probes| {
            probes.unresponsive = Some(Unresponsive { run_id: up.run_id.clone(), failure, is_over });
        });
        if is_over {
            return;
        }
        sleep(PAUSE).await;
    }
    let endpoint = Endpoint { address, password, run_id: up.run_id.as_str().into() };
    // Of one that ran long before this router looked, nobody here knows when it first answered.
    let at = if began_lately { ctx.clock.now() } else { up.started_at };
    ctx.store.update_probes(hash, |probes| {
        probes.unresponsive = None;
        probes.ready = Some(Ready { run_id: up.run_id, endpoint, at });
    });
}

/// Whether somebody has used it since then, as its claim tells.
fn is_used(ctx: &Context, hash: SessionHash, since: SystemTime) -> bool {
    ctx.store.status(hash).is_some_and(|seen| seen.last_activity > since)
}

fn without_password() -> Failure {
    Failure {
        code: FailureCode::BackendError,
        message: "The session's password is gone: its Secret opencode-server-… is missing, or can't be read."
            .into(),
        advice: "Stop the session and resume it: it gets another one. Its files are kept.".into(),
        log_tail: None,
    }
}

fn silence(within: Duration, is_over: bool) -> Failure {
    let advice = if is_over {
        "The log may say why; resume the session to try again. If all sessions fail so, the router can't reach the Pods' port 4096."
    } else {
        "It ran before and is left running; it is shown again once it answers. Resume it to start it anew. If all sessions fail so, the router can't reach the Pods' port 4096."
    };
    Failure {
        code: FailureCode::OpencodeNotReady,
        message: format!("opencode did not answer within {} seconds.", within.as_secs()),
        advice: advice.into(),
        log_tail: None,
    }
}

/// Whether opencode answers, in a turn's time.
async fn answers(ctx: &Context, check: &mut HealthCheck<'_>) -> bool {
    let Ok(_turn) = ctx.probe_permits.acquire().await else { return false };
    timeout(PROBE_TIMEOUT, check.wait_healthy()).await.is_ok()
}

/// The session's password, once it can be had; `None` where the API server has said for as long as an opencode may take to
/// answer that there is none. With the API server away it is waited for.
async fn password(ctx: &Context, hash: SessionHash) -> Option<Password> {
    let mut missing: Option<Instant> = None;
    loop {
        let turn = ctx.probe_permits.acquire().await;
        let error = match ctx.api.server_secret(hash).await {
            Ok(secret) => match password_of(&secret) {
                Some(password) => return Some(password),
                None => ApiError::NotFound,
            },
            Err(error) => error,
        };
        drop(turn);
        missing = match error {
            ApiError::NotFound => missing.or(Some(Instant::now())),
            _ => None,
        };
        if missing.is_some_and(|since| since.elapsed() >= ctx.settings.answer_within) {
            return None;
        }
        tracing::debug!(session.hash = %hash, %error, "the session's password can't be had yet");
        sleep(RETRY_INTERVAL).await;
    }
}

/// Follows the clone's log while the init container runs.
async fn read_clone(ctx: &Context, hash: SessionHash, uid: &str) {
    let report =
        |progress| ctx.store.update_probes(hash, |probes| probes.clone = Some((uid.to_owned(), progress)));
    follow_clone(&ctx.api, hash, report).await;
}
