//! How long those who are still to identify are likely to wait, for people who
//! wait for them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{IDENTIFY_GAP, IdentifyLine};
use crate::id::ShardId;
use crate::tick::Tick;

/// One bucket in which somebody is still to identify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    pub bucket: u32,
    /// Shards that are still to identify.
    pub left: u32,
    /// Who may identify now and has not said yet that it did.
    pub busy: Option<ShardId>,
    /// Until the next one may.
    pub next_in: Duration,
    /// Until the last one may.
    pub last_in: Duration,
}

impl IdentifyLine {
    /// How every bucket stands in which one of `left` is still to identify, as
    /// if all of them asked at once.
    pub fn outlook(&self, left: impl IntoIterator<Item = ShardId>, now: Tick) -> Vec<Outlook> {
        let mut by_bucket: BTreeMap<u32, u32> = BTreeMap::new();
        for shard in left {
            *by_bucket.entry(shard.bucket(self.max_concurrency)).or_insert(0) += 1;
        }
        let of_bucket = |(bucket, left): (u32, u32)| {
            let known = self.buckets.get(&bucket);
            let opens = match known {
                None => self.closed_until,
                Some(known) => match (known.opens_at(now), known.open) {
                    (Some(at), _) => at,
                    // It is used within a moment, as a rule.
                    (None, Some(_)) => now + IDENTIFY_GAP,
                    (None, None) => known.over().unwrap_or(now),
                },
            };
            let next_in = opens.since(now);
            Outlook {
                bucket,
                left,
                busy: known.and_then(|known| Some(known.open?.shard)),
                next_in,
                last_in: next_in + IDENTIFY_GAP.saturating_mul(left.saturating_sub(1)),
            }
        };
        by_bucket.into_iter().map(of_bucket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u32) -> ShardId {
        ShardId::new(number, 6).unwrap()
    }

    #[test]
    fn the_last_of_a_bucket_waits_for_all_before_it() {
        let mut line = IdentifyLine::new(2, Tick(1_000));
        let now = Tick(1_000);
        let all = line.outlook((0..6).map(shard), now);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].bucket, all[0].left, all[0].busy), (0, 3, None));
        assert_eq!(
            (all[0].next_in, all[0].last_in),
            (Duration::ZERO, IDENTIFY_GAP * 2)
        );

        line.join(shard(0), now);
        let granted = Tick(1_100);
        assert_eq!(line.poll(granted, 9, |_| true).len(), 1);
        let rest = line.outlook([shard(2), shard(4)], granted);
        assert_eq!((rest[0].busy, rest[0].next_in), (Some(shard(0)), IDENTIFY_GAP));

        line.used(shard(0), Tick(1_200));
        let rest = line.outlook([shard(2), shard(4)], Tick(3_200));
        assert_eq!(rest[0].busy, None);
        assert_eq!(rest[0].next_in, IDENTIFY_GAP - Duration::from_secs(2));
        assert_eq!(rest[0].last_in, rest[0].next_in + IDENTIFY_GAP);
        assert_eq!(line.outlook([], now), []);
    }
}
