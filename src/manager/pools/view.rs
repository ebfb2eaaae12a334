//! The further pools as others see them.

use shardman_core::wire::{FleetView, PoolView};

use super::{Count, Shared};
use crate::manager::view::{self, Summary};

/// The fleet of `discord`, and what every further pool adds.
pub(in crate::manager) fn fleet(shared: &Shared) -> FleetView {
    let mut whole = view::fleet(&shared.fleet(), &shared.clock);
    for (pool, fleet) in shared.pools.iter() {
        let seen = view::fleet(&fleet, &shared.clock);
        let declared = fleet.settings.count != Count::Nothing;
        let left = fleet.running().next().is_some();
        drop(fleet);
        add(&mut whole.trouble, seen.trouble);
        // Of a former pool what is still there is seen.
        if declared || left || seen.leased > 0 {
            whole.pools.push(PoolView {
                pool: pool.to_string(),
                size: seen.planned,
                leased: seen.leased,
                ready: seen.ready,
                max_seconds: shared.of_pool(pool.as_str()).settings.max_seconds.as_secs_f64(),
                restart: seen.restart,
                shards: seen.shards,
                workers: seen.workers,
            });
        }
    }
    whole
}

/// Counts of `discord`, with the children and the trouble of all.
pub(in crate::manager) fn summary(shared: &Shared) -> Summary {
    let now = shared.clock.now();
    let mut whole = view::summary(&shared.fleet(), now);
    for (_, fleet) in shared.pools.iter() {
        let seen = view::summary(&fleet, now);
        whole.running += seen.running;
        add(&mut whole.trouble, seen.trouble);
    }
    whole
}

/// What troubles all of them is said once.
fn add(trouble: &mut Vec<String>, more: Vec<String>) {
    for line in more {
        if !trouble.contains(&line) {
            trouble.push(line);
        }
    }
}
