//! The latest events of each running session, for clients that reconnect. Memory is bounded: for each
//! session, and for all of them together.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    Stream,
    stream::{self, StreamExt},
};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::opencode::{RawEvent, event_time};

/// What the events of one session may take, in bytes. While an agent writes, that is a minute or more.
const MAX_BYTES: usize = 1024 * 1024;
/// What the events of all sessions may take, in bytes. It is shared equally: with more than 64 running
/// sessions, each may take less than [`MAX_BYTES`].
const MAX_TOTAL: usize = 64 * 1024 * 1024;
/// What an event takes in addition to its data, in bytes.
const OVERHEAD: usize = 160;
/// How long a client's last event may still be on its way to this router.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// The latest events of one session, as opencode sent them on `/global/event`.
///
/// Nothing is missing between the first event that is kept and the newest. An event that is lost empties the
/// ring, and so does the end of the stream that is followed.
pub(super) struct EventRing {
    shared: Arc<Shared>,
    budget: Arc<RingBudget>,
}

/// An event, as opencode sent it on `/global/event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptEvent {
    /// opencode's id of the event.
    id: Box<str>,
    /// Whether it is the second event with this id: opencode 1.18 sends many events again with type `sync`.
    is_sync: bool,
    /// The JSON after `data:`.
    pub(super) data: Bytes,
}

impl KeptEvent {
    /// Returns the id that the event has for clients.
    pub(super) fn client_id(&self) -> String {
        client_id(&self.id, self.is_sync)
    }

    fn size(&self) -> usize {
        self.data.len() + OVERHEAD
    }
}

/// Returns the id of an event for clients, which no other event has.
pub(super) fn client_id(id: &str, is_sync: bool) -> String {
    if is_sync { format!("{id}{SYNC}") } else { id.to_owned() }
}

const SYNC: &str = ".sync";

#[derive(Default)]
struct Shared {
    events: Mutex<Events>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Events {
    /// Whether the session's events are followed.
    is_open: bool,
    kept: VecDeque<KeptEvent>,
    /// The number of the first event of `kept`. Numbers only grow, and one is skipped where events are
    /// missing.
    first: u64,
    bytes: usize,
}

impl Events {
    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn clear(&mut self) {
        self.first = self.end() + 1;
        self.kept = VecDeque::new();
        self.bytes = 0;
    }

    fn shrink_to(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some(event) = self.kept.pop_front()
        {
            self.bytes -= event.size();
            self.first += 1;
        }
    }

    /// Returns the number of the event with this id.
    fn find(&self, id: &str) -> Option<u64> {
        let (id, is_sync) = id.strip_suffix(SYNC).map_or((id, false), |id| (id, true));
        let at = self.kept.iter().rposition(|event| event.is_sync == is_sync && *event.id == *id)?;
        Some(self.first + at as u64)
    }

    /// Whether the event with this id may still arrive: it was made after all others.
    fn may_arrive(&self, id: &str) -> bool {
        let Some(newest) = self.kept.back() else { return false };
        match (event_time(id), event_time(&newest.id)) {
            // The times are 48 bits of a longer number, so the difference decides.
            (Some(time), Some(newest)) => {
                self.is_open && (1..1 << 47).contains(&(time.wrapping_sub(newest) & ((1 << 48) - 1)))
            }
            _ => false,
        }
    }
}

impl EventRing {
    pub(super) fn new(budget: Arc<RingBudget>) -> Self {
        Self { shared: Arc::default(), budget }
    }

    /// Records that an event stream was opened. Events before it were missed.
    pub(super) fn connected(&self) {
        self.shared.events.lock().is_open = true;
        self.budget.add(&self.shared);
    }

    /// Adds an event.
    pub(super) fn event(&self, event: &RawEvent) {
        let Some(id) = event.id.as_deref().filter(|_| !event.is_of_connection()) else { return };
        // A copy: what was received may be a part of a larger buffer.
        let data = Bytes::copy_from_slice(&event.data);
        let kept = KeptEvent { id: id.into(), is_sync: event.is_sync(), data };
        {
            let mut events = self.shared.events.lock();
            events.bytes += kept.size();
            events.kept.push_back(kept);
            events.shrink_to(self.budget.share());
        }
        self.shared.changed.send_replace(());
    }

    /// Records that an event is lost.
    pub(super) fn lost(&self) {
        self.shared.events.lock().clear();
        self.shared.changed.send_replace(());
    }

    /// Records that the event stream is closed: events are missed from now on.
    pub(super) fn disconnected(&self) {
        self.budget.remove(&self.shared);
        {
            let mut events = self.shared.events.lock();
            events.is_open = false;
            events.clear();
        }
        self.shared.changed.send_replace(());
    }

    /// Returns the events after the one with this id, and then those that are added. The stream ends if one
    /// of them is not kept.
    pub(super) fn after(&self, id: &str) -> impl Stream<Item = KeptEvent> + Send + 'static {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        stream::once(async move {
            let next = find(&shared, &id).await?;
            Some(stream::unfold((shared.changed.subscribe(), shared, next), next_event))
        })
        .filter_map(std::future::ready)
        .flatten()
    }
}

/// Returns the number of the event after the one with this id.
async fn find(shared: &Shared, id: &str) -> Option<u64> {
    let mut changed = shared.changed.subscribe();
    let deadline = Instant::now() + MAX_DELAY;
    loop {
        changed.borrow_and_update();
        {
            let events = shared.events.lock();
            if let Some(number) = events.find(id) {
                return Some(number + 1);
            }
            if !events.may_arrive(id) {
                return None;
            }
        }
        timeout_at(deadline, changed.changed()).await.ok()?.ok()?;
    }
}

type Reader = (watch::Receiver<()>, Arc<Shared>, u64);

async fn next_event((mut changed, shared, next): Reader) -> Option<(KeptEvent, Reader)> {
    loop {
        changed.borrow_and_update();
        let event = {
            let events = shared.events.lock();
            let at = usize::try_from(next.checked_sub(events.first)?).ok()?;
            events.kept.get(at).cloned()
        };
        if let Some(event) = event {
            return Some((event, (changed, shared, next + 1)));
        }
        changed.changed().await.ok()?;
    }
}

/// Shares the memory for events among the sessions that are followed.
#[derive(Default)]
pub(super) struct RingBudget {
    rings: Mutex<Vec<Weak<Shared>>>,
}

impl RingBudget {
    /// Returns how many bytes each ring may take.
    fn share(&self) -> usize {
        (MAX_TOTAL / self.rings.lock().len().max(1)).min(MAX_BYTES)
    }

    fn add(&self, ring: &Arc<Shared>) {
        let rings = {
            let mut rings = self.rings.lock();
            rings.push(Arc::downgrade(ring));
            rings.clone()
        };
        if rings.len() <= MAX_TOTAL / MAX_BYTES {
            return;
        }
        let share = self.share();
        for ring in rings.iter().filter_map(Weak::upgrade) {
            ring.events.lock().shrink_to(share);
        }
    }

    fn remove(&self, ring: &Arc<Shared>) {
        self.rings.lock().retain(|other| other.strong_count() > 0 && other.as_ptr() != Arc::as_ptr(ring));
    }
}

#[cfg(test)]
#[path = "event_ring_tests.rs"]
mod tests;
