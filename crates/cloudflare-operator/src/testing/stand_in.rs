//! The model and its faults behind one lock.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{
    faults::{Fault, FaultKind},
    model::Model,
    seed::Seed,
};
use crate::cloudflare::transport::{Request, Response, Transport, TransportError};

/// A stand-in for Cloudflare's API. Clones share their state.
#[derive(Debug, Clone)]
pub struct StandIn {
    state: Arc<Mutex<State>>,
    start: Instant,
}

#[derive(Debug)]
struct State {
    model: Model,
    faults: VecDeque<Fault>,
}

/// What the client sees of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// An answer.
    Answer(Response),
    /// The connection ends without an answer.
    Drop,
    /// The connection ends in the middle of this answer.
    Half(Response),
    /// No answer.
    Hang,
    /// A body without end.
    Endless,
    /// 302.
    Redirect,
}

impl StandIn {
    /// Creates a stand-in. It must be called in a tokio runtime only if its time is paused.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let state = State { model: Model::new(seed), faults: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)), start: Instant::now() }
    }

    /// Looks at the model, or changes it as somebody else would.
    pub fn with<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(&mut self.state.lock().model)
    }

    /// Adds a fault. Faults are tried in the order in which they were added.
    pub fn add_fault(&self, fault: Fault) {
        self.state.lock().faults.push_back(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Returns the faults that are still waiting.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.state.lock().faults.iter().cloned().collect()
    }

    /// Handles one call.
    #[must_use]
    pub fn exchange(&self, token: Option<&str>, request: &Request) -> Exchange {
        let now = self.start.elapsed();
        let mut state = self.state.lock();
        state.model.count(now, request.call);
        let Some(fault) = state.take_fault(request.call) else {
            return Exchange::Answer(state.model.answer(now, token, request));
        };
        let answer = fault.after_effect.then(|| state.model.answer(now, token, request));
        let empty = || json!({ "success": true, "errors": [], "messages": [], "result": {} });
        let ok = |body: Vec<u8>| Response { status: 200, retry_after: None, body };
        match fault.kind {
            FaultKind::Status { status, retry_after, code } => {
                let errors = json!([{ "code": code, "message": "a fault on demand" }]);
                let body = json!({ "success": false, "errors": errors, "messages": [], "result": null });
                let retry_after = retry_after.map(Duration::from_secs);
                Exchange::Answer(Response { status, retry_after, body: body.to_string().into_bytes() })
            }
            FaultKind::Drop => Exchange::Drop,
            FaultKind::Half => Exchange::Half(answer.unwrap_or_else(|| ok(empty().to_string().into_bytes()))),
            FaultKind::Hang => Exchange::Hang,
            FaultKind::Garbage => Exchange::Answer(ok(b"<html>no JSON</html>".to_vec())),
            FaultKind::Endless => Exchange::Endless,
            FaultKind::Redirect => Exchange::Redirect,
        }
    }

    /// Returns a transport without sockets, with this token.
    #[must_use]
    pub fn transport(&self, token: &str) -> Box<dyn Transport> {
        Box::new(InMemory { stand_in: self.clone(), token: token.to_owned() })
    }
}

impl State {
    fn take_fault(&mut self, call: &str) -> Option<Fault> {
        let meets = |fault: &Fault| fault.call.as_deref().is_none_or(|wanted| wanted == call);
        let index = self.faults.iter().position(meets)?;
        let fault = &mut self.faults[index];
        fault.times = fault.times.saturating_sub(1);
        let fault = fault.clone();
        if fault.times == 0 {
            self.faults.remove(index);
        }
        Some(fault)
    }
}

struct InMemory {
    stand_in: StandIn,
    token: String,
}

#[async_trait]
impl Transport for InMemory {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        match self.stand_in.exchange(Some(&self.token), &request) {
            Exchange::Answer(response) => Ok(response),
            Exchange::Drop => Err(TransportError::Unreachable("connection closed".to_owned())),
            Exchange::Half(_) => Err(TransportError::Unreachable("unexpected end of the answer".to_owned())),
            Exchange::Hang => Err(TransportError::Timeout(Duration::from_secs(30))),
            Exchange::Endless => Err(TransportError::TooLong),
            Exchange::Redirect => Ok(Response { status: 302, retry_after: None, body: Vec::new() }),
        }
    }
}
