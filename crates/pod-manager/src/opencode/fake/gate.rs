//! Holds requests for the status (whether an agent is working).

use std::time::Duration;

use tokio::sync::watch;

/// How long a test waits for a request.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Lets requests pass, unless it is closed.
#[derive(Default)]
pub(super) struct Gate {
    state: watch::Sender<GateState>,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    /// The number of requests that may pass although the gate is closed.
    passes: usize,
    /// The number of requests that had to wait so far.
    waited: usize,
}

impl Gate {
    /// Holds requests from now on, and returns once one is held.
    pub(super) async fn hold(&self) {
        self.state.send_modify(|gate| gate.closed = true);
        self.waited(1).await;
    }

    /// Lets one held request pass, and returns once another one is held.
    pub(super) async fn release_one(&self) {
        let waited = self.state.borrow().waited;
        self.state.send_modify(|gate| gate.passes += 1);
        self.waited(waited + 1).await;
    }

    /// Lets all requests pass.
    pub(super) fn release(&self) {
        self.state.send_replace(GateState::default());
    }

    /// Returns once the gate is open, or lets this request pass.
    pub(super) async fn pass(&self) {
        let mut gate = self.state.subscribe();
        self.state.send_if_modified(|gate| {
            gate.waited += usize::from(gate.closed);
            gate.closed
        });
        let mut passed = false;
        while !passed {
            // The sender is in `self`, so it exists.
            let _ = gate.wait_for(|gate| !gate.closed || gate.passes > 0).await;
            self.state.send_if_modified(|gate| {
                let took = gate.closed && gate.passes > 0;
                gate.passes -= usize::from(took);
                passed = took || !gate.closed;
                took
            });
        }
    }

    /// Returns once this many requests had to wait.
    async fn waited(&self, count: usize) {
        let mut gate = self.state.subscribe();
        let all = tokio::time::timeout(TIMEOUT, gate.wait_for(|gate| gate.waited >= count));
        assert!(all.await.is_ok(), "no request for the status came in time");
    }
}
