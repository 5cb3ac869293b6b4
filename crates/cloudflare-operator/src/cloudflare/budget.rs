//! How many calls the operator allows itself.

use std::time::Duration;

use tokio::time::Instant;

/// How many calls may follow each other without a pause.
const BURST: u32 = 40;
/// The pause between two calls after that.
const INTERVAL: Duration = Duration::from_secs(4);

/// A token bucket: 40 calls at once, then one every 4 s, so at most 116 in any 5 minutes. Cloudflare allows
/// the owner of a token 1,200 in 5 minutes, and the operator stays under a tenth of that, whatever happens.
///
/// A restarted operator starts with a full bucket. It needs about five calls for its first pass.
#[derive(Debug)]
pub(super) struct Budget {
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { full_at: Instant::now() }
    }

    /// Waits until a call is allowed, and takes it.
    pub(super) async fn take(&mut self) {
        let start = self.full_at.checked_sub(INTERVAL * (BURST - 1));
        if let Some(start) = start {
            tokio::time::sleep_until(start).await;
        }
        self.full_at = self.full_at.max(Instant::now()) + INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured in virtual time: no pause is real.
    #[tokio::test(start_paused = true)]
    async fn any_five_minutes_hold_fewer_than_a_tenth_of_the_allowed_calls() {
        let mut budget = Budget::new();
        let mut calls = Vec::new();
        for round in 0..40_u32 {
            if round % 7 == 0 {
                tokio::time::sleep(Duration::from_secs(u64::from(round) * 11)).await;
            }
            for _ in 0..20 {
                budget.take().await;
                calls.push(Instant::now());
            }
        }
        let window = Duration::from_secs(300);
        let most = calls.iter().map(|start| {
            calls.iter().filter(|call| *call >= start && call.duration_since(*start) <= window).count()
        });
        let most = most.max().unwrap_or_default();
        assert!((BURST as usize..120).contains(&most), "{most} calls in 5 minutes");
    }
}
