//! Connections that fail leave nothing behind: no socket, descriptor, task or memory. Streams that are stuck
//! hold little.
//!
//! This is a program of its own, because it counts what the process holds; `examples/soak.rs` runs the same
//! failures by the hundred thousand.

mod counts;
mod failures;
mod proxy;
mod script;
mod stuck;

use std::sync::Arc;

use cap::Cap;
use tokio::sync::Mutex;

use crate::{
    counts::{Counts, resident_memory},
    failures::TestUpstreams,
    proxy::Proxy,
};

/// Counts the bytes that are allocated.
#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

/// How often each failure happens in a round.
const ROUND: usize = 12;
/// Growth of the heap in a round that is not a leak: tables and queues that keep their size. A round has some
/// 900 connections, so a leak of twenty bytes by each is more.
const HEAP_NOISE: usize = 16 << 10;
/// Growth of resident memory in a round that is not a leak: the allocator keeps pages. A leak of 2.3 KiB by
/// each connection is more.
const RESIDENT_NOISE: usize = 2 << 20;

/// Held by each test: they count what the whole process holds.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fail_leave_nothing_behind() -> Result<(), Box<dyn std::error::Error>> {
    let _alone = ALONE.lock().await;
    let failures = Arc::new(failures::all());
    let upstreams = TestUpstreams::start(failures.clone()).await?;
    let proxy = Proxy::start(upstreams.addresses).await?;
    let [one, two, three] = proxy.addresses();
    let ports = [one, two, three, upstreams.addresses.session, upstreams.addresses.careless];
    let before = Counts::now(&proxy.runtimes, &ports);
    let (mut heap, mut resident) = (Vec::new(), Vec::new());
    for round in 0..4 {
        if let Err(error) = failures::run(&proxy, &failures, ROUND, 64).await {
            return Err(format!("round {round}: {error}; upstreams: {:?}", upstreams.errors()).into());
        }
        let after = Counts::settle(&proxy.runtimes, &ports, before).await;
        assert!(after.is_within(before), "round {round}: {after} are left of {before}");
        assert_eq!(upstreams.open(), 0, "round {round}: connections to the upstream are open");
        assert_eq!(upstreams.errors(), Vec::<String>::new());
        heap.push(ALLOCATOR.allocated());
        resident.push(resident_memory());
    }
    // Memory that each round adds is a leak. A single round may add more: the first one fills caches, and the
    // allocator keeps what the busiest moment needed, in whichever round that is.
    let grown =
        |after: &[usize]| after.windows(2).map(|rounds| rounds[1].saturating_sub(rounds[0])).skip(1).min();
    assert!(grown(&heap) < Some(HEAP_NOISE), "bytes of the heap after each round: {heap:?}");
    assert!(grown(&resident) < Some(RESIDENT_NOISE), "resident memory after each round: {resident:?}");
    Ok(())
}

/// Streams of each kind that are stuck.
const STUCK: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_hold_little_memory() -> Result<(), proxy_core::BodyError> {
    let _alone = ALONE.lock().await;
    let session = stuck::Session::start().await?;
    let proxy = Proxy::start(session.upstreams()).await?;
    let before = ALLOCATOR.allocated();
    for (kind, limit) in stuck::KINDS {
        let held = kind.open(proxy.patient, STUCK).await?;
        session.wait_until_stuck(&held).await;
        let each = ALLOCATOR.allocated().saturating_sub(before) / STUCK;
        assert!(each < limit, "{kind:?}: each stream holds {each} bytes");
        drop(held);
        session.release();
        let freed = counts::eventually(|| ALLOCATOR.allocated() < before + STUCK * 1024).await;
        assert!(freed, "{kind:?}: {} bytes are left of {before}", ALLOCATOR.allocated());
    }
    Ok(())
}
