//! A child process with everything that it starts, ended as one.

use std::{io, process::ExitStatus, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::proc_table::{self, ProcessId, ProcessSelector};

/// How long killed processes may take to disappear.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A child that leads a process group. If it is dropped before it was [ended](ProcessGroup::end), the whole
/// group is killed.
pub(super) struct ProcessGroup {
    child: Child,
    leader: Pid,
    selector: ProcessSelector,
    ended: bool,
}

impl ProcessGroup {
    /// Spawns the child. The command's environment must contain the selector's marker.
    pub(super) fn spawn(command: &mut Command, mut selector: ProcessSelector) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let leader = Pid::from_raw(id.ok_or_else(|| io::Error::other("the child has no id"))?);
        // The process exists until it is waited for, even if it has ended already.
        selector.leader = ProcessId::of(leader);
        Ok(Self { child, leader, selector, ended: false })
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(super) fn leader(&self) -> Option<ProcessId> {
        self.selector.leader
    }

    /// Waits until the leader has ended. Cancellation-safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Terminates the whole group, and kills it after `grace`. No process of it is left when this returns;
    /// one that can't be killed is logged.
    pub(super) async fn end(mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        // Until the leader is waited for, its id belongs to it. After that, `end_all` checks markers.
        if self.child.id().is_some() {
            proc_table::send_group(self.leader, Signal::SIGTERM);
            // While opencode installs something at its first use, it ignores the first signal.
            if timeout(grace / 3, self.child.wait()).await.is_err() {
                proc_table::send_group(self.leader, Signal::SIGTERM);
                if timeout_at(deadline, self.child.wait()).await.is_err() {
                    proc_table::send_group(self.leader, Signal::SIGKILL);
                    let _ = timeout(KILL_TIMEOUT, self.child.wait()).await;
                }
            }
        }
        end_all(vec![self.selector.clone()], deadline.saturating_duration_since(Instant::now())).await;
        self.ended = true;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.ended && self.child.id().is_some() {
            proc_table::send_group(self.leader, Signal::SIGKILL);
        }
    }
}

/// Terminates every process of these sessions, and kills it after `grace`.
pub(super) async fn end_all(selectors: Vec<ProcessSelector>, grace: Duration) {
    let begun = Instant::now();
    let mut terminated: Vec<Pid> = Vec::new();
    let mut pause = Duration::from_millis(10);
    let mut force = false;
    while !selectors.is_empty() {
        let left = find(selectors.clone()).await;
        if left.is_empty() {
            return;
        }
        if begun.elapsed() > grace + KILL_TIMEOUT {
            tracing::error!(?left, "processes of a session survive being killed");
            return;
        }
        force |= begun.elapsed() >= grace;
        for pid in left {
            if force {
                proc_table::send(pid, Signal::SIGKILL);
            } else if !terminated.contains(&pid) {
                proc_table::send(pid, Signal::SIGTERM);
                terminated.push(pid);
            }
        }
        // They are not our children, so that nothing reports their end.
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

async fn find(selectors: Vec<ProcessSelector>) -> Vec<Pid> {
    tokio::task::spawn_blocking(move || proc_table::find(&selectors)).await.unwrap_or_default()
}
