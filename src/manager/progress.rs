//! How far a fleet is that starts, for people who watch it.

use std::time::Duration;

use shardman_core::Tick;
use shardman_core::identify::Outlook;
use shardman_core::wire::ShardState;

use super::fleet::{Fleet, Run};
use super::handle::ManagerHandle;
use super::view::serves;

/// From IDENTIFY to READY, as a rule.
const UNTIL_READY: Duration = Duration::from_secs(1);

/// What a fleet waits for.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub planned: u32,
    pub ready: u32,
    /// Shards whose holders connect just now.
    pub connecting: u32,
    /// The buckets in which somebody is still to identify.
    pub buckets: Vec<Outlook>,
    /// Until all are ready, if nothing goes wrong; `None` where that hangs on
    /// something else.
    pub ready_in: Option<Duration>,
    /// Children that run, of those that there are places for.
    pub running: u32,
    pub workers: u32,
    /// How often they ended in a row, all together.
    pub restarts: u32,
    /// What keeps it from going on, in words.
    pub trouble: Vec<String>,
}

impl ManagerHandle {
    /// A look at each planned shard, so not for every moment.
    pub fn progress(&self) -> Progress {
        let now = self.shared.clock.now();
        let mut progress = of(&self.shared.fleet(), now);
        for (_, fleet) in self.shared.pools.iter() {
            count_workers(&fleet, &mut progress);
        }
        progress.trouble.clone_from(&self.summary().borrow().trouble);
        progress
    }
}

fn of(fleet: &Fleet, now: Tick) -> Progress {
    let mut progress = Progress::default();
    let mut left = Vec::new();
    for shard in fleet.live.iter() {
        progress.planned += 1;
        let lease = fleet.table.lease(shard);
        let state = lease.and_then(|lease| lease.figures.state);
        if lease.is_some_and(|lease| serves(lease) && fleet.is_well(shard, lease, now)) {
            progress.ready += 1;
        } else if matches!(state, Some(ShardState::Identifying | ShardState::Resuming)) {
            progress.connecting += 1;
        } else {
            left.push(shard);
        }
    }
    progress.buckets = fleet.line.outlook(left, now);
    let last = progress.buckets.iter().map(|bucket| bucket.last_in).max();
    let blocked = fleet.halted_because().or_else(|| fleet.starts_used_up());
    let blocked = blocked.or_else(|| fleet.waits_for_discord());
    progress.ready_in = match blocked.or_else(|| fleet.stopped_words()) {
        Some(_) => None,
        None => Some(last.unwrap_or_default() + UNTIL_READY),
    };
    count_workers(fleet, &mut progress);
    progress
}

fn count_workers(fleet: &Fleet, progress: &mut Progress) {
    for worker in fleet.workers.values().filter(|worker| worker.record.shards > 0) {
        progress.workers += 1;
        progress.running += u32::from(matches!(worker.run, Run::Running | Run::Stopping));
        progress.restarts += worker.restarts.exits;
    }
}
