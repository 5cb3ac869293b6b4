//! Connects the proxy's layer that replays events to the manager, which keeps them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::Request;
use pod_manager::{EventScope, SessionEvents, manager::Manager};
use proxy_core::{Body, EventLog, EventLogs, LoggedEvent};
use session_key::{Identity, SessionRoute, Target};

/// opencode's event streams in the manager's sessions.
pub(crate) struct SessionEventLogs(pub(crate) Arc<Manager>);

impl EventLogs for SessionEventLogs {
    fn find(&self, request: &Request<Body>) -> Option<Arc<dyn EventLog>> {
        let scope = EventScope::of_request(request.uri().path(), request.uri().query())?;
        let route = request.extensions().get::<SessionRoute>()?;
        // A dev server may have a stream at the same path.
        if matches!(route.target, Target::Port(_)) {
            return None;
        }
        let events = self.0.events(request.extensions().get::<Identity>()?, route.hash, scope)?;
        Some(Arc::new(SessionEventLog(events)))
    }
}

struct SessionEventLog(SessionEvents);

impl EventLog for SessionEventLog {
    fn id_of(&self, data: &[u8]) -> Option<String> {
        self.0.id_of(data)
    }

    fn after(&self, id: &str) -> BoxStream<'static, LoggedEvent> {
        self.0.after(id).map(|(id, data)| LoggedEvent::new(id, data)).boxed()
    }

    fn resync(&self, last: &str) -> BoxStream<'static, Bytes> {
        self.0.state(last)
    }
}
