//! The machine's process table: which processes are a session's.

use std::{ffi::OsString, path::PathBuf};

use nix::{
    sys::signal::{self, Signal},
    unistd::{self, Pid},
};
use serde::{Deserialize, Serialize};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// The variable that every process of a session carries: `<id of the state folder>/<session hash>`.
pub(super) const MARKER: &str = "OPENCODE_ROUTER_SESSION";

/// One process, for good: an id alone is given to another one sooner or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) pid: i32,
    /// Seconds since 1970.
    pub(super) started: u64,
}

/// How a session's processes are known.
#[derive(Debug, Clone)]
pub(super) struct Traits {
    /// What [`MARKER`] is for it.
    pub(super) marker: String,
    /// Its folder, without symbolic links in the path.
    pub(super) dir: PathBuf,
    /// The leader of the process group that it was started as.
    pub(super) leader: Option<Mark>,
}

/// A process that is a session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pid: Pid,
    /// It is of the leader's process group.
    pub(super) in_group: bool,
}

impl Mark {
    /// The mark of a process that is there, or `None` where it is not.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let mut system = System::new().ok()?;
        let id = sysinfo::Pid::from_u32(u32::try_from(pid.as_raw()).ok()?);
        let what = ProcessRefreshKind::nothing().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, what);
        Some(Self { pid: pid.as_raw(), started: system.process(id)?.start_time() })
    }

    /// The system derives the time from its clock, which may have been set by a second meanwhile.
    fn is(self, pid: Pid, started: u64) -> bool {
        self.pid == pid.as_raw() && self.started.abs_diff(started) <= 1
    }
}

/// The processes that are of one of these sessions and have not ended.
///
/// A process is a session's where it carries its marker, which nobody else's process has, and either is of
/// the group that the session was started as or works inside its folder. What a session's shell started
/// for its user as a whole (a key agent, say, which works elsewhere) is none of the session's. A process
/// whose variables can't be read counts only where it is the recorded leader itself, by id and start time.
pub(super) fn find(sessions: &[Traits]) -> Vec<Found> {
    let Ok(mut system) = System::new() else { return Vec::new() };
    let what = ProcessRefreshKind::nothing()
        .without_tasks()
        .with_environ(UpdateKind::Always)
        .with_cwd(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let markers: Vec<OsString> =
        sessions.iter().map(|session| format!("{MARKER}={}", session.marker).into()).collect();
    let mut found = Vec::new();
    for (id, process) in system.processes() {
        if matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead) {
            continue;
        }
        let Ok(raw) = i32::try_from(id.as_u32()) else { continue };
        let pid = Pid::from_raw(raw);
        for (session, marker) in sessions.iter().zip(&markers) {
            let is_leader = session.leader.is_some_and(|leader| leader.is(pid, process.start_time()));
            let marked = process.environ().contains(marker);
            let secretive_leader = is_leader && process.environ().is_empty();
            if !marked && !secretive_leader {
                continue;
            }
            let group = unistd::getpgid(Some(pid)).ok().map(Pid::as_raw);
            let in_group = is_leader || group.is_some() && group == session.leader.map(|leader| leader.pid);
            let inside = process.cwd().is_some_and(|cwd| cwd.starts_with(&session.dir));
            if in_group || inside {
                found.push(Found { pid, in_group });
                break;
            }
        }
    }
    found
}

/// Sends a signal to one process. That it has ended meanwhile is no error.
pub(super) fn send(pid: Pid, what: Signal) {
    let _ = signal::kill(pid, what);
}

/// Sends a signal to a process group of ours, whose leader has not been waited for or has members left.
pub(super) fn send_group(group: Pid, what: Signal) {
    let _ = signal::killpg(group, what);
}
