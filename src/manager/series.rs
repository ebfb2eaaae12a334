//! Looks at the fleet every ten seconds: for the charts of the last week, and
//! for what each worker takes of the host.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shardman_core::lease::Lease;
use shardman_core::series::{Lines, Sample, Series, ShardSample, percentile};
use shardman_core::wire::WorkerView;
use shardman_core::{ShardId, Tick};
use tokio::time::MissedTickBehavior;

use super::fleet::{Fleet, Run};
use super::handle::{ManagerHandle, Shared};
use super::view;
use crate::supervisor::Usages;

const EVERY: Duration = Duration::from_secs(10);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    series: Mutex<Series>,
    usages: Mutex<Usages>,
}

/// Lines of a chart, and when the last step ends, in seconds since 1970.
#[derive(Debug)]
pub struct Chart {
    pub lines: Lines,
    pub end_seconds: u64,
}

impl ManagerHandle {
    /// How the fleet was over the last `seconds`.
    pub fn fleet_chart(&self, seconds: u64) -> Chart {
        self.chart(|series, now| series.fleet(seconds, now))
    }

    /// How a shard was over the last hour, of whatever total unless it is given.
    pub fn shard_chart(&self, shard: u32, total: Option<u32>) -> Chart {
        self.chart(|series, now| series.shard(shard, total, now))
    }

    fn chart(&self, read: impl FnOnce(&Series, Tick) -> Lines) -> Chart {
        let clock = self.shared.clock;
        let now = clock.now();
        let lines = read(&lock(&self.shared.seen.series), now);
        Chart {
            end_seconds: (clock.wall_ms() + lines.end.ms_since(now)) / 1000,
            lines,
        }
    }
}

/// Looks for as long as it is let.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looking = Arc::clone(&shared);
        // It reads files, and sorts what a large fleet says.
        let look = tokio::task::spawn_blocking(move || looking.look());
        if look.await.is_err() {
            tracing::debug!("a look at the fleet came to nothing");
        }
    }
}

impl Shared {
    fn look(&self) {
        let mut pids = Vec::new();
        let mut running = 0;
        for pool in self.every_pool() {
            let fleet = self.of_pool(pool.as_str());
            let processes = fleet
                .workers
                .values()
                .filter_map(|worker| worker.record.process.as_ref());
            pids.extend(processes.map(|process| process.pid));
            let runs = fleet.workers.values().filter(|worker| worker.run == Run::Running);
            running += runs.count();
        }
        let (sample, shards) = self.read(running);
        let now = self.clock.now();
        let mut series = lock(&self.seen.series);
        series.add(&sample, now);
        series.add_shards(shards, now);
        drop(series);
        lock(&self.seen.usages).look(&pids, now);
    }

    /// The bot's shards; other pools have no gateway.
    fn read(&self, running: usize) -> (Sample, Vec<(ShardId, ShardSample)>) {
        let fleet = self.fleet();
        let live = |shard: &ShardId| fleet.live.contains(*shard);
        let held = || fleet.table.leases().filter(|(shard, _)| live(shard));
        let shards: Vec<_> = held().map(|(shard, lease)| (shard, of_shard(lease))).collect();
        let mut latencies: Vec<_> = shards.iter().filter_map(|(_, shard)| shard.latency_ms).collect();
        let sum = |figure: fn(&ShardSample) -> Option<f64>| {
            let known: Vec<_> = shards.iter().filter_map(|(_, shard)| figure(shard)).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>())
        };
        let count = |number: usize| Some(number as f64);
        let sample = Sample {
            shards_ready: count(view::ready(&fleet, self.clock.now())),
            shards_total: count(fleet.live.len()),
            guilds: sum(|shard| shard.guilds),
            latency_p50_ms: percentile(&mut latencies, 50),
            latency_p99_ms: percentile(&mut latencies, 99),
            events_per_second: sum(|shard| shard.events_per_second),
            starts_remaining: self.starts_left(&fleet),
            workers: count(running),
        };
        (sample, shards)
    }

    fn starts_left(&self, fleet: &Fleet) -> Option<f64> {
        let facts = fleet.discord.as_ref()?;
        Some(f64::from(facts.starts.left(self.clock.wall_ms())))
    }

    /// Adds what each worker takes.
    pub(super) fn add_usage(&self, workers: &mut [WorkerView]) {
        let usages = lock(&self.seen.usages);
        for worker in workers {
            let usage = worker.pid.and_then(|pid| usages.of(pid));
            worker.memory_bytes = usage.map(|(usage, _)| usage.resident_bytes);
            worker.cpu_percent = usage.and_then(|(_, percent)| percent);
        }
    }
}

fn of_shard(lease: &Lease) -> ShardSample {
    // What is not connected has no latency and hears nothing.
    let figures = Some(&lease.figures).filter(|_| view::serves(lease));
    ShardSample {
        latency_ms: figures.and_then(|figures| Some(figures.latency? * 1000.0)),
        events_per_second: figures.and_then(|figures| figures.events.per_second()),
        guilds: figures.and_then(|figures| Some(figures.guild_count? as f64)),
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
