use std::time::Duration;

/// How the manager does its work. [`Default`] is what contract.md promises; tests make it quicker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A session that nobody needs for this long is stopped; [`Duration::MAX`]: never.
    pub idle_timeout: Duration,
    /// Sessions that one user may keep, running or not.
    pub max_sessions: Option<usize>,
    /// Sessions of one user that may run (or start) at once.
    pub max_running: Option<usize>,
    /// Between two questions to a session's opencode while its owner looks.
    pub probe_watched: Duration,
    /// The same while nobody looks.
    pub probe_unwatched: Duration,
    /// The shortest time between two such questions.
    pub probe_shortest: Duration,
    /// How long an opencode that came up may refuse to be greeted before the session is opened all the same.
    pub greet_patience: Duration,
    /// Between two attempts to greet.
    pub greet_pause: Duration,
    /// How often activity is looked through.
    pub sweep: Duration,
    /// Viewers are told of activity alone this often at most.
    pub tell_activity: Duration,
    /// A session's activity is written down this often at most.
    pub write_activity: Duration,
    /// How long a verb waits for what it asked for to be seen.
    pub settle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * 60),
            max_sessions: None,
            max_running: None,
            probe_watched: Duration::from_secs(4),
            probe_unwatched: Duration::from_secs(40),
            probe_shortest: Duration::from_secs(1),
            greet_patience: Duration::from_secs(20),
            greet_pause: Duration::from_millis(500),
            sweep: Duration::from_secs(2),
            tell_activity: Duration::from_secs(10),
            write_activity: Duration::from_secs(60),
            settle: Duration::from_secs(5),
        }
    }
}
