//! Asks a session's Pod what no object says: whether opencode is healthy, and how far the clone is.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use session_key::SessionHash;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    api::ApiError,
    cached_session::{CloneTarget, ProbeTarget},
    context::Context,
    logs::{CloneLog, follow_clone},
    objects::{names::PORT, secret::password_of},
    status::{Clone, Ready, Unresponsive, pod::RunningContainer},
};
use crate::model::{Endpoint, Failure, FailureCode, Password};

/// How long an opencode is probed at once.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two probes of an opencode that was not healthy in time.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How many passwords are read at the same time: a router that starts finds all sessions that run at once.
pub(super) const MAX_READS: usize = 64;
/// The pause between two reads of a password that can't be read.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How long a start lasts before the log of its clone is followed, and the pause before an unreadable log is
/// read again. Most starts are over by then, clone included.
const CLONE_LOG_DELAY: Duration = Duration::from_secs(3);

/// A task, and the run or the Pod that it is for. It ends when it is dropped.
type Task = (String, AbortOnDropHandle<()>);

/// The tasks that ask sessions' Pods.
pub(super) struct Prober {
    ctx: Arc<Context>,
    /// By session, for the run that is probed.
    probes: HashMap<SessionHash, Task>,
    /// By session, for the UID of the Pod whose clone is followed.
    clones: HashMap<SessionHash, Task>,
}

impl Prober {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, probes: HashMap::new(), clones: HashMap::new() }
    }

    /// Starts the tasks that the session's Pod needs now, and ends the others.
    pub(super) fn update(&mut self, hash: SessionHash) {
        let ProbeTarget { container, has_password, cloning } = self.ctx.store.probe_target(hash);
        let ctx = &self.ctx;
        keep_task(
            &mut self.probes,
            hash,
            container.map(|container| (container.run_id.clone(), container)),
            |container| {
                let ctx = ctx.clone();
                // On the heap: the handle keeps a task's own memory after its end.
                tokio::spawn(Box::pin(async move { probe(&ctx, hash, container, has_password).await }))
            },
        );
        keep_task(&mut self.clones, hash, cloning.map(|clone| (clone.id.clone(), clone)), |clone| {
            let ctx = ctx.clone();
            tokio::spawn(Box::pin(async move { watch_clone(&ctx, hash, &clone).await }))
        });
    }
}

/// Makes sure that the session has a task for this key, and none for another one.
fn keep_task<T>(
    tasks: &mut HashMap<SessionHash, Task>,
    hash: SessionHash,
    target: Option<(String, T)>,
    spawn: impl FnOnce(T) -> tokio::task::JoinHandle<()>,
) {
    let Some((key, target)) = target else {
        tasks.remove(&hash);
        return;
    };
    if tasks.get(&hash).is_none_or(|(current, _)| *current != key) {
        tasks.insert(hash, (key, AbortOnDropHandle::new(spawn(target))));
    }
}

/// Probes opencode until it is healthy. The router probes it itself, since kubelet probes once in a second at
/// most.
async fn probe(ctx: &Context, hash: SessionHash, container: RunningContainer, has_password: bool) {
    let RunningContainer { address, run_id, started_at } = container;
    let limit = ctx.settings.ready_timeout;
    // It also counts as new if the node's clock is ahead of this one.
    let is_new = ctx.clock.now().duration_since(started_at).map_or(true, |age| age <= limit);
    let report_failure = |failure, has_failed| {
        let unresponsive = Unresponsive { run_id: run_id.clone(), failure, has_failed };
        ctx.store.update_probes(hash, |probes| probes.unresponsive = Some(unresponsive));
    };
    let password = match has_password {
        false => None,
        true => match password(ctx, hash).await {
            Some(password) => Some(password),
            // Only a new start gives the session another password.
            None => return report_failure(password_missing(), is_new),
        },
    };
    let address = SocketAddr::new(address, PORT);
    let mut check = ctx.health_checks.check(address, password.as_ref());
    let mut left = limit;
    loop {
        let (time, requests) = (left.min(PROBE_TIMEOUT), check.requests());
        // On the heap, so that a probe that waits for its password is small.
        if timeout(time, Box::pin(check.wait_healthy())).await.is_ok() {
            break;
        }
        // A clone may take any time, and while many sessions start, the turn of this one may not have come.
        if ctx.store.is_cloning(hash, &run_id) || check.requests() == requests {
            continue;
        }
        left = left.saturating_sub(time);
        if !left.is_zero() {
            continue;
        }
        left = PROBE_TIMEOUT;
        // Giving up ends the session for every replica, so only the leader may do it, and not while somebody
        // uses the session through another replica.
        let has_failed = is_new && ctx.leader.is_leader() && !was_used_since(ctx, hash, started_at);
        report_failure(unresponsive(limit, has_failed), has_failed);
        if has_failed {
            return;
        }
        sleep(PROBE_INTERVAL).await;
    }
    // Nobody knows when an opencode that started long ago became healthy.
    let at = if is_new { ctx.clock.now() } else { started_at };
    let endpoint = Endpoint { address, password, run_id: run_id.as_str().into() };
    ctx.store.update_probes(hash, |probes| {
        probes.unresponsive = None;
        probes.ready = Some(Ready { run_id, endpoint, at });
    });
}

/// Reports how far the clone is, until it has ended or nobody wants to know any more.
async fn watch_clone(ctx: &Context, hash: SessionHash, clone: &CloneTarget) {
    sleep(CLONE_LOG_DELAY).await;
    let report = |said| {
        let (progress, ended) = match said {
            CloneLog::Started => (None, None),
            CloneLog::Progress(progress) => (Some(progress), None),
            CloneLog::Ended => (None, Some(ctx.clock.now())),
        };
        let id = clone.id.clone();
        ctx.store.update_probes(hash, |probes| probes.clone = Some(Clone { id, progress, ended }));
    };
    while !follow_clone(&ctx.api, hash, clone.container, report).await {
        sleep(CLONE_LOG_DELAY).await;
    }
}

/// Returns whether the claim says that somebody has used the session since then.
fn was_used_since(ctx: &Context, hash: SessionHash, since: SystemTime) -> bool {
    ctx.store.status(hash).is_some_and(|status| status.last_activity > since)
}

fn password_missing() -> Failure {
    Failure {
        code: FailureCode::BackendError,
        message:
            "The session's password is missing: its Secret opencode-server-… does not exist or can't be read."
                .into(),
        advice: "Stop the session and resume it to give it a new password. Its files are kept.".into(),
        log_tail: None,
    }
}

fn unresponsive(limit: Duration, has_failed: bool) -> Failure {
    let advice = if has_failed {
        "The log may say why. Resume the session to try again."
    } else {
        "The session was started earlier and is left running; it can be opened once opencode answers. Resume it to \
         restart it."
    };
    Failure {
        code: FailureCode::OpencodeNotReady,
        message: format!("opencode did not answer within {} seconds.", limit.as_secs()),
        advice: format!(
            "{advice} If this happens to all sessions, the router can't reach port {PORT} of the Pods."
        ),
        log_tail: None,
    }
}

/// Returns the session's password. The router that has created the Pod knows it.
async fn password(ctx: &Context, hash: SessionHash) -> Option<Password> {
    match ctx.store.take_password(hash) {
        Some(password) => Some(password),
        None => read_password(ctx, hash).await,
    }
}

/// Returns the session's password; `None` once the API server has said for `ready_timeout` that there is
/// none. While the API server is unreachable, this waits.
async fn read_password(ctx: &Context, hash: SessionHash) -> Option<Password> {
    let mut missing_since: Option<Instant> = None;
    loop {
        let permit = ctx.password_permits.acquire().await;
        // On the heap, so that a probe that waits for its turn is small.
        let error = match Box::pin(ctx.api.server_secret(hash)).await {
            Ok(secret) => match password_of(&secret) {
                Some(password) => return Some(password),
                None => ApiError::NotFound,
            },
            Err(error) => error,
        };
        drop(permit);
        missing_since = match error {
            ApiError::NotFound => missing_since.or(Some(Instant::now())),
            _ => None,
        };
        if missing_since.is_some_and(|since| since.elapsed() >= ctx.settings.ready_timeout) {
            return None;
        }
        tracing::debug!(session.hash = %hash, %error, "password unreadable; retrying");
        sleep(RETRY_INTERVAL).await;
    }
}
