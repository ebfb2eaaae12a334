//! What the shards of a virtual bot hear: events at random times of a mean
//! that may change with the hour, and shards that hear none any more.

use std::collections::BTreeMap;

use shardman_core::{ShardId, Tick};

use super::{HOUR, MINUTE, SECOND};

/// How much a bot hears.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// Two events every three seconds.
    Busy,
    /// One event every three hours.
    Quiet,
    /// Sixteen hours of an event every two seconds, then, from one moment to the
    /// next, eight of one every twenty minutes.
    DayAndNight,
}

impl Load {
    fn mean_ms(self, at: u64) -> f64 {
        let mean = match self {
            Self::Busy => 1_500,
            Self::Quiet => 3 * HOUR,
            Self::DayAndNight if at % (24 * HOUR) < 16 * HOUR => 2 * SECOND,
            Self::DayAndNight => 20 * MINUTE,
        };
        mean as f64
    }
}

#[derive(Debug)]
struct Line {
    rng: fastrand::Rng,
    last: u64,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Traffic {
    load: Load,
    lines: BTreeMap<ShardId, Line>,
    /// Shards that hear nothing since then, and whether a new connection is as
    /// deaf as the old one.
    deaf: BTreeMap<ShardId, (Tick, bool)>,
}

impl Traffic {
    pub(super) fn new(load: Load) -> Self {
        Self {
            load,
            lines: BTreeMap::new(),
            deaf: BTreeMap::new(),
        }
    }

    pub(super) fn make_deaf(&mut self, shard: ShardId, sticky: bool, now: Tick) {
        self.deaf.insert(shard, (now, sticky));
    }

    /// The last event that a shard has heard at `now` on a connection that was
    /// active since then; its first one is RESUMED or READY.
    pub(super) fn last(&mut self, shard: ShardId, active_since: Tick, now: Tick) -> Tick {
        let until = match self.deaf.get(&shard) {
            Some((since, sticky)) if *sticky || active_since <= *since => *since,
            Some(_) | None => now,
        };
        let line = self.lines.entry(shard).or_insert_with(|| Line {
            rng: fastrand::Rng::with_seed(u64::from(shard.number())),
            last: 0,
            next: 0,
        });
        while line.next <= until.0 {
            line.last = line.next;
            let gap = -(1.0 - line.rng.f64()).ln() * self.load.mean_ms(line.last);
            // An event that would come in another part of the day comes at its
            // pace instead.
            let part = 8 * HOUR;
            let ends = line.last / part * part + part;
            line.next = (line.last + 1 + gap as u64).min(ends.max(line.last + 1));
        }
        Tick(line.last).max(active_since)
    }
}
