//! A session's thread as its viewers follow it.

use parking_lot::Mutex;
use tokio::sync::watch;

use super::thread::Thread;

/// The thread of one session, and a number that changes with it.
#[derive(Debug)]
pub(super) struct Feed {
    thread: Mutex<Thread>,
    changes: watch::Sender<()>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { thread: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl Feed {
    /// Changes the thread, and wakes its viewers if `change` returns true.
    pub(super) fn update(&self, change: impl FnOnce(&mut Thread) -> bool) {
        if change(&mut self.thread.lock()) {
            self.changes.send_replace(());
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Thread) -> T) -> T {
        read(&self.thread.lock())
    }
}
