//! Series of single shards and workers, and how many of them are at a time in
//! each state. Those of single ones are bounded, whatever the fleet's size.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use shardman_core::wire::{ShardView, WorkerView};

use super::{Seen, number};
use crate::metrics::Families;
use crate::supervisor::usage::{self, MostSeen};

/// Shards with series of their own, over all pools, and workers. What is beyond
/// is counted in the sums alone.
pub(super) const SHARDS: usize = 2048;
pub(super) const WORKERS: usize = 1024;

/// States of a lease; `free` and `held_back` are of none.
const LEASES: &[&str] = &[
    "leased",
    "assigned",
    "starting",
    "waiting",
    "identifying",
    "resuming",
    "standing_by",
    "ready",
    "disconnected",
    "stopping",
    "draining",
];

const SHARD_CONDITIONS: &[&str] = &[
    "free",
    "held_back",
    "registered",
    "assigned",
    "starting",
    "waiting",
    "identifying",
    "resuming",
    "standing_by",
    "ready",
    "disconnected",
    "stopping",
    "draining",
    "silent",
    "deaf",
    "blocked",
];

const WORKER_CONDITIONS: &[&str] = &[
    "starting",
    "running",
    "lapsed",
    "silent",
    "blocked",
    "stopping",
    "backing_off",
    "crash_looping",
    "halted",
    "stopped",
    "resting",
    "spare",
    "stopped",
];

/// How many more may have series of their own, and how many have none.
#[derive(Debug, Default)]
pub(super) struct Room {
    shards: usize,
    workers: usize,
}

impl Room {
    /// How many of these are still within the bound, counting them all.
    fn take(taken: &mut usize, bound: usize, more: usize) -> usize {
        let free = bound.saturating_sub(*taken);
        *taken += more;
        free.min(more)
    }

    /// How many are beyond it.
    pub(super) fn tell(&self, families: &mut Families) {
        for (of, all, bound) in [("shard", self.shards, SHARDS), ("worker", self.workers, WORKERS)] {
            families.gauge(
                "shardman_members_without_series",
                "Shards and workers beyond the number that have series of their own",
                &[("of", of)],
                number(all.saturating_sub(bound)),
            );
        }
    }
}

pub(super) fn shards(families: &mut Families, seen: &Seen, room: &mut Room) {
    let pool = seen.pool.as_str();
    let shards = &seen.view.shards;
    let held = shards.iter().filter(|shard| shard.epoch.is_some());
    for (state, count) in count(LEASES, held.map(|shard| shard.state.as_str())) {
        families.gauge(
            "shardman_leases",
            "Leases by what their holders report",
            &[("pool", pool), ("state", state)],
            count,
        );
    }
    let conditions = shards.iter().map(|shard| shard.condition.as_str());
    for (condition, count) in count(SHARD_CONDITIONS, conditions) {
        families.gauge(
            "shardman_shards",
            "Shards by the manager's verdict",
            &[("pool", pool), ("condition", condition)],
            count,
        );
    }
    let within = Room::take(&mut room.shards, SHARDS, shards.len());
    for view in &shards[..within] {
        shard(families, seen, view);
    }
}

fn shard(families: &mut Families, seen: &Seen, view: &ShardView) {
    let (number, total) = (view.shard.number().to_string(), view.shard.total().to_string());
    let labels = &[
        ("pool", seen.pool.as_str()),
        ("shard", &*number),
        ("total", &*total),
    ];
    families.gauge(
        "shardman_shard_ready",
        "Whether the shard is planned and serves, as far as anyone can tell",
        labels,
        seen.serving.contains(&view.shard),
    );
    let known = [
        (
            "shardman_shard_latency_seconds",
            "Latency of the gateway connection, as its holder reports it",
            view.latency,
        ),
        (
            "shardman_shard_guilds",
            "Guilds, as its holder reports them",
            view.guild_count.map(|guilds| guilds as f64),
        ),
        (
            "shardman_shard_last_event_age_seconds",
            "Time since the last gateway event at the last beat",
            view.last_event_age,
        ),
        (
            "shardman_shard_beat_age_seconds",
            "Time since the last beat",
            view.beat_age,
        ),
    ];
    for (name, help, value) in known {
        // A library that has measured no latency yet may say infinity.
        if let Some(value) = value.filter(|value| value.is_finite()) {
            families.gauge(name, help, labels, value);
        }
    }
    if let Some(events) = seen.events.get(&view.shard) {
        families.counter(
            "shardman_shard_events_total",
            "Events of the gateway session: its sequence, which begins anew with a new session",
            labels,
            *events as f64,
        );
    }
}

pub(super) fn workers(families: &mut Families, seen: &[Seen], used: &Mutex<MostSeen>, room: &mut Room) {
    let all = || seen.iter().flat_map(|seen| &seen.view.workers);
    let sessions: BTreeSet<_> = all().filter_map(|worker| worker.pid).collect();
    let usage = {
        // Two who ask at once must not tell an older sum after a newer one.
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut usage = usage::of_sessions(&sessions);
        used.raise(&mut usage);
        usage
    };
    for seen in seen {
        let pool = seen.pool.as_str();
        let workers = &seen.view.workers;
        let conditions = workers.iter().map(|worker| worker.condition.as_str());
        for (condition, count) in count(WORKER_CONDITIONS, conditions) {
            families.gauge(
                "shardman_workers",
                "Workers by the manager's verdict",
                &[("pool", pool), ("condition", condition)],
                count,
            );
        }
        let within = Room::take(&mut room.workers, WORKERS, workers.len());
        for view in &workers[..within] {
            worker(families, pool, view, &usage);
        }
    }
}

fn worker(families: &mut Families, pool: &str, view: &WorkerView, usage: &BTreeMap<i32, usage::Usage>) {
    let labels = &[("pool", pool), ("worker", view.worker.as_str())];
    families.gauge(
        "shardman_worker_shards",
        "Shards that the worker holds",
        labels,
        view.holding,
    );
    families.gauge(
        "shardman_worker_exits_in_a_row",
        "Exits without a stable run between them; five are a crash loop",
        labels,
        view.exits,
    );
    if let Some(uptime) = view.uptime {
        families.gauge(
            "shardman_worker_uptime_seconds",
            "Age of the worker's run",
            labels,
            uptime,
        );
    }
    if let Some(usage) = view.pid.and_then(|pid| usage.get(&pid)) {
        families.gauge(
            "shardman_worker_resident_memory_bytes",
            "Memory that the worker and all it started in its session keep resident",
            labels,
            usage.resident_bytes as f64,
        );
        families.counter(
            "shardman_worker_cpu_seconds_total",
            "Processor time of the worker and all it started in its session",
            labels,
            usage.cpu_seconds,
        );
    }
}

/// How many are in each state, of those that there may be.
fn count<'a>(states: &[&'a str], found: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut counts: BTreeMap<_, _> = states.iter().map(|state| (*state, 0)).collect();
    for state in found {
        *counts.entry(state).or_insert(0) += 1;
    }
    counts
}
