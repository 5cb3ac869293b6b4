//! Connects the proxy's layer that replays events to the manager, which keeps them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use pod_manager::{EventScope, SessionEvents, manager::Manager};
use proxy_core::{EventLog, EventLogs, LoggedEvent, RequestHead};
use session_key::{Identity, SessionRoute, Target};

use crate::metrics::Metrics;

/// opencode's event streams in the manager's sessions.
pub(crate) struct SessionEventLogs {
    pub(crate) manager: Arc<Manager>,
    pub(crate) metrics: Arc<Metrics>,
}

impl EventLogs for SessionEventLogs {
    fn find(&self, request: &RequestHead<'_>) -> Option<Arc<dyn EventLog>> {
        let scope = EventScope::of_request(request.uri.path(), request.uri.query())?;
        let route = request.extensions.get::<SessionRoute>()?;
        // A dev server may have a stream at the same path.
        if matches!(route.target, Target::Port(_)) {
            return None;
        }
        let events = self.manager.events(request.extensions.get::<Identity>()?, route.hash, scope)?;
        Some(Arc::new(SessionEventLog { events, metrics: self.metrics.clone() }))
    }
}

struct SessionEventLog {
    events: SessionEvents,
    metrics: Arc<Metrics>,
}

impl EventLog for SessionEventLog {
    fn id_of(&self, data: &[u8]) -> Option<String> {
        self.events.id_of(data)
    }

    fn after(&self, id: &str) -> BoxStream<'static, LoggedEvent> {
        self.metrics.record_stream_reconnect();
        self.events.after(id).map(|(id, data)| LoggedEvent::new(id, data)).boxed()
    }

    fn resync(&self, last: &str) -> BoxStream<'static, Bytes> {
        self.metrics.record_stream_state();
        self.events.state(last)
    }
}
