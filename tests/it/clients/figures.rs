//! What the beats of a client helper say of its shards.

use super::Bench;
use crate::support::{eventually, seconds};

impl Bench {
    /// Waits until so many guilds are counted, and every shard has a rate of
    /// events beside the age of its last one.
    #[track_caller]
    pub(super) fn wait_for_figures(&self, guilds: i64) {
        let shards = eventually(seconds(30.0), "the beats tell all figures", || {
            let shards = self.shardman.fleet().shards;
            let counted: i64 = shards.iter().filter_map(|shard| shard.guild_count).sum();
            let rated = |shard: &shardman_core::wire::ShardView| shard.events_per_second > Some(0.0);
            (counted == guilds && shards.iter().all(rated)).then_some(shards)
        });
        assert!(shards.iter().all(|shard| shard.last_event_age.is_some()));
        let rates: Vec<_> = shards
            .iter()
            .filter_map(|shard| shard.events_per_second)
            .collect();
        // The simulator sends 40 a second, over all shards.
        eprintln!("events a second, by shard: {rates:.1?}");
        assert!(
            rates.iter().sum::<f64>() < 80.0,
            "each event counts once: {rates:?}"
        );
    }
}
