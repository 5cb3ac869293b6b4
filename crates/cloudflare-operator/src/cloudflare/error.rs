//! Why Cloudflare was not reconciled.

use std::time::Duration;

use thiserror::Error;

/// Why a pass failed. The next pass starts again from what is there, so every error is worth another attempt;
/// [`CloudflareError::needs_operator`] tells the ones that no attempt can cure.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloudflareError {
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be built: {0}")]
    Client(String),
    /// No connection, or it ended before the answer was complete. A write may have had its effect.
    #[error("Cloudflare's API can't be reached: {0}")]
    Unreachable(String),
    /// No complete answer in time. A write may have had its effect.
    #[error("Cloudflare's API did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// HTTP 429, or still within the `Retry-After` of an earlier one: then no call was made.
    #[error("Cloudflare limits the calls of this token's owner; the next attempt is in {} s", .0.as_secs())]
    RateLimited(Duration),
    /// A 5xx.
    #[error("Cloudflare's API answered {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, if it was sent.
        retry_after: Option<Duration>,
    },
    /// The token is wrong, expired or revoked.
    #[error("Cloudflare does not accept the token ({message}, code {code}). Check CF_API_TOKEN")]
    Unauthorized {
        /// Cloudflare's code: 10000, 9109, 6003, …
        code: u64,
        /// Cloudflare's text.
        message: String,
    },
    /// The token lacks a right.
    #[error("the token may not {call} ({message}, code {code}). It needs {needs}")]
    Forbidden {
        /// The kind of call.
        call: &'static str,
        /// The right that the call needs, by its name in the dashboard.
        needs: &'static str,
        /// Cloudflare's code.
        code: u64,
        /// Cloudflare's text.
        message: String,
    },
    /// There is no such zone, or the token may not see it.
    #[error("zone {0} does not exist, or the token may not see it. Check CF_ZONE_ID")]
    ZoneNotFound(String),
    /// The tunnel was deleted, or never existed in the zone's account.
    #[error("tunnel {0} does not exist in the account of the zone. Check CF_TUNNEL_ID")]
    TunnelNotFound(String),
    /// Records outside of a zone can't be made; Cloudflare would append the zone's name.
    #[error("the domain {domain} is not in the zone {zone}. Check DOMAIN and CF_ZONE_ID")]
    WrongZone {
        /// The domain of the hosts.
        domain: String,
        /// The zone's name.
        zone: String,
    },
    /// The zone is full.
    #[error("the zone's quota of records is used up ({0}). Remove records, or use ROUTES=wildcard")]
    RecordQuota(String),
    /// Cloudflare refused a request for another reason.
    #[error("Cloudflare refused to {call}: {message} (HTTP {status}, code {code})")]
    Refused {
        /// The kind of call.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// Cloudflare's code; 0 if the answer had none.
        code: u64,
        /// Cloudflare's text.
        message: String,
    },
    /// The answer is not what the API documents.
    #[error("Cloudflare's answer to {call} can't be read: {reason}")]
    InvalidAnswer {
        /// The kind of call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The tunnel's document has a form that can't be changed safely. Nothing was written.
    #[error("the tunnel's configuration can't be changed safely: {0}")]
    UnknownDocument(String),
    /// Somebody else changed the tunnel's document each time that it was written.
    #[error("the tunnel's configuration is changed by somebody else all the time; the next pass tries again")]
    Contended,
}

impl CloudflareError {
    /// Returns a stable word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::RateLimited(_) => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::ZoneNotFound(_) => "zone_not_found",
            Self::TunnelNotFound(_) => "tunnel_not_found",
            Self::WrongZone { .. } => "wrong_zone",
            Self::RecordQuota(_) => "record_quota",
            Self::Refused { .. } => "refused",
            Self::InvalidAnswer { .. } => "invalid_answer",
            Self::UnknownDocument(_) => "unknown_document",
            Self::Contended => "contended",
        }
    }

    /// Returns how long to wait before the next pass, if Cloudflare said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(delay) => Some(*delay),
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether somebody has to change the configuration, or something at Cloudflare. Further attempts are
    /// still right, but rarely: the change may happen at Cloudflare, where nobody restarts the operator.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::Client(_)
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::ZoneNotFound(_)
            | Self::TunnelNotFound(_)
            | Self::WrongZone { .. }
            | Self::RecordQuota(_)
            | Self::UnknownDocument(_) => true,
            Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::RateLimited(_)
            | Self::Unavailable { .. }
            | Self::Refused { .. }
            | Self::InvalidAnswer { .. }
            | Self::Contended => false,
        }
    }
}
