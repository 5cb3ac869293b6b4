//! What a pass will do, and what it did.

use std::fmt;

/// What has to change at Cloudflare. `Display` prints one line for each action and conflict.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes, as sentences, in order.
    pub actions: Vec<String>,
    /// What stays different because it belongs to somebody else, or because the tunnel does not allow it:
    /// sentences for the log and for `/readyz`.
    pub conflicts: Vec<String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actions.iter().try_for_each(|action| writeln!(f, "{action}"))?;
        self.conflicts.iter().try_for_each(|conflict| writeln!(f, "conflict: {conflict}"))
    }
}

/// What a pass did.
#[derive(Debug, Default)]
pub struct Report {
    /// How many records and rules were changed.
    pub changes: usize,
    /// How many records of ours there are now.
    pub records: usize,
    /// How many rules of ours there are now.
    pub rules: usize,
}
