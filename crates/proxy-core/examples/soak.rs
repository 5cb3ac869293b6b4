//! Lets connections through the proxy fail in every way of `tests/leaks`, by the hundred thousand, and prints
//! what is left of them. Loopback only.
//!
//! ```text
//! cargo run --release -p proxy-core --example soak -- 100000
//! ```
#![expect(clippy::print_stdout, reason = "the example prints its measurements")]

#[path = "../tests/leaks/counts.rs"]
mod counts;
#[path = "../tests/leaks/failures.rs"]
mod failures;
#[path = "../tests/leaks/proxy.rs"]
mod proxy;
#[path = "../tests/leaks/script.rs"]
mod script;

use std::{sync::Arc, time::Instant};

use anyhow::{anyhow, ensure};
use cap::Cap;

use crate::{
    counts::{Counts, resident_memory},
    failures::TestUpstreams,
    proxy::Proxy,
};

/// Counts the bytes that are allocated.
#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

const ROUNDS: usize = 5;
/// Connections at the same time. Each takes four descriptors of this process.
const AT_ONCE: usize = 128;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let total = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse::<usize>())?;
    let failures = Arc::new(failures::all());
    let of_each = total.div_ceil(ROUNDS * failures.len());
    let upstreams = TestUpstreams::start(failures.clone()).await?;
    let proxy = Proxy::start(upstreams.addresses).await?;
    let [one, two, three] = proxy.addresses();
    let ports = [one, two, three, upstreams.addresses.session, upstreams.addresses.careless];
    let before = Counts::now(&proxy.runtimes, &ports);
    println!("{} ways to fail, {of_each} connections of each in a round", failures.len());
    println!("before: {before}");
    for round in 1..=ROUNDS {
        let started = Instant::now();
        let run = failures::run(&proxy, &failures, of_each, AT_ONCE).await;
        run.map_err(|error| anyhow!("{error}; upstreams: {:?}", upstreams.errors()))?;
        let after = Counts::settle(&proxy.runtimes, &ports, before).await;
        println!(
            "round {round}: {after}, {} bytes allocated, {:.1} MB resident, {:.0} s",
            ALLOCATOR.allocated(),
            resident_memory() as f64 / 1e6,
            started.elapsed().as_secs_f64(),
        );
        ensure!(after.is_within(before), "connections are left");
        ensure!(upstreams.open() == 0, "connections to the upstream are left");
        ensure!(upstreams.errors().is_empty(), "upstreams: {:?}", upstreams.errors());
    }
    println!("{} connections failed", ROUNDS * of_each * failures.len());
    Ok(())
}
