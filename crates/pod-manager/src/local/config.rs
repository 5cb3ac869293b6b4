//! Settings of the local backend.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::session_addresses::SessionAddresses;

/// Settings of the local backend.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// Where sessions are stored; created if it is missing. One router at a time uses it.
    pub state_dir: PathBuf,
    /// The opencode program; a bare name is looked for in `PATH`.
    pub opencode: PathBuf,
    /// The git program; a bare name is looked for in `PATH`.
    pub git: PathBuf,
    /// The machine has one user, whose home, git identity, SSH keys, opencode configuration and provider
    /// keys every session uses. Otherwise each session has a home of its own, and gets only harmless
    /// variables.
    pub single_user: bool,
    /// The router's own environment. Variables of the router never reach a session; without
    /// `single_user` only those on an allow-list do.
    pub environment: Vec<(OsString, OsString)>,
    /// The public addresses of sessions; with them, a session knows its own names.
    pub addresses: Option<SessionAddresses>,
    /// Further variables for every session; they win over `environment`.
    pub variables: Vec<(OsString, OsString)>,
    /// Times and sizes.
    pub limits: Limits,
}

impl LocalSettings {
    /// Creates settings for a machine with one user, without any variable.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, opencode: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            opencode: opencode.into(),
            git: "git".into(),
            single_user: true,
            environment: Vec::new(),
            addresses: None,
            variables: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Times and sizes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long opencode may take to become healthy.
    pub ready: Duration,
    /// How long processes may take to end before they are killed.
    pub stop: Duration,
    /// How long a fetch may take; after it the session starts without.
    pub fetch: Duration,
    /// How long it may take to find out what deleting a session would lose.
    pub unsaved_work: Duration,
    /// How often opencode is restarted before the session fails.
    pub restarts: u32,
    /// The delay before a restart; it doubles each time, up to [`Limits::MAX_RESTART_DELAY`].
    pub restart_delay: Duration,
    /// After running for this long, restarts are counted from zero again.
    pub stable_after: Duration,
    /// The size of one log file in bytes; two older ones are kept beside it.
    pub log_bytes: u64,
}

impl Limits {
    /// The longest delay before a restart.
    pub const MAX_RESTART_DELAY: Duration = Duration::from_secs(30);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(60),
            stop: Duration::from_secs(10),
            fetch: Duration::from_secs(20),
            unsaved_work: Duration::from_secs(10),
            restarts: 4,
            restart_delay: Duration::from_millis(500),
            stable_after: Duration::from_secs(600),
            log_bytes: 4 << 20,
        }
    }
}
