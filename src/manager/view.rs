//! The fleet as others see it.

use shardman_core::health::WorkerCondition;
use shardman_core::lease::Lease;
use shardman_core::rolling::{Rolling, Standing};
use shardman_core::wire::{FleetView, RestartView, ShardState, ShardView, Status, StatusShard, WorkerView};
use shardman_core::{Plan, ShardId, Tick, WorkerId};

use super::fleet::{Fleet, Run};
use crate::clock::Clock;
use crate::discord::TOKEN_REFUSED;
use shardman_core::wall::rfc3339_micros;

/// Counts of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub planned: usize,
    pub leased: usize,
    pub ready: usize,
    /// Shards in the line for a permit.
    pub waiting: usize,
    /// Children whose process group is not gone.
    pub running: usize,
    pub stopping: bool,
    /// How far a change of the number of shards is, in words.
    pub rescale: Option<String>,
    /// What keeps the fleet from being whole, in words.
    pub trouble: Vec<String>,
}

pub(super) fn summary(fleet: &Fleet, now: Tick) -> Summary {
    Summary {
        planned: fleet.live.len(),
        leased: fleet.table.leases().count(),
        ready: ready(fleet, now),
        waiting: fleet.line.waiting().map(|(_, waiting)| waiting).sum(),
        running: fleet.running().count(),
        stopping: fleet.stopping,
        rescale: fleet.rescale_words(),
        trouble: trouble(fleet),
    }
}

/// Planned shards that serve, as they are shown. A holder that beats and reports
/// no state serves as far as anyone can tell.
pub(super) fn ready(fleet: &Fleet, now: Tick) -> usize {
    serving(fleet, now).count()
}

/// Whoever said that it is ready and is silent, deaf or blocked since does not
/// serve; what is decided about it is another matter.
pub(super) fn serving(fleet: &Fleet, now: Tick) -> impl Iterator<Item = ShardId> {
    let leases = fleet.table.leases();
    let serving = leases.filter(move |(shard, lease)| {
        fleet.live.contains(*shard) && serves(lease) && fleet.is_well(*shard, lease, now)
    });
    serving.map(|(shard, _)| shard)
}

pub(super) fn serves(lease: &Lease) -> bool {
    lease.heard && lease.figures.state.is_none_or(|state| state == ShardState::Ready)
}

/// Whether leases can be granted and kept. Not whether all are held: workers
/// on other hosts must reach a manager that is ready to have them.
pub(super) fn readiness(fleet: &Fleet) -> Result<(), String> {
    let stopping = fleet.stopping.then(|| "the manager is shutting down".to_owned());
    let reason = stopping
        .or_else(|| fleet.waits_for_discord())
        .or_else(|| fleet.store_trouble.clone());
    reason.map_or(Ok(()), Err)
}

fn trouble(fleet: &Fleet) -> Vec<String> {
    let mut trouble: Vec<String> = Vec::new();
    let waits = fleet.waits_for_discord();
    // An outage of Discord's API is none of ours; a refused token is.
    let refused = fleet.discord_trouble.clone();
    let refused = refused.filter(|why| waits.is_none() && why.starts_with(TOKEN_REFUSED));
    trouble.extend(waits.or(refused));
    trouble.extend(fleet.store_trouble.clone());
    trouble.extend(fleet.halted_because());
    trouble.extend(fleet.starts_used_up());
    trouble.extend(fleet.brake_words());
    trouble.extend(fleet.count_trouble());
    trouble.extend(fleet.restart_paused());
    trouble.extend(fleet.over_their_share());
    trouble.extend(fleet.assigned_trouble());
    trouble.extend(fleet.unregistered_trouble());
    trouble.extend(fleet.unwell_words());
    trouble.extend(fleet.stopped_words());
    for (id, worker) in &fleet.workers {
        if worker.run == Run::Halted {
            let how = worker.last_exit.as_deref().unwrap_or("it ended");
            trouble.push(format!(
                "worker {id} is halted ({how}): its configuration is wrong; change it, then run `shardman reload` or `shardman resume`"
            ));
        }
    }
    trouble
}

pub(super) fn status(fleet: &Fleet, clock: &Clock) -> Status {
    let shard = |(shard, lease): (ShardId, &Lease)| StatusShard {
        shard_id: shard.number(),
        // Of a process that need not beat one knows that it lives.
        last_beat: match lease.never_beaten() {
            true => rfc3339_micros(clock.wall_ms()),
            false => rfc3339_micros(clock.wall_ms_at(lease.last_beat)),
        },
        guild_count: lease.figures.guild_count,
        latency: lease.figures.latency,
        extra: lease.figures.extra.clone(),
    };
    let mut shards: Vec<_> = fleet.table.leases().map(shard).collect();
    shards.sort_by_key(|shard| shard.shard_id);
    Status {
        total_shards: fleet.live.total(),
        shards,
    }
}

/// All but what the host lets us do, which is none of the fleet's business.
pub(super) fn fleet(fleet: &Fleet, clock: &Clock) -> FleetView {
    let now = clock.now();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    FleetView {
        planned: count(fleet.live.len()),
        leased: count(fleet.table.leases().count()),
        ready: count(ready(fleet, now)),
        max_concurrency: fleet.line.max_concurrency(),
        starts_remaining: fleet
            .discord
            .as_ref()
            .map(|facts| facts.starts.left(clock.wall_ms())),
        starts_total: fleet.discord.as_ref().map(|facts| facts.starts.total),
        starts: fleet.starts_view(),
        trouble: trouble(fleet),
        halted: fleet.halt_reason(),
        rescale: fleet.rescale_view(now),
        proposal: fleet.counting.proposal.clone(),
        restart: fleet.rolling.as_ref().map(restart_view),
        kill_method: String::new(),
        memory_limit: None,
        shards: fleet
            .table
            .leases()
            .map(|(shard, _)| shard)
            .chain(fleet.table.plan().iter())
            .collect::<Plan>()
            .iter()
            .map(|shard| shard_view(fleet, shard, now))
            .collect(),
        workers: worker_views(fleet, now),
        pools: Vec::new(),
    }
}

fn shard_view(fleet: &Fleet, shard: ShardId, now: Tick) -> ShardView {
    let lease = fleet.table.lease(shard);
    let figures = lease.map(|lease| &lease.figures);
    let state = match lease {
        Some(_) if !fleet.table.plan().contains(shard) => "draining",
        Some(lease) if lease.assigned && lease.figures.state.is_none() => "assigned",
        Some(lease) => lease.figures.state.map_or("leased", ShardState::as_str),
        None if fleet.table.held_back().any(|(held, _)| held == shard) => "held_back",
        None => "free",
    };
    let standing = fleet.standing(shard, now);
    ShardView {
        shard,
        state: state.to_owned(),
        condition: standing.condition.as_str().to_owned(),
        condition_age: standing.since.map(|since| now.since(since).as_secs_f64()),
        deadline_in: standing.ends.map(|ends| ends.since(now).as_secs_f64()),
        deaf_after: standing.deaf_after.map(|silence| silence.as_secs_f64()),
        epoch: lease.map(|lease| lease.epoch),
        worker: lease
            .and_then(|lease| lease.holder.child())
            .map(ToString::to_string),
        beat_age: lease
            .filter(|lease| !lease.never_beaten())
            .map(|lease| now.since(lease.last_beat).as_secs_f64()),
        guild_count: figures.and_then(|figures| figures.guild_count),
        latency: figures.and_then(|figures| figures.latency),
        last_event_age: figures.and_then(|figures| figures.last_event_age),
        loop_lag: figures.and_then(|figures| figures.loop_lag),
        events_per_second: figures.and_then(|figures| figures.events.per_second()),
        close_code: figures.and_then(|figures| figures.close_code),
    }
}

/// The process of each child that holds shards, and how many it holds.
pub(super) fn holding(fleet: &Fleet) -> Vec<(i32, u32)> {
    let process = |(worker, shards): (&WorkerId, &u32)| {
        let process = fleet.workers.get(worker)?.record.process.as_ref()?;
        Some((process.pid, *shards))
    };
    fleet.table.children().iter().filter_map(process).collect()
}

fn restart_view(rolling: &Rolling) -> RestartView {
    let record = rolling.record();
    let on_hold = record.on_hold && rolling.active();
    let state = match record.standing {
        Standing::Running if record.on_hold => "paused",
        Standing::Running => "running",
        Standing::Paused { .. } => "paused",
        Standing::Done => "done",
        Standing::Cancelled => "cancelled",
    };
    RestartView {
        asked_at: rfc3339_micros(record.asked_at_ms),
        state: state.to_owned(),
        done: rolling.done(),
        total: record.total,
        current: record
            .current
            .as_ref()
            .filter(|_| rolling.active())
            .map(|current| current.stopped.worker.to_string()),
        waiting_for: rolling.waiting_for().map(ToOwned::to_owned),
        paused: rolling.paused().map_or_else(
            || on_hold.then(|| "an operator holds it".to_owned()),
            |reason| Some(reason.to_owned()),
        ),
        on_hold,
        canary: (record.canary_ms > 0).then_some(record.canary_ms as f64 / 1000.0),
        queue: record
            .queue
            .iter()
            .map(|queued| queued.worker.to_string())
            .collect(),
    }
}

fn worker_views(fleet: &Fleet, now: Tick) -> Vec<WorkerView> {
    let held = fleet.table.children();
    let signs = fleet.worker_signs(now);
    fleet
        .workers
        .iter()
        .map(|(id, worker)| {
            let (state, restart_in) = match worker.run {
                Run::Running if !worker.record.condemned.is_empty() => ("lapsed", None),
                Run::Running => ("running", None),
                Run::Stopping => ("stopping", None),
                Run::BackingOff { .. } if fleet.is_spare(worker, now) => ("backing_off", None),
                Run::BackingOff { until } => ("backing_off", Some(until.since(now).as_secs_f64())),
                Run::Halted => ("halted", None),
                Run::Resting => ("resting", None),
                Run::Stopped => ("stopped", None),
            };
            let runs = matches!(worker.run, Run::Running | Run::Stopping);
            let (condition, ends) = WorkerCondition::of(&signs[id]);
            WorkerView {
                worker: id.to_string(),
                state: state.to_owned(),
                condition: condition.as_str().to_owned(),
                deadline_in: ends.map(|ends| ends.since(now).as_secs_f64()),
                pid: worker.record.process.as_ref().map(|process| process.pid),
                shards: worker.record.shards,
                holding: held.get(id).copied().unwrap_or(0),
                exits: worker.restarts.exits,
                last_exit: worker.last_exit.clone(),
                restart_in,
                uptime: runs.then(|| worker.uptime(now).as_secs_f64()),
                memory_bytes: None,
                cpu_percent: None,
            }
        })
        .collect()
}
