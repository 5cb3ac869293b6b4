//! The manager's limits and intervals.

use std::time::Duration;

/// Limits and intervals of the manager. The intervals of [`Default`] are those that users are promised; tests
/// shorten them.
#[derive(Debug, Clone)]
pub struct ManagerSettings {
    /// A session that nobody needs for this long is stopped; [`Duration::MAX`]: never.
    pub idle_timeout: Duration,
    /// The most sessions that one user may keep, running or not; `None`: no limit.
    pub max_sessions: Option<usize>,
    /// The most sessions of one user that may run or start at once; `None`: no limit.
    pub max_running: Option<usize>,
    /// How often one user may create, or resume, a session per minute, with bursts of as many; `None`: no
    /// limit.
    pub max_starts_per_minute: Option<u32>,
    /// How long an attach token is valid unless its creator says.
    pub attach_token_lifetime: Duration,
    /// The longest time that an attach token may be valid.
    pub max_attach_token_lifetime: Duration,
    /// Between two probes of a session while its owner watches it.
    pub probe_interval_watched: Duration,
    /// Between two probes of a session that nobody watches.
    pub probe_interval_unwatched: Duration,
    /// The shortest time between two probes.
    pub min_probe_interval: Duration,
    /// How long opening the first conversation may fail before the session is opened to its owner without it.
    pub deliver_timeout: Duration,
    /// Between two attempts to open the first conversation.
    pub deliver_interval: Duration,
    /// How long an opencode that has accepted the first prompt may take to store it before the session is
    /// opened to its owner.
    pub store_timeout: Duration,
    /// How often activity is collected, and state that the backend never confirmed is dropped.
    pub sweep_interval: Duration,
    /// Subscribers are notified of activity alone this often at most.
    pub activity_notify_interval: Duration,
    /// The activity of a session is written to the backend this often at most.
    pub activity_write_interval: Duration,
    /// How long a command waits until its effect is visible.
    pub visible_timeout: Duration,
    /// How long a request waits for a session that was started for it.
    pub wake_timeout: Duration,
    /// How many requests may wait for sessions.
    pub waiting: WaitingLimits,
}

/// How many requests may wait for sessions that are being started for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingLimits {
    /// For one session.
    pub per_session: usize,
    /// For all sessions of one user.
    pub per_user: usize,
    /// For all sessions.
    pub total: usize,
}

impl Default for WaitingLimits {
    fn default() -> Self {
        Self { per_session: 512, per_user: 1_024, total: 4_096 }
    }
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * 60),
            max_sessions: None,
            max_running: None,
            max_starts_per_minute: None,
            attach_token_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            max_attach_token_lifetime: Duration::from_secs(90 * 24 * 60 * 60),
            probe_interval_watched: Duration::from_secs(4),
            probe_interval_unwatched: Duration::from_secs(40),
            min_probe_interval: Duration::from_secs(1),
            deliver_timeout: Duration::from_secs(20),
            deliver_interval: Duration::from_millis(500),
            store_timeout: Duration::from_secs(10),
            sweep_interval: Duration::from_secs(2),
            activity_notify_interval: Duration::from_secs(10),
            activity_write_interval: Duration::from_secs(60),
            visible_timeout: Duration::from_secs(5),
            wake_timeout: Duration::from_secs(90),
            waiting: WaitingLimits::default(),
        }
    }
}
