//! The machine's process table: which processes belong to a session.

use std::{ffi::OsString, path::PathBuf};

use nix::{
    sys::signal::{self, Signal},
    unistd::{self, Pid},
};
use serde::{Deserialize, Serialize};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// The environment variable of every process of a session: `<id of the state folder>/<session hash>`.
pub(super) const MARKER: &str = "OPENCODE_ROUTER_SESSION";

/// Identifies one process. The pid alone does not: the system uses it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    /// Seconds since 1970.
    #[serde(rename = "started")]
    pub(super) start_time: u64,
}

/// Selects the processes of a session.
#[derive(Debug, Clone)]
pub(super) struct ProcessSelector {
    /// The value of [`MARKER`].
    pub(super) marker: String,
    /// The session's folder, without symbolic links in its path.
    pub(super) dir: PathBuf,
    /// The leader of the session's process group.
    pub(super) leader: Option<ProcessId>,
}

impl ProcessId {
    /// Returns the id of a process, if the process exists.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let mut system = System::new().ok()?;
        let id = sysinfo::Pid::from_u32(u32::try_from(pid.as_raw()).ok()?);
        let fields = ProcessRefreshKind::nothing().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, fields);
        Some(Self { pid: pid.as_raw(), start_time: system.process(id)?.start_time() })
    }

    /// Tolerates one second: the system derives the start time from its clock, which may have been set.
    fn matches(self, pid: Pid, start_time: u64) -> bool {
        self.pid == pid.as_raw() && self.start_time.abs_diff(start_time) <= 1
    }
}

/// Finds the running processes of these sessions.
///
/// A process belongs to a session if it has the session's marker, and either is in the session's process
/// group or works inside the session's folder. What a session's shell started for its user (a key agent, for
/// example) works elsewhere and does not belong to it. A process whose environment can't be read belongs to
/// the session only if it is the recorded leader itself.
pub(super) fn find(selectors: &[ProcessSelector]) -> Vec<Pid> {
    let Ok(mut system) = System::new() else { return Vec::new() };
    let fields = ProcessRefreshKind::nothing()
        .without_tasks()
        .with_environ(UpdateKind::Always)
        .with_cwd(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, fields);
    let markers: Vec<OsString> =
        selectors.iter().map(|selector| format!("{MARKER}={}", selector.marker).into()).collect();
    let mut pids = Vec::new();
    for (id, process) in system.processes() {
        if matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead) {
            continue;
        }
        let Ok(raw) = i32::try_from(id.as_u32()) else { continue };
        let pid = Pid::from_raw(raw);
        for (selector, marker) in selectors.iter().zip(&markers) {
            let is_leader = selector.leader.is_some_and(|leader| leader.matches(pid, process.start_time()));
            let marked = process.environ().contains(marker);
            let unreadable_leader = is_leader && process.environ().is_empty();
            if !marked && !unreadable_leader {
                continue;
            }
            let group = unistd::getpgid(Some(pid)).ok().map(Pid::as_raw);
            let in_group = is_leader || group.is_some() && group == selector.leader.map(|leader| leader.pid);
            let inside = process.cwd().is_some_and(|cwd| cwd.starts_with(&selector.dir));
            if in_group || inside {
                pids.push(pid);
                break;
            }
        }
    }
    pids
}

/// Sends a signal to one process. It is no error if the process has ended.
pub(super) fn send(pid: Pid, signal: Signal) {
    let _ = signal::kill(pid, signal);
}

/// Sends a signal to a process group of a child that has not been waited for.
pub(super) fn send_group(group: Pid, signal: Signal) {
    let _ = signal::killpg(group, signal);
}
