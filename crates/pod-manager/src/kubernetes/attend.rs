//! What the router itself asks of a Pod: whether opencode answers, and how far the clone is.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{AsyncBufReadExt, StreamExt};
use kube::api::LogParams;
use session_key::SessionHash;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Inner,
    calls::{Refusal, password_of},
    manifest::{PORT, pod_name},
    observe::{Ready, Silent},
    sight::Up,
};
use crate::{
    git_output::{Progress, parse_progress, strip_control},
    model::{Endpoint, Failure, FailureCode, Password},
    opencode::health,
};

/// How long a turn is.
const TURN: Duration = Duration::from_secs(2);
/// How many are asked at once: a router that begins finds all that run at once.
pub(super) const AT_ONCE: usize = 64;
/// Between two turns for who did not answer in time.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two attempts at a call that was refused.
const AGAIN: Duration = Duration::from_millis(500);
/// Progress is told no more often than this.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Begins to ask what is to be asked of the session's Pod now, and ends what is not.
pub(super) fn attend(inner: &Arc<Inner>, hash: SessionHash) {
    inner.index.attend(
        hash,
        |up, has_password| {
            let inner = inner.clone();
            spawn(async move { probe(&inner, hash, up, has_password).await })
        },
        |uid| {
            let inner = inner.clone();
            spawn(async move { read_clone(&inner, hash, &uid).await })
        },
    );
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    let task: JoinHandle<()> = tokio::spawn(task);
    AbortOnDropHandle::new(task)
}

/// Asks opencode until it answers. It is asked where it is: kubelet's own probes come by the second.
async fn probe(inner: &Inner, hash: SessionHash, up: Up, has_password: bool) {
    let within = inner.settings.answer_within;
    // (Of clocks that disagree, too.)
    let began_lately = inner.clock.now().duration_since(up.since).map_or(true, |since| since <= within);
    let password = match has_password {
        false => None,
        true => match password(inner, hash).await {
            Some(password) => Some(password),
            None => {
                // Nothing but a new start gives it another one.
                let failure = without_password();
                inner.index.learn(hash, |facts| {
                    facts.silent = Some(Silent { run: up.run.clone(), failure, is_over: began_lately });
                });
                return;
            }
        },
    };
    let address = SocketAddr::new(up.address, PORT);
    let mut turns = within.as_millis().div_ceil(TURN.as_millis());
    while !answers(inner, address, password.as_ref()).await {
        turns = turns.saturating_sub(1);
        if turns > 0 {
            continue;
        }
        // One router that can't reach it ends it for all of them: that is for the one that acts, and not while somebody uses it
        // through another.
        let is_over = began_lately && inner.lease.is_held() && !is_used(inner, hash, up.since);
        let failure = silence(within, is_over);
        inner.index.learn(hash, |facts| {
            facts.silent = Some(Silent { run: up.run.clone(), failure, is_over });
        });
        if is_over {
            return;
        }
        sleep(PAUSE).await;
    }
    let endpoint = Endpoint { address, password, run_id: up.run.as_str().into() };
    // Of one that ran long before this router looked, nobody here knows when it first answered.
    let at = if began_lately { inner.clock.now() } else { up.since };
    inner.index.learn(hash, |facts| {
        facts.silent = None;
        facts.ready = Some(Ready { run: up.run, endpoint, at });
    });
}

/// Whether somebody has used it since then, as its claim tells.
fn is_used(inner: &Inner, hash: SessionHash, since: SystemTime) -> bool {
    inner.index.observed(hash).is_some_and(|seen| seen.last_activity > since)
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
async fn answers(inner: &Inner, address: SocketAddr, password: Option<&Password>) -> bool {
    let Ok(_turn) = inner.turns.acquire().await else { return false };
    timeout(TURN, health::answers(&inner.http, address, password)).await.is_ok()
}

/// The session's password, once it can be had; `None` where the API server has said for as long as an opencode may take to
/// answer that there is none. With the API server away it is waited for.
async fn password(inner: &Inner, hash: SessionHash) -> Option<Password> {
    let mut missing: Option<Instant> = None;
    loop {
        let turn = inner.turns.acquire().await;
        let refusal = match inner.calls.server_secret(hash).await {
            Ok(secret) => match password_of(&secret) {
                Some(password) => return Some(password),
                None => Refusal::NotFound,
            },
            Err(refusal) => refusal,
        };
        drop(turn);
        missing = match refusal {
            Refusal::NotFound => missing.or(Some(Instant::now())),
            _ => None,
        };
        if missing.is_some_and(|since| since.elapsed() >= inner.settings.answer_within) {
            return None;
        }
        tracing::debug!(session.hash = %hash, error = %refusal, "the session's password can't be had yet");
        sleep(AGAIN).await;
    }
}

/// Follows what the init container says, while it runs.
async fn read_clone(inner: &Inner, hash: SessionHash, uid: &str) {
    let params = LogParams { container: Some("git-init".into()), follow: true, ..LogParams::default() };
    let log = match inner.calls.pods.log_stream(&pod_name(hash), &params).await {
        Ok(log) => log,
        Err(error) => {
            tracing::debug!(session.hash = %hash, %error, "the clone's log can't be read");
            return;
        }
    };
    let mut lines = log.lines();
    let mut told: Option<(Instant, Progress)> = None;
    while let Some(Ok(line)) = lines.next().await {
        let text = strip_control(&line);
        for step in text.lines().filter_map(parse_progress) {
            let is_news = told.as_ref().is_none_or(|(at, last)| {
                last.message != step.message || at.elapsed() >= TELL_EVERY || step.percent == Some(100)
            });
            if is_news {
                told = Some((Instant::now(), step.clone()));
                inner.index.learn(hash, |facts| facts.clone = Some((uid.to_owned(), step)));
            }
        }
    }
}
