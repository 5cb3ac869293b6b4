//! Wakes sessions: starts a stopped session for a request, and holds the request until the session runs.

use std::{borrow::Cow, fmt::Display, sync::Arc};

use api::server::{AuditAction, Github};
use pod_manager::{BackendError, Limit, Manager, ManagerError, WakeError, WakeStart, manager::Waited};
use proxy_core::{Reason, Refusal, Until, Wake, WakeFuture, WakeRequest};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::Audit,
    credentials,
    metrics::{HeldOutcome, Metrics},
    on_runtime::run_on,
    request_id,
};

/// The manager behind the proxy's trait.
pub(crate) struct SessionWaker {
    pub(crate) manager: Arc<Manager>,
    /// Knows by whom a session's commits are.
    pub(crate) github: Github,
    pub(crate) audit: Arc<Audit>,
    pub(crate) metrics: Arc<Metrics>,
    /// Ends held requests when cancelled.
    pub(crate) release: CancellationToken,
    /// Where sessions are started: a start outlives the request, and the worker that serves it.
    pub(crate) runtime: Handle,
}

impl Wake for SessionWaker {
    fn wake(&self, request: &WakeRequest<'_>, until: Until) -> WakeFuture {
        let (manager, metrics, release) = (self.manager.clone(), self.metrics.clone(), self.release.clone());
        let (hash, user) = (request.route.hash, request.identity.clone());
        let start = self.start(request);
        match until {
            Until::Started => Box::pin(run_on(self.runtime.clone(), async move {
                manager.wake(&user, hash, start).await.map_err(|error| refusal(&error))
            })),
            Until::Running => Box::pin(run_on(self.runtime.clone(), async move {
                let held = metrics.hold_request();
                let woken = release.run_until_cancelled(manager.wake_and_wait(&user, hash, start)).await;
                held.end(outcome(woken.as_ref()));
                match woken {
                    Some(woken) => woken.map_err(|error| refusal(&error)),
                    None => {
                        let text = "The router is shutting down. Send the request again.";
                        Err(not_running(2, "router_stopping", text))
                    }
                }
            })),
        }
    }
}

impl SessionWaker {
    /// Returns how the session is started: with the request's credentials, and with an audit line.
    fn start(&self, request: &WakeRequest<'_>) -> WakeStart {
        let (audit, metrics) = (self.audit.clone(), self.metrics.clone());
        let (hash, user) = (request.route.hash, request.identity.clone());
        let id = request_id::of(request.extensions).to_owned();
        let (github, credentials) = (self.github.clone(), credentials::of(request.extensions));
        WakeStart {
            credentials: Box::pin(async move { github.with_git_author(credentials).await }),
            report: Box::new(move |result| {
                let code = result.as_ref().err().map(|error| code(error));
                metrics.record_wake(code.unwrap_or("started"));
                let action = if code.is_some() { AuditAction::Refused } else { AuditAction::Woken };
                audit.write(action, Some(&user), Some(hash), &id, code);
            }),
        }
    }
}

/// Returns the code of a start that was refused, as the API has it.
fn code(error: &ManagerError) -> &'static str {
    match error {
        ManagerError::NotFound => "not_found",
        ManagerError::LimitReached { .. }
        | ManagerError::TooManyStarts { .. }
        | ManagerError::TooManyAttachTokens => "limit_reached",
        ManagerError::DiskFull => "disk_full",
        ManagerError::Conflict => "conflict",
        ManagerError::Unavailable(_) => "unavailable",
    }
}

fn refusal(error: &WakeError) -> Refusal {
    match error {
        WakeError::NotFound => Refusal::NotFound,
        WakeError::NotStarted(error) => not_started(error),
        WakeError::Failed(failure) => {
            let text = format!("The session failed to start. {} {}", failure.message, failure.advice);
            not_running(30, "session_failed", text)
        }
        WakeError::Stopped => {
            not_running(30, "not_running", "The session was stopped while the request waited for it.")
        }
        WakeError::TimedOut(limit) => {
            let text = format!(
                "The session does not run yet; the request waited {} seconds. Send it again in a moment.",
                limit.as_secs()
            );
            not_running(5, "start_timed_out", text)
        }
        WakeError::TooManyWaiting(Waited::All) => {
            let text = "Too many requests wait for sessions that start. Send the request again in a moment.";
            not_running(10, "too_many_waiting", text)
        }
        WakeError::TooManyWaiting(Waited::Session | Waited::User) => Refusal::LimitReached {
            retry_after: Some(10),
            reason: Reason::new(
                "too_many_waiting",
                "Too many of your requests wait for sessions that start. Send fewer of them at once.",
            ),
        },
    }
}

/// Returns the refusal of a request whose session was not started.
fn not_started(error: &ManagerError) -> Refusal {
    let code = code(error);
    let (retry_after, message): (_, Cow<'static, str>) = match error {
        ManagerError::LimitReached { limit: Limit::Running | Limit::Kept, max } => {
            let text = format!(
                "The session was not started: you have reached your limit of running sessions ({max}). Stop one \
                 and try again."
            );
            (None, text.into())
        }
        ManagerError::TooManyStarts { max_per_minute, retry_after } => {
            let seconds = u32::try_from(retry_after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            let text = format!(
                "The session was not started: you may start {max_per_minute} sessions per minute. Try again in \
                 {seconds} seconds."
            );
            (Some(seconds), text.into())
        }
        ManagerError::DiskFull => {
            let text = "The session was not started: the disk for sessions is full. Delete a session that you \
                        no longer need.";
            return not_running(30, code, text);
        }
        ManagerError::NotFound => return Refusal::NotFound,
        // No start fails because of attach tokens.
        ManagerError::Conflict | ManagerError::Unavailable(_) | ManagerError::TooManyAttachTokens => {
            log_unavailable(error);
            let text =
                "The session was not started: the session backend is unavailable. Try again in a moment.";
            return not_running(5, code, text);
        }
    };
    Refusal::LimitReached { retry_after, reason: Reason::new(code, message) }
}

fn log_unavailable(error: &ManagerError) {
    let cause: &dyn Display = match error {
        ManagerError::Unavailable(cause @ BackendError::Unavailable(_)) => cause,
        other => other,
    };
    tracing::warn!(error = %cause, "a session was not started for a request");
}

fn not_running(retry_after: u32, code: &'static str, message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::NotRunning { retry_after: Some(retry_after), reason: Some(Reason::new(code, message)) }
}

/// Returns what became of a held request; `None` is the router's end.
fn outcome(woken: Option<&Result<(), WakeError>>) -> HeldOutcome {
    match woken {
        Some(Ok(())) => HeldOutcome::Running,
        Some(Err(WakeError::Failed(_) | WakeError::Stopped)) => HeldOutcome::Failed,
        Some(Err(WakeError::TimedOut(_))) => HeldOutcome::TimedOut,
        Some(Err(WakeError::NotFound | WakeError::NotStarted(_) | WakeError::TooManyWaiting(_))) => {
            HeldOutcome::Refused
        }
        None => HeldOutcome::Shutdown,
    }
}
