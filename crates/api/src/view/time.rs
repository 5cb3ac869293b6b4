//! Times and durations.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Returns whole minutes, rounded up, because 0 means never; so does a duration that no `u32` can hold.
#[must_use]
pub fn minutes(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs().div_ceil(60)).unwrap_or(0)
}

/// Converts a time. A time out of range (the year 10000) becomes the nearest one in range.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let before = time < SystemTime::UNIX_EPOCH;
    Timestamp::try_from(time).unwrap_or(if before { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_rounded_up_and_0_means_never() {
        for (seconds, expected) in [(1, 1), (60, 1), (61, 2), (1800, 30), (0, 0), (u64::MAX, 0)] {
            assert_eq!(minutes(Duration::from_secs(seconds)), expected, "{seconds} s");
        }
    }
}
