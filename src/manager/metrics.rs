//! The fleet as `GET /metrics` shows it: read off the state when it is asked,
//! each pool under its lock for a moment, beside what was counted meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shardman_core::wire::FleetView;
use shardman_core::{PoolId, ShardId};

use super::fleet::{Counts, Fleet, Tally};
use super::handle::{ManagerHandle, Shared};
use super::settings::Count;
use super::view;
use crate::metrics::{Families, Metrics};
use crate::supervisor::usage;
use members::Room;

mod members;

/// What is read of one pool while its lock is held.
struct Seen {
    pool: PoolId,
    is_discord: bool,
    view: FleetView,
    tally: Tally,
    waiting: usize,
    halted: bool,
    brake: bool,
    /// Session starts that may be used now; the largest number where nothing
    /// limits them.
    free: u32,
    resets_at_ms: Option<u64>,
    takes_writes: bool,
    readiness: Result<(), String>,
    /// Planned shards that serve.
    serving: BTreeSet<ShardId>,
    /// How many events the gateway session of each shard has had.
    events: BTreeMap<ShardId, u64>,
}

impl Seen {
    fn of(fleet: &Fleet, shared: &Shared) -> Self {
        let facts = fleet.discord.as_ref();
        Self {
            pool: fleet.settings.pool.clone(),
            is_discord: fleet.is_discord(),
            view: view::fleet(fleet, &shared.clock),
            tally: fleet.tally.clone(),
            waiting: fleet.line.waiting().map(|(_, waiting)| waiting).sum(),
            halted: fleet.halted_because().is_some(),
            brake: fleet.brake.is_on(),
            free: fleet.starts_free(),
            resets_at_ms: facts.map(|facts| facts.starts.resets_at_ms),
            takes_writes: fleet.store_trouble.is_none(),
            readiness: view::readiness(fleet),
            serving: fleet.serving(shared.clock.now()),
            events: fleet.sequences(),
        }
    }
}

impl ManagerHandle {
    /// What those count that are no part of the manager.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// What `GET /metrics` answers. It looks at every process of the host, so
    /// it may take milliseconds: for a thread that may wait.
    pub fn metrics_text(&self) -> String {
        let mut families = Families::default();
        self.shared.metrics.collect(&mut families);
        let mut seen = vec![Seen::of(&self.shared.fleet(), &self.shared)];
        for (_, fleet) in self.shared.pools.iter() {
            let declared = fleet.settings.count != Count::Nothing;
            if declared || fleet.running().next().is_some() {
                seen.push(Seen::of(&fleet, &self.shared));
            }
        }
        whole(&mut families, &seen);
        let mut room = Room::default();
        for seen in &seen {
            if seen.is_discord {
                identifying(&mut families, seen);
            }
            pool(&mut families, seen);
            members::shards(&mut families, seen, &mut room);
        }
        members::workers(&mut families, &seen, &self.shared.metrics.used, &mut room);
        room.tell(&mut families);
        families.into_text()
    }
}

/// The manager itself.
fn whole(families: &mut Families, seen: &[Seen]) {
    let version = env!("CARGO_PKG_VERSION");
    families.gauge(
        "shardman_build_info",
        "The version that runs; always 1",
        &[("version", version)],
        1,
    );
    // The first is the bot's own.
    let Some(bot) = seen.first() else { return };
    families.gauge(
        "shardman_ready",
        "Whether leases can be granted and kept, as GET /ready says",
        &[],
        bot.readiness.is_ok(),
    );
    families.gauge(
        "shardman_store_writable",
        "Whether the disk took the last commit",
        &[],
        bot.takes_writes,
    );
    let mut trouble: Vec<_> = seen.iter().flat_map(|seen| &seen.view.trouble).collect();
    trouble.sort_unstable();
    trouble.dedup();
    families.gauge(
        "shardman_troubles",
        "Sentences under trouble in GET /fleet",
        &[],
        number(trouble.len()),
    );
    if let Some(own) = usage::of_this_process() {
        families.gauge(
            "process_resident_memory_bytes",
            "Memory that the manager keeps resident",
            &[],
            own.resident_bytes as f64,
        );
        families.counter(
            "process_cpu_seconds_total",
            "Processor time of the manager and of what it waited for",
            &[],
            own.cpu_seconds,
        );
    }
}

/// What only a bot has: permits, sessions, and Discord's budget.
fn identifying(families: &mut Families, seen: &Seen) {
    let Seen { view, tally, .. } = seen;
    families.gauge(
        "shardman_identify_max_concurrency",
        "Identify buckets that Discord gives the bot",
        &[],
        view.max_concurrency,
    );
    families.gauge(
        "shardman_identify_waiting",
        "Shards in the line for a permit to identify",
        &[],
        number(seen.waiting),
    );
    families.counter(
        "shardman_identify_permits_total",
        "Permits to identify that were granted to those who asked",
        &[],
        tally.permits as f64,
    );
    families.add(prometheus::core::Collector::collect(&tally.waits));
    families.counter(
        "shardman_identifies_total",
        "IDENTIFYs that holders reported",
        &[],
        tally.identifies as f64,
    );
    families.counter(
        "shardman_unpermitted_identifies_total",
        "Reported IDENTIFYs without a permit or a slot",
        &[],
        tally.unpermitted as f64,
    );
    families.counter(
        "shardman_resumes_total",
        "RESUMEs that holders reported",
        &[],
        tally.resumes as f64,
    );
    const SPENT: &str = "shardman_session_starts_spent_total";
    const SPENT_HELP: &str = "Session starts that were granted, promised or reported, by cause";
    by(families, (SPENT, SPENT_HELP), (&[], "cause"), &tally.starts);
    families.counter(
        "shardman_session_starts_refunded_total",
        "Session starts that were promised and not used after all",
        &[],
        tally.refunds as f64,
    );
    let known = view
        .starts
        .total
        .zip(view.starts.remaining)
        .zip(seen.resets_at_ms);
    let Some(((limit, remaining), resets_at_ms)) = known else {
        return;
    };
    families.gauge(
        "shardman_session_starts_limit",
        "Session starts that Discord gives the bot in 24 hours",
        &[],
        limit,
    );
    families.gauge(
        "shardman_session_starts_remaining",
        "Session starts that are left until the reset",
        &[],
        remaining,
    );
    families.gauge(
        "shardman_session_starts_usable",
        "Session starts that may be used now: what is left without the reserve",
        &[],
        seen.free,
    );
    families.gauge(
        "shardman_session_starts_reserve",
        "Session starts that are kept until an operator lets the fleet use them",
        &[],
        view.starts.reserve.unwrap_or(0),
    );
    families.gauge(
        "shardman_session_starts_reset_timestamp_seconds",
        "When Discord gives new session starts, in seconds since 1970",
        &[],
        resets_at_ms as f64 / 1000.0,
    );
}

/// What every pool has.
fn pool(families: &mut Families, seen: &Seen) {
    let Seen { view, tally, .. } = seen;
    let labels = &[("pool", seen.pool.as_str())];
    let gauges = [
        (
            "shardman_shards_planned",
            "Shards, or slots, that are to be held",
            view.planned,
        ),
        (
            "shardman_shards_leased",
            "Shards that somebody holds",
            view.leased,
        ),
        (
            "shardman_shards_ready",
            "Planned shards that serve, as far as anyone can tell",
            view.ready,
        ),
        (
            "shardman_halted",
            "Whether nothing is started until an operator resumes the fleet",
            u32::from(seen.halted),
        ),
        (
            "shardman_brake_on",
            "Whether kills are held because many fell silent together",
            u32::from(seen.brake),
        ),
        (
            "shardman_rescale_active",
            "Whether the number of shards is being changed",
            u32::from(view.rescale.is_some()),
        ),
        (
            "shardman_restart_active",
            "Whether a planned restart is under way, paused ones too",
            u32::from(restart_is(view, &["running", "paused"])),
        ),
        (
            "shardman_restart_paused",
            "Whether a planned restart waits",
            u32::from(restart_is(view, &["paused"])),
        ),
    ];
    for (name, help, value) in gauges {
        families.gauge(name, help, labels, value);
    }
    families.counter(
        "shardman_leases_granted_total",
        "Leases that were granted",
        labels,
        tally.leases_granted as f64,
    );
    families.counter(
        "shardman_worker_starts_total",
        "Processes that were started",
        labels,
        tally.worker_starts as f64,
    );
    let counted = [
        (
            ("shardman_leases_ended_total", "Leases that ended, by cause"),
            "cause",
            &tally.leases_ended,
        ),
        (
            (
                "shardman_worker_ends_total",
                "Runs of workers that ended, by what they were stopped for or how they ended",
            ),
            "cause",
            &tally.worker_ends,
        ),
        (
            (
                "shardman_worker_restarts_total",
                "Starts of workers that ran before, by how that run ended",
            ),
            "cause",
            &tally.worker_restarts,
        ),
        (
            (
                "shardman_unwell_total",
                "Shards that were found deaf, stuck, or held by a blocked worker",
            ),
            "condition",
            &tally.unwell,
        ),
    ];
    for (name, label, counts) in counted {
        by(families, name, (labels, label), counts);
    }
}

fn restart_is(view: &FleetView, states: &[&str]) -> bool {
    let state = view.restart.as_ref().map(|restart| restart.state.as_str());
    state.is_some_and(|state| states.contains(&state))
}

/// One counter for each cause.
fn by(
    families: &mut Families,
    (name, help): (&'static str, &'static str),
    (labels, label): (crate::metrics::Labels<'_>, &'static str),
    counts: &Counts,
) {
    for (cause, count) in counts.iter() {
        let labels: Vec<_> = labels.iter().copied().chain([(label, cause)]).collect();
        families.counter(name, help, &labels, count as f64);
    }
}

/// A number of things, which is never beyond what is exact.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
