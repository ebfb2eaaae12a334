//! Resume points: where the last holder of a shard stopped.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::ShardId;
use crate::wire::ResumePoint;

/// A point older than this is not handed out. Discord keeps a session "a few
/// minutes" after its connection ended (Discord, "Gateway", Resuming); a
/// refused RESUME costs a round trip, a forgotten one an identify.
pub const MAX_AGE_MS: u64 = 5 * 60 * 1000;

/// A point and when it was reported: wall clock, milliseconds since 1970,
/// because it outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPoint {
    pub point: ResumePoint,
    pub reported_at_ms: u64,
}

/// The newest point of each shard.
#[derive(Debug, Default)]
pub struct ResumeBook {
    points: BTreeMap<ShardId, SavedPoint>,
    unsaved: BTreeSet<ShardId>,
}

impl ResumeBook {
    pub fn restore(points: impl IntoIterator<Item = (ShardId, SavedPoint)>) -> Self {
        Self {
            points: points.into_iter().collect(),
            unsaved: BTreeSet::new(),
        }
    }

    /// `guild_count` is what the holder counted; a later report that does not
    /// say keeps it.
    pub fn report(&mut self, shard: ShardId, mut point: ResumePoint, guild_count: Option<i64>, wall_ms: u64) {
        let same = self
            .points
            .get(&shard)
            .filter(|saved| saved.point.session_id == point.session_id);
        point.guild_count = guild_count.or_else(|| same.and_then(|saved| saved.point.guild_count));
        self.points.insert(
            shard,
            SavedPoint {
                point,
                reported_at_ms: wall_ms,
            },
        );
        self.unsaved.insert(shard);
    }

    /// How many events the session of each shard has had.
    pub fn sequences(&self) -> impl Iterator<Item = (ShardId, u64)> {
        self.points
            .iter()
            .map(|(shard, saved)| (*shard, saved.point.sequence))
    }

    /// The point for the next holder, if Discord may still know the session.
    pub fn get(&self, shard: ShardId, wall_ms: u64) -> Option<&ResumePoint> {
        let saved = self.points.get(&shard)?;
        (wall_ms.saturating_sub(saved.reported_at_ms) <= MAX_AGE_MS).then_some(&saved.point)
    }

    /// A new gateway session is about to begin: the old one is worth nothing.
    pub fn forget(&mut self, shard: ShardId) {
        if self.points.remove(&shard).is_some() {
            self.unsaved.insert(shard);
        }
    }

    /// What was taken could not be saved.
    pub fn unsave(&mut self, shard: ShardId) {
        self.unsaved.insert(shard);
    }

    /// What changed since the last call; `None` for a forgotten point.
    pub fn take_unsaved(&mut self) -> Vec<(ShardId, Option<SavedPoint>)> {
        std::mem::take(&mut self.unsaved)
            .into_iter()
            .map(|shard| (shard, self.points.get(&shard).cloned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_holder_gets_the_newest_point_while_it_is_young() {
        let shard = ShardId::new(0, 1).unwrap();
        let point = |sequence| ResumePoint {
            session_id: "s".into(),
            sequence,
            resume_url: "ws://r".into(),
            guild_count: Some(7),
        };
        let mut book = ResumeBook::default();
        book.report(shard, point(1), Some(7), 1_000);
        book.report(shard, point(2), None, 2_000);
        assert_eq!(book.get(shard, 2_000 + MAX_AGE_MS), Some(&point(2)));
        assert_eq!(book.get(shard, 2_001 + MAX_AGE_MS), None);
        assert_eq!(book.take_unsaved().len(), 1);
        assert!(book.take_unsaved().is_empty());
        book.forget(shard);
        assert_eq!(book.take_unsaved(), [(shard, None)]);
    }
}
