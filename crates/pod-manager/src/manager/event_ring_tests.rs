use futures_util::FutureExt;

use super::*;

fn raw(id: &str, kind: &str, bytes: usize) -> RawEvent {
    RawEvent { id: Some(id.into()), kind: kind.into(), data: Bytes::from(vec![b'x'; bytes]) }
}

/// Returns an id that was made at this time.
fn id(time: u64) -> String {
    format!("evt_{time:012x}0Abc")
}

struct TestRing {
    ring: EventRing,
    budget: Arc<RingBudget>,
}

impl TestRing {
    fn open() -> Self {
        Self::with_budget(Arc::default())
    }

    fn with_budget(budget: Arc<RingBudget>) -> Self {
        let ring = EventRing::new(budget.clone());
        ring.connected();
        Self { ring, budget }
    }

    fn add(&self, times: impl IntoIterator<Item = u64>) {
        times.into_iter().for_each(|time| self.ring.event(&raw(&id(time), "session.idle", 10)));
    }

    fn bytes(&self) -> usize {
        self.ring.shared.events.lock().bytes
    }
}

/// Reads what is there. The second value says whether the stream has ended.
fn read(events: &mut (impl Stream<Item = KeptEvent> + Unpin)) -> (Vec<String>, bool) {
    let mut ids = Vec::new();
    loop {
        match events.next().now_or_never() {
            Some(Some(event)) => ids.push(event.client_id()),
            Some(None) => return (ids, true),
            None => return (ids, false),
        }
    }
}

fn ids(times: impl IntoIterator<Item = u64>) -> Vec<String> {
    times.into_iter().map(id).collect()
}

#[tokio::test]
async fn a_reader_gets_what_followed_its_last_event_and_then_what_happens() {
    let ring = TestRing::open();
    ring.add(1..=5);
    let mut events = Box::pin(ring.ring.after(&id(3)));
    assert_eq!(read(&mut events), (ids(4..=5), false));
    ring.add(6..=7);
    assert_eq!(read(&mut events), (ids(6..=7), false));
    let mut newest = Box::pin(ring.ring.after(&id(7)));
    assert_eq!(read(&mut newest), (vec![], false), "nothing was missed");
}

#[tokio::test]
async fn an_event_and_its_repetition_are_distinguished() {
    let ring = TestRing::open();
    for kind in ["session.updated", "sync"] {
        ring.ring.event(&raw(&id(1), kind, 10));
    }
    ring.add([2]);
    let sync = format!("{}.sync", id(1));
    assert_eq!(read(&mut Box::pin(ring.ring.after(&id(1)))).0, [sync.clone(), id(2)]);
    assert_eq!(read(&mut Box::pin(ring.ring.after(&sync))).0, [id(2)]);
}

#[tokio::test]
async fn events_of_a_connection_are_not_kept() {
    let ring = TestRing::open();
    for kind in ["server.connected", "server.heartbeat"] {
        ring.ring.event(&raw(&id(1), kind, 10));
    }
    ring.ring.event(&RawEvent { id: None, kind: "global.disposed".into(), data: Bytes::new() });
    assert_eq!(ring.bytes(), 0);
}

#[tokio::test]
async fn an_event_that_is_not_kept_ends_the_stream_at_once() {
    let ring = TestRing::open();
    assert_eq!(read(&mut Box::pin(ring.ring.after(&id(1)))), (vec![], true), "nothing is kept");
    ring.add(10..=12);
    for unknown in [&*id(1), "", "evt_", "x", "evt_é00000000000000", &"x".repeat(300)] {
        assert_eq!(read(&mut Box::pin(ring.ring.after(unknown))), (vec![], true), "{unknown}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_this_router_has_not_received_yet_is_waited_for() {
    let ring = TestRing::open();
    ring.add(1..=2);
    let mut events = Box::pin(ring.ring.after(&id(4)));
    assert_eq!(read(&mut events), (vec![], false));
    ring.add(3..=5);
    assert_eq!(read(&mut events), (ids([5]), false));

    let mut never = Box::pin(ring.ring.after(&id(9)));
    assert_eq!(never.next().await, None, "it is not waited for without an end");
    let mut passed = Box::pin(ring.ring.after(&id(9)));
    assert_eq!(read(&mut passed), (vec![], false));
    ring.add([10]);
    assert_eq!(read(&mut passed), (vec![], true));
}

#[tokio::test]
async fn ids_are_ordered_beyond_their_greatest_time() {
    let ring = TestRing::open();
    ring.add([(1 << 48) - 1]);
    assert!(ring.ring.shared.events.lock().may_arrive(&id(1)));
    assert!(!ring.ring.shared.events.lock().may_arrive(&id((1 << 48) - 2)));
}

#[tokio::test]
async fn lost_events_and_the_end_of_the_followed_stream_end_every_reader() {
    for lose in [EventRing::lost, EventRing::disconnected] {
        let ring = TestRing::open();
        ring.add(1..=2);
        let mut events = Box::pin(ring.ring.after(&id(2)));
        assert_eq!(read(&mut events), (vec![], false));
        lose(&ring.ring);
        ring.ring.connected();
        ring.add([3]);
        assert_eq!(read(&mut events), (vec![], true));
        assert_eq!(read(&mut Box::pin(ring.ring.after(&id(2)))), (vec![], true));
        assert_eq!(read(&mut Box::pin(ring.ring.after(&id(3)))), (vec![], false));
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_ended() {
    let ring = TestRing::open();
    ring.add([1]);
    let mut events = Box::pin(ring.ring.after(&id(1)));
    assert_eq!(read(&mut events), (vec![], false));
    ring.ring.event(&raw(&id(2), "x", MAX_BYTES));
    ring.add([3]);
    assert_eq!(read(&mut events), (vec![], true), "event 2 was too large");
}

#[tokio::test]
async fn no_session_takes_more_than_its_share() {
    let ring = TestRing::open();
    for time in 0..3000 {
        ring.ring.event(&raw(&id(time), "x", 1000));
        assert!(ring.bytes() <= MAX_BYTES);
    }
    assert!(ring.bytes() > MAX_BYTES / 2);

    let rings: Vec<_> =
        (0..2 * MAX_TOTAL / MAX_BYTES - 1).map(|_| TestRing::with_budget(ring.budget.clone())).collect();
    assert!(ring.bytes() <= MAX_BYTES / 2, "a quiet session gives memory back to the others");
    for other in &rings {
        (0..1000).for_each(|time| other.ring.event(&raw(&id(time), "x", 1000)));
    }
    let total: usize = rings.iter().map(TestRing::bytes).sum();
    assert!(total + ring.bytes() <= MAX_TOTAL);

    rings.iter().for_each(|other| other.ring.disconnected());
    assert_eq!(ring.budget.share(), MAX_BYTES);
}
