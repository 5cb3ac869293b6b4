//! The hook for metrics.

/// Learns of every call of Cloudflare's API.
pub trait CallObserver: Send + Sync + 'static {
    /// Records a call and its outcome.
    ///
    /// `call` is one of [`CALLS`]. `outcome` is the HTTP status (`200`), or `timeout`, `unreachable` or
    /// `invalid_answer`. A call that was not sent (after a 429, until its `Retry-After` has passed) is not
    /// recorded.
    fn record(&self, call: &'static str, outcome: &str);
}

/// All kinds of calls, as [`CallObserver`] is given them.
pub const CALLS: [&str; 9] = [
    "read_zone",
    "read_tunnel",
    "read_tunnel_config",
    "write_tunnel_config",
    "list_records",
    "batch_records",
    "create_record",
    "update_record",
    "delete_record",
];

/// Ignores all calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl CallObserver for NoObserver {
    fn record(&self, _call: &'static str, _outcome: &str) {}
}
