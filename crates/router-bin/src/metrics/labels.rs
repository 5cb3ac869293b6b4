//! The labels, and their values.

use pod_manager::Stage;
use prometheus_client::encoding::EncodeLabelSet;

/// What a request is for: the label `route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// The site's pages.
    Site,
    /// The API.
    Api,
    /// A session's opencode.
    Session,
    /// A dev server in a session.
    Port,
    /// `opencode attach`.
    Attach,
    /// A host name that the router does not serve.
    UnknownHost,
}

impl RouteKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Site, Self::Api, Self::Session, Self::Port, Self::Attach, Self::UnknownHost];

    /// Returns the label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Api => "api",
            Self::Session => "session",
            Self::Port => "port",
            Self::Attach => "attach",
            Self::UnknownHost => "foreign",
        }
    }
}

/// What became of a request to an attach host: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachOutcome {
    /// Its token was accepted.
    Accepted,
    /// It had no token.
    Missing,
    /// Its token was wrong.
    Refused,
    /// Its token was wrong, as too many before it.
    Limited,
    /// A browser sent it.
    Browser,
}

impl AttachOutcome {
    pub(super) const ALL: [Self; 5] =
        [Self::Accepted, Self::Missing, Self::Refused, Self::Limited, Self::Browser];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Browser => "browser",
        }
    }
}

/// What became of a span: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanOutcome {
    /// The collector accepted it.
    Exported,
    /// The collector refused it, or could not be reached until the end.
    Failed,
    /// Too many spans were waiting.
    Dropped,
}

impl SpanOutcome {
    pub(super) const ALL: [Self; 3] = [Self::Exported, Self::Failed, Self::Dropped];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// What became of a held request: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldOutcome {
    /// The session runs, and the request was forwarded.
    Running,
    /// The session failed, or was stopped.
    Failed,
    /// The session did not run in time.
    TimedOut,
    /// The session was not started, or too many requests waited.
    Refused,
    /// The router shut down.
    Shutdown,
    /// The client went away.
    Cancelled,
}

impl HeldOutcome {
    pub(super) const ALL: [Self; 6] =
        [Self::Running, Self::Failed, Self::TimedOut, Self::Refused, Self::Shutdown, Self::Cancelled];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Returns the value of the label `stage`.
pub(crate) fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued => "queued",
        Stage::Scheduled => "scheduled",
        Stage::Volume => "volume",
        Stage::Image => "image",
        Stage::Cloning => "cloning",
        Stage::Starting => "starting",
        Stage::Ready => "ready",
    }
}

/// The values of the label `status` of a request.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) route: &'static str,
    pub(super) status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Route {
    pub(super) route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Status {
    pub(super) status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabel {
    pub(super) stage: &'static str,
}
