//! Limits failed attempts to attach, for each session and address, in constant memory.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use session_key::SessionHash;

/// How many buckets there are. Two sources that share one share its limit, which costs only a wrong token.
const BUCKETS: usize = 4096;
/// How many failures are answered at once.
const BURST: u32 = 10;
/// After this time, one more failure is answered.
const REFILL: Duration = Duration::from_secs(6);

/// Token buckets that are found by a keyed hash: nobody can choose whose bucket they share, and however many
/// sources there are, the memory stays the same.
pub(super) struct FailureLimiter {
    /// When each bucket is full again.
    full_at: Box<[Mutex<Instant>]>,
    key: RandomState,
}

impl FailureLimiter {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { full_at: (0..BUCKETS).map(|_| Mutex::new(now)).collect(), key: RandomState::new() }
    }

    /// Counts a failure.
    ///
    /// # Errors
    /// The seconds until the next failure is answered, if there were too many.
    pub(super) fn fail(&self, hash: SessionHash, peer: IpAddr) -> Result<(), u32> {
        self.fail_at(hash, peer, Instant::now())
    }

    fn fail_at(&self, hash: SessionHash, peer: IpAddr, now: Instant) -> Result<(), u32> {
        let index = self.key.hash_one((hash, network(peer))) as usize % BUCKETS;
        let mut full_at = self.full_at[index].lock();
        let next = (*full_at).max(now) + REFILL;
        let excess = (next - now).checked_sub(REFILL * BURST).filter(|excess| !excess.is_zero());
        match excess {
            Some(excess) => Err(u32::try_from(excess.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)),
            None => {
                *full_at = next;
                Ok(())
            }
        }
    }
}

/// Returns what one source has as its own: an IPv4 address, or a network of 64 bits.
fn network(peer: IpAddr) -> u128 {
    match peer {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_source_are_limited_and_recover() {
        let (limiter, peer) = (FailureLimiter::new(), IpAddr::from([192, 0, 2, 1]));
        let (hash, now) = (SessionHash::from_bytes([1; 6]), Instant::now());
        for _ in 0..BURST {
            assert_eq!(limiter.fail_at(hash, peer, now), Ok(()));
        }
        assert_eq!(limiter.fail_at(hash, peer, now), Err(6));
        assert_eq!(limiter.fail_at(hash, peer, now + REFILL), Ok(()));
        assert_eq!(limiter.fail_at(hash, peer, now + REFILL), Err(6));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let six = |text: &str| network(text.parse().unwrap());
        assert_eq!(six("2001:db8:1:2::1"), six("2001:db8:1:2:ffff::9"));
        assert_ne!(six("2001:db8:1:2::1"), six("2001:db8:1:3::1"));
        assert_ne!(six("192.0.2.1"), six("192.0.2.2"));
    }
}
