//! What a pass will do, and what it did.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;
use tokio::time::Instant;

use crate::reconcile::{Action, Conflict, Note};

/// What has to change at Cloudflare. `Display` prints a line for each action, conflict and note.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The changes.
    pub actions: Vec<Action>,
    /// What stays different because it belongs to somebody else: for the log and `/readyz`.
    pub conflicts: Vec<Conflict>,
    /// What is already as desired by somebody else's doing.
    pub notes: Vec<Note>,
    pub(super) hosts: BTreeSet<String>,
    /// The actions on records among `actions`.
    pub(super) records: Vec<Action>,
    /// How many records of ours there are before them.
    pub(super) records_before: usize,
    /// The tunnel's document that the plan was made from; none if it is not managed.
    pub(super) tunnel: Option<PlannedTunnel>,
}

/// The tunnel's document that a plan was made from.
#[derive(Debug, Clone)]
pub(super) struct PlannedTunnel {
    pub(super) version: u64,
    pub(super) config: Value,
    pub(super) read_at: Instant,
    pub(super) rules: usize,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actions.iter().try_for_each(|action| writeln!(f, "{action}"))?;
        self.conflicts.iter().try_for_each(|conflict| writeln!(f, "conflict: {conflict}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        if self.actions.is_empty() { writeln!(f, "nothing to change at Cloudflare") } else { Ok(()) }
    }
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many records and rules were changed.
    pub changes: usize,
    /// How many records of ours there are now.
    pub records: usize,
    /// How many rules of ours there are now.
    pub rules: usize,
    /// The plan's conflicts, and those that Cloudflare's answers brought to light.
    pub conflicts: Vec<Conflict>,
    /// The plan's notes.
    pub notes: Vec<Note>,
    /// How many changes of the tunnel's document by others this pass may have overwritten: they were made in
    /// the moment between its read and its write, which the API gives no means to exclude.
    pub overwritten: u64,
}
