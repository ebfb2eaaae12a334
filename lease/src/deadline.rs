//! When a worker must let go of its shard by itself.
//!
//! The manager gives a shard away `MAX_SECONDS` after the last beat that it
//! saw. The worker cannot know when a beat arrived, only when it was sent, so
//! it counts from there, and lets go a fifth earlier.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use shardman_core::tick::Tick;

/// The part of the lease time that may pass unanswered.
const SHARE: f64 = 0.8;

/// Now, on a clock that is monotonic and goes on while the host is suspended.
/// `Instant` stops there, and would let a woken worker use a lost lease.
pub fn now() -> Tick {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    Tick(time.tv_sec.unsigned_abs() * 1000 + time.tv_nsec.unsigned_abs() / 1_000_000)
}

/// The moment at which the gateway is closed unless another beat is answered.
#[derive(Debug)]
pub struct Deadline {
    lease_time: Duration,
    at_ms: AtomicU64,
}

impl Deadline {
    /// The deadline of a lease whose `/connect` was sent at `sent`.
    pub fn new(lease_time: Duration, sent: Tick) -> Self {
        Self {
            lease_time,
            at_ms: AtomicU64::new(Self::rule(lease_time, sent).0),
        }
    }

    /// The rule: counted from when the answered beat was sent.
    fn rule(lease_time: Duration, sent: Tick) -> Tick {
        sent + lease_time.mul_f64(SHARE)
    }

    /// A beat that was sent at `sent` was answered.
    pub fn answered(&self, sent: Tick) {
        self.at_ms
            .fetch_max(Self::rule(self.lease_time, sent).0, Ordering::AcqRel);
    }

    pub fn is_past(&self, now: Tick) -> bool {
        now.0 >= self.at_ms.load(Ordering::Acquire)
    }

    /// The time left at `now`.
    pub fn left(&self, now: Tick) -> Duration {
        Tick(self.at_ms.load(Ordering::Acquire)).since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn the_deadline_counts_from_when_the_answered_beat_was_sent() {
        let deadline = Deadline::new(LEASE, Tick(1_000));
        assert!(!deadline.is_past(Tick(8_999)));
        assert!(deadline.is_past(Tick(9_000)));
        deadline.answered(Tick(5_000));
        assert!(!deadline.is_past(Tick(12_999)));
        assert!(deadline.is_past(Tick(13_000)));
        assert_eq!(deadline.left(Tick(12_000)), Duration::from_secs(1));
        assert_eq!(deadline.left(Tick(14_000)), Duration::ZERO);
    }

    #[test]
    fn an_answer_to_an_older_beat_never_shortens_the_time() {
        let deadline = Deadline::new(LEASE, Tick(0));
        deadline.answered(Tick(5_000));
        deadline.answered(Tick(2_000));
        assert!(!deadline.is_past(Tick(12_999)));
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let first = now();
        assert!(now() >= first);
    }
}
