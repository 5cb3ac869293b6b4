//! A child process with all that it starts, as one thing that can be ended.

use std::{io, process::ExitStatus, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::table::{self, Found, Mark, Traits};

/// How long processes that were killed may take to be gone.
const KILLED: Duration = Duration::from_secs(5);

/// A child that leads a process group of its own. Dropped before it was [ended](Group::end), the whole
/// group is killed.
pub(super) struct Group {
    child: Child,
    leader: Pid,
    traits: Traits,
    ended: bool,
}

impl Group {
    /// Starts it. The command's variables must hold the marker that `traits` names.
    pub(super) fn spawn(command: &mut Command, mut traits: Traits) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let leader = Pid::from_raw(id.ok_or_else(|| io::Error::other("the child has no id"))?);
        // It is there until it is waited for, even where it has ended already.
        traits.leader = Mark::of(leader);
        Ok(Self { child, leader, traits, ended: false })
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Which process leads it.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.traits.leader
    }

    /// Waits until the leader has ended. Cancellation-safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends all of it: politely, and after `grace` by force. When this returns, no process of it is left
    /// (or the system does not let go of one, which is told in the log).
    pub(super) async fn end(mut self, grace: Duration) {
        let by = Instant::now() + grace;
        // The leader has not been waited for, or the group has members: so the number is still ours.
        // Where neither is so, `end_all` looks at each process's marker.
        if self.child.id().is_some() {
            table::send_group(self.leader, Signal::SIGTERM);
            // While it installs something at its first use, opencode takes the first one for that alone.
            if timeout(grace / 3, self.child.wait()).await.is_err() {
                table::send_group(self.leader, Signal::SIGTERM);
                if timeout_at(by, self.child.wait()).await.is_err() {
                    table::send_group(self.leader, Signal::SIGKILL);
                    let _ = timeout(KILLED, self.child.wait()).await;
                }
            }
        }
        end_all(vec![self.traits.clone()], by.saturating_duration_since(Instant::now())).await;
        self.ended = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended && self.child.id().is_some() {
            table::send_group(self.leader, Signal::SIGKILL);
        }
    }
}

/// Ends every process of these sessions: politely, and after `grace` by force.
pub(super) async fn end_all(sessions: Vec<Traits>, grace: Duration) {
    let begun = Instant::now();
    let mut asked: Vec<Pid> = Vec::new();
    let mut pause = Duration::from_millis(10);
    let mut force = false;
    while !sessions.is_empty() {
        let left = find(sessions.clone()).await;
        if left.is_empty() {
            return;
        }
        if begun.elapsed() > grace + KILLED {
            let left: Vec<_> = left.iter().map(|process| process.pid.as_raw()).collect();
            tracing::error!(?left, "processes of a session do not end, though they were killed");
            return;
        }
        force |= begun.elapsed() >= grace;
        for Found { pid, .. } in left {
            if force {
                table::send(pid, Signal::SIGKILL);
            } else if !asked.contains(&pid) {
                table::send(pid, Signal::SIGTERM);
                asked.push(pid);
            }
        }
        // They are not our children: the system tells nobody when they end.
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

async fn find(sessions: Vec<Traits>) -> Vec<Found> {
    tokio::task::spawn_blocking(move || table::find(&sessions)).await.unwrap_or_default()
}
