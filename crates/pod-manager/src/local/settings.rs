use std::{ffi::OsString, io, path::PathBuf, time::Duration};

use thiserror::Error;

/// What the local backend needs to know.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// Where sessions are kept; made where it is not there. One router at a time.
    pub state_dir: PathBuf,
    /// The opencode program; a bare name is looked for in `PATH`.
    pub opencode: PathBuf,
    /// The git program; a bare name is looked for in `PATH`.
    pub git: PathBuf,
    /// The machine is the one user's own: their home, git identity, ssh keys, opencode configuration and
    /// provider keys are the session's too. Otherwise each session has a home of its own, and only
    /// harmless variables go in.
    pub own_machine: bool,
    /// The variables that the router itself was given. Those that are the router's own business never
    /// reach a session, and where the machine is not the user's own only an allow-list does.
    pub environment: Vec<(OsString, OsString)>,
    /// Further variables for every session, as they are; they win over `environment`.
    pub variables: Vec<(OsString, OsString)>,
    /// How long things may take, and how much of them there may be.
    pub limits: Limits,
}

impl LocalSettings {
    /// Settings for the one user of their own machine, without any variable.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, opencode: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            opencode: opencode.into(),
            git: "git".into(),
            own_machine: true,
            environment: Vec::new(),
            variables: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// How long things may take, and how much of them there may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From opencode's start to its first answer.
    pub ready: Duration,
    /// From a polite request to end until force is used.
    pub stop: Duration,
    /// To bring a clone that is there up to date; after it the session starts with what it has.
    pub fetch: Duration,
    /// To tell what deleting a session would lose.
    pub question: Duration,
    /// How often opencode is started again by itself before the session has failed.
    pub restarts: u32,
    /// The pause before it is started again; it doubles each time, up to [`Limits::LONGEST_PAUSE`].
    pub pause: Duration,
    /// After running for so long the restarts are counted anew.
    pub settled: Duration,
    /// Bytes that one log file may have; two older ones are kept beside it.
    pub log_bytes: u64,
}

impl Limits {
    /// The longest pause before opencode is started again.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(60),
            stop: Duration::from_secs(10),
            fetch: Duration::from_secs(20),
            question: Duration::from_secs(10),
            restarts: 4,
            pause: Duration::from_millis(500),
            settled: Duration::from_secs(600),
            log_bytes: 4 << 20,
        }
    }
}

/// Why the local backend can't be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Another router works on the same folder.
    #[error(
        "{} is in use by another router{}: stop that one first, or set another STATE_DIR",
        state_dir.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        state_dir: PathBuf,
        /// The other router's process id, where it can be told.
        pid: Option<u32>,
    },
    /// A newer router has written there what this one can't read.
    #[error(
        "{} was written by a newer router: use that one, or set another STATE_DIR",
        state_dir.display()
    )]
    Newer {
        /// The folder.
        state_dir: PathBuf,
    },
    /// The folder can't be made, read or written.
    #[error("sessions can't be kept in {}: check that it can be written to, or set another STATE_DIR", path.display())]
    Folder {
        /// What could not be used.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something that every session needs could not be made.
    #[error("the local backend can't be set up: {0}")]
    Setup(String),
}
