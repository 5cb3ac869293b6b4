//! Calls that the stand-in refuses.

/// A call that is refused, with the status, code and text of the real API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: u64,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: u64, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }
}
