//! What goes wrong, when.

use serde::{Deserialize, Serialize};

/// A fault that is waiting for its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of call that it meets, one of [`CALLS`](crate::cloudflare::CALLS); any if it is missing.
    #[serde(default)]
    pub call: Option<String>,
    /// How many calls it meets.
    #[serde(default = "one")]
    pub times: u32,
    /// Whether the call has its effect nevertheless.
    #[serde(default)]
    pub after_effect: bool,
    /// What the client sees.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What the client sees of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// An answer with this status.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After` in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Cloudflare's code.
        #[serde(default)]
        code: u64,
    },
    /// The connection ends without an answer.
    Drop,
    /// The connection ends in the middle of the answer.
    Half,
    /// No answer, ever.
    Hang,
    /// 200 with a body that is not JSON.
    Garbage,
    /// 200 with a body that never ends.
    Endless,
    /// 302 to another address.
    Redirect,
}

impl Fault {
    /// Creates a fault that meets any one call, before its effect.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self { call: None, times: 1, after_effect: false, kind }
    }

    /// Creates a fault that answers one call with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(FaultKind::Status { status, retry_after: None, code: 0 })
    }

    /// Limits the fault to one kind of call.
    #[must_use]
    pub fn at(mut self, call: &str) -> Self {
        self.call = Some(call.to_owned());
        self
    }

    /// Lets the fault meet so many calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Lets the call have its effect nevertheless.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        self.after_effect = true;
        self
    }
}

fn one() -> u32 {
    1
}
