//! Processes that identify by themselves, some time after they are started.
//!
//! Between the start of such a process and its IDENTIFY lie its interpreter,
//! its imports and a few REST calls; it reports none of it. So what is spaced
//! is its *start*: its buckets must be open then, and stay closed until the
//! last of its shards must have identified, or has shown that it did.

use std::time::Duration;

use super::IdentifyLine;
use crate::id::ShardId;
use crate::tick::Tick;

/// The longest from one IDENTIFY of a process to its own next one. Libraries
/// keep Discord's five seconds between the shards of one process; discord.py
/// does so whatever `max_concurrency` is, and connects anew in between.
pub const BETWEEN_OWN: Duration = Duration::from_secs(6);

impl IdentifyLine {
    /// When a process that will identify these shards may be started.
    pub fn may_begin(&mut self, shards: &[ShardId], now: Tick) -> Tick {
        let begins = |shard: &ShardId| {
            let bucket = self.bucket(*shard);
            bucket.settle(now);
            bucket.begins_at(now)
        };
        shards.iter().map(begins).max().unwrap_or(now)
    }

    /// A process is started that will identify this shard by itself, at the
    /// latest `until`.
    pub fn begin(&mut self, shard: ShardId, until: Tick) {
        self.bucket(shard).begun.insert(shard, until);
    }

    /// The process asks for a permit after all: it has not identified. False
    /// where it was not started to identify by itself, or must have by now.
    pub fn asks_after_all(&mut self, shard: ShardId, now: Tick) -> bool {
        let bucket = self.bucket(shard);
        bucket.settle(now);
        bucket.begun.remove(&shard).is_some()
    }
}

/// By when each of the shards of one process that is started now must have
/// identified, when the first one does within `first`.
pub fn deadlines(count: usize, first: Duration) -> impl Iterator<Item = Duration> {
    (0..count).map(move |index| {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        first + BETWEEN_OWN.saturating_mul(index)
    })
}

#[cfg(test)]
mod tests {
    use super::super::IDENTIFY_GAP;
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);

    fn shard(number: u32) -> ShardId {
        ShardId::new(number, 8).unwrap()
    }

    fn at(ms: u64) -> Tick {
        Tick(ms)
    }

    /// A line in which a process with these shards was started at 0.
    fn begun(max_concurrency: u32, shards: &[u32]) -> IdentifyLine {
        let mut line = IdentifyLine::new(max_concurrency, at(0));
        for (number, until) in shards.iter().zip(deadlines(shards.len(), FIRST)) {
            line.begin(shard(*number), at(0) + until);
        }
        line
    }

    #[test]
    fn a_process_closes_its_buckets_until_its_last_shard_must_have_identified() {
        let mut line = begun(2, &[0, 1, 2]);
        // 0 and 2 share a bucket: 10 s and twice 6 s, and the gap.
        assert_eq!(line.may_begin(&[shard(4)], at(1)), at(22_000) + IDENTIFY_GAP);
        assert_eq!(line.may_begin(&[shard(3)], at(1)), at(16_000) + IDENTIFY_GAP);
        assert_eq!(
            line.may_begin(&[shard(3), shard(4)], at(1)),
            at(22_000) + IDENTIFY_GAP
        );
        assert_eq!(line.promised(at(1)), 3);
    }

    #[test]
    fn nobody_who_asks_or_sleeps_identifies_before_it() {
        let mut line = begun(1, &[0]);
        line.join(shard(1), at(100));
        assert_eq!(line.poll(at(9_999), 9, |_| true), []);
        assert_eq!(
            line.poll(at(10_000) + IDENTIFY_GAP - Duration::from_millis(1), 9, |_| true),
            []
        );
        assert_eq!(line.poll(at(10_000) + IDENTIFY_GAP, 9, |_| true).len(), 1);
        let mut line = begun(1, &[0]);
        assert_eq!(line.reserve(shard(1), at(100)), at(10_000) + IDENTIFY_GAP);
    }

    #[test]
    fn a_sign_of_life_or_its_end_opens_the_bucket_after_five_seconds() {
        let mut line = begun(1, &[0]);
        assert!(line.connected(shard(0), at(2_000)));
        assert_eq!(line.may_begin(&[shard(1)], at(2_000)), at(2_000) + IDENTIFY_GAP);
        let mut line = begun(1, &[0]);
        line.forget(shard(0), at(1_000));
        assert_eq!(line.may_begin(&[shard(0)], at(1_000)), at(1_000) + IDENTIFY_GAP);
    }

    #[test]
    fn a_process_waits_for_permits_and_promised_slots() {
        let mut line = IdentifyLine::new(1, at(0));
        line.join(shard(0), at(0));
        assert_eq!(line.poll(at(30), 9, |_| true).len(), 1);
        assert!(line.may_begin(&[shard(1)], at(40)) >= at(10_000));
        line.used(shard(0), at(50));
        assert_eq!(line.may_begin(&[shard(1)], at(50)), at(50) + IDENTIFY_GAP);
        let slot = line.reserve(shard(2), at(60));
        assert!(line.may_begin(&[shard(1)], at(60)) >= slot + IDENTIFY_GAP);
        let later = slot + FIRST + IDENTIFY_GAP;
        assert_eq!(line.may_begin(&[shard(1)], later), later);
    }

    #[test]
    fn who_asks_after_all_gives_its_place_up() {
        let mut line = begun(1, &[0]);
        assert!(line.asks_after_all(shard(0), at(500)));
        assert!(!line.asks_after_all(shard(0), at(500)));
        assert_eq!(line.may_begin(&[shard(1)], at(500)), at(500));
        let mut late = begun(1, &[0]);
        assert!(!late.asks_after_all(shard(0), at(10_000)));
    }
}
