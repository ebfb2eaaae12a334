//! The fleet in words and tables, as wide as there is room.

use shardman_core::wall::about;
use shardman_core::wire::{FleetView, PoolView, RestartView, ShardView, StartsView, WorkerView};

use super::group;
use crate::cli::restart;
use crate::cli::table::{Column, Table};
use crate::cli::text::{BAD, DIM, GOOD, MOVING, PLAIN, Text, line, of_state, wrap};

/// Shards and workers up to here are shown one by one, where there is room.
pub(super) const FEW: usize = 32;

/// Workers that the line of session starts names.
const SPENDERS: usize = 3;

/// Up to `few` shards and workers are shown one by one.
pub(super) fn render(fleet: &FleetView, few: usize, width: Option<usize>) -> String {
    let mut text = String::new();
    // Without a bot there is nothing to say of one.
    if fleet.planned > 0 || fleet.pools.is_empty() {
        text.push_str(&headline(fleet, width));
    }
    for part in starts(&fleet.starts) {
        text.push_str(&wrap(part.0, &part.1, width, PLAIN));
    }
    if let Some(rescale) = &fleet.rescale {
        let words = format!(
            "rescale to {}: {} of {} steps done",
            rescale.to, rescale.done, rescale.steps
        );
        text.push_str(&wrap("", &words, width, MOVING));
    }
    for trouble in &fleet.trouble {
        text.push_str(&wrap("! ", trouble, width, BAD));
    }
    if let Some(proposal) = &fleet.proposal {
        text.push_str(&wrap("! ", proposal, width, MOVING));
    }
    text.push_str(&restarting(fleet.restart.as_ref(), width));
    text.push_str(&killed(fleet, width));
    if fleet.planned > 0 || fleet.pools.is_empty() || !fleet.shards.is_empty() {
        text.push('\n');
        text.push_str(&shards(&fleet.shards, few).render(width));
    }
    if !fleet.workers.is_empty() {
        text.push('\n');
        text.push_str(&workers(&fleet.workers, few).render(width));
    }
    for pool in &fleet.pools {
        text.push_str(&pool_text(pool, few, width));
    }
    text
}

fn headline(fleet: &FleetView, width: Option<usize>) -> String {
    let style = match fleet.ready == fleet.planned {
        true => GOOD,
        false => MOVING,
    };
    let ready = format!("{} of {} shards ready", fleet.ready, fleet.planned);
    let rest = format!(
        ", {} leased, max_concurrency {}",
        fleet.leased, fleet.max_concurrency
    );
    line(&[Text::new(ready, style), rest.into()], width)
}

/// How far a planned restart is. One that is paused is among the troubles.
fn restarting(restart: Option<&RestartView>, width: Option<usize>) -> String {
    let open = |restart: &&RestartView| restart.on_hold || restart.state == "running";
    restart.filter(open).map_or_else(String::new, |restart| {
        wrap("", &restart::progress(restart), width, MOVING)
    })
}

/// A pool beside `discord`: its slots, and the processes of them.
fn pool_text(pool: &PoolView, few: usize, width: Option<usize>) -> String {
    let head = format!("pool {}: {} of {} slots held", pool.pool, pool.leased, pool.size);
    let mut text = format!("\n{}", wrap("", &head, width, PLAIN));
    text.push_str(&restarting(pool.restart.as_ref(), width));
    let mut slots = Table::new([
        Column::new("SLOT", 0).at_least(6),
        Column::new("STATE", 0).at_least(10),
        Column::new("WORKER", 0).at_least(10),
        Column::new("BEAT", 2),
        Column::new("EPOCH", 3),
    ]);
    for row in group::shards(&pool.shards, few) {
        let [shard, state, holder, beat, _, _, epoch] = row;
        // Slots have no total of their own.
        let number = match shard.words.rsplit_once('/') {
            Some((number, rest)) => rest
                .split_once(' ')
                .map_or_else(|| number.to_owned(), |(_, count)| format!("{number} {count}")),
            None => shard.words.clone(),
        };
        slots.row([number.into(), state, holder, beat, epoch]);
    }
    text.push_str(&slots.render(width));
    if !pool.workers.is_empty() {
        text.push('\n');
        text.push_str(&workers(&pool.workers, few).render(width));
    }
    text
}

/// How workers are killed, and what holds them to their memory; nothing where
/// there are none.
fn killed(fleet: &FleetView, width: Option<usize>) -> String {
    if fleet.workers.is_empty() {
        return String::new();
    }
    let kill = match fleet.kill_method.as_str() {
        "cgroup" => "control group",
        _ => "process group",
    };
    let memory = match fleet.memory_limit.as_deref() {
        Some("cgroup") => "; memory is limited for each worker",
        Some(_) => "; memory is limited for each process only",
        None => "",
    };
    wrap("", &format!("workers are killed by {kill}{memory}"), width, DIM)
}

fn shards(shards: &[ShardView], few: usize) -> Table<7> {
    let mut table = Table::new([
        Column::new("SHARD", 0).at_least(9),
        Column::new("STATE", 0).at_least(12),
        Column::new("WORKER", 0).at_least(10),
        Column::new("BEAT", 2),
        Column::new("GUILDS", 3),
        Column::new("LATENCY", 4),
        Column::new("EPOCH", 5),
    ]);
    for row in group::shards(shards, few) {
        table.row(row);
    }
    table
}

fn workers(workers: &[WorkerView], few: usize) -> Table<7> {
    let mut table = Table::new([
        Column::new("WORKER", 0).at_least(10),
        Column::new("STATE", 0).at_least(12),
        Column::new("PID", 3),
        Column::new("SHARDS", 1),
        Column::new("UP", 2),
        Column::new("EXITS", 2),
        Column::new("LAST EXIT", 4).at_least(12),
    ]);
    for row in group::workers(workers, few) {
        table.row(row);
    }
    table
}

/// Every worker, in a table as wide as there is room.
pub(in crate::cli) fn workers_table(views: &[WorkerView], width: Option<usize>) -> String {
    workers(views, usize::MAX).render(width)
}

/// What is left of the session starts, and who spent them; nothing where
/// nothing is known.
fn starts(starts: &StartsView) -> Vec<(&'static str, String)> {
    let mut parts = Vec::new();
    if let (Some(left), Some(total)) = (starts.remaining, starts.total) {
        let reserve = starts.reserve.filter(|reserve| *reserve > 0);
        let reserve = reserve.map_or_else(String::new, |reserve| format!(" ({reserve} in reserve)"));
        let resets = starts
            .resets_in
            .map_or_else(String::new, |seconds| format!(", resets in {}", about(seconds)));
        let used_up = starts.used_up_in.map_or_else(String::new, |seconds| {
            format!(", used up in {} at this rate", about(seconds))
        });
        parts.push(format!("{left} of {total} left{reserve}{resets}{used_up}"));
    }
    let spenders: Vec<_> = starts
        .by_worker
        .iter()
        .take(SPENDERS)
        .map(|worker| format!("{} {} ({})", worker.worker, worker.starts, worker.cause))
        .collect();
    if !spenders.is_empty() {
        let more = match starts.by_worker.len().saturating_sub(SPENDERS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!("last 24 h: {}{more}", spenders.join(", ")));
    }
    let heads = std::iter::once("starts  ").chain(std::iter::repeat("        "));
    heads.zip(parts).collect()
}

/// One shard in the order of the columns.
pub(super) fn shard_row(shard: &ShardView) -> [Text; 7] {
    let holder = match (&shard.worker, shard.epoch) {
        (Some(worker), _) => Text::from(worker.clone()),
        (None, Some(_)) => Text::from("external"),
        (None, None) => dash(),
    };
    let some = |value: Option<String>| value.map_or_else(dash, Text::from);
    [
        shard.shard.to_string().into(),
        Text::new(state(shard), of_state(condition(shard))),
        holder,
        some(shard.beat_age.map(|age| format!("{age:.0} s ago"))),
        some(shard.guild_count.map(|count| count.to_string())),
        some(shard.latency.map(|seconds| format!("{:.0} ms", seconds * 1000.0))),
        some(shard.epoch.map(|epoch| epoch.to_string())),
    ]
}

/// What a shard is, in one word. An older manager says only its state.
pub(super) fn condition(shard: &ShardView) -> &str {
    match shard.condition.as_str() {
        "" => &shard.state,
        condition => condition,
    }
}

/// Its condition, since when if it is none to stay in, and what time it has.
fn state(shard: &ShardView) -> String {
    if shard.condition.is_empty() {
        return shard.state.clone();
    }
    let age = shard.condition_age.map_or_else(String::new, about);
    match (shard.condition.as_str(), shard.deadline_in) {
        ("ready" | "registered" | "standing_by", None) => shard.condition.clone(),
        (condition, None) => format!("{condition} ({age})"),
        (condition, Some(left)) => format!("{condition} ({age}, {} left)", about(left)),
    }
}

/// What a worker is, in one word.
pub(super) fn worker_condition(worker: &WorkerView) -> &str {
    match worker.condition.as_str() {
        "" => &worker.state,
        condition => condition,
    }
}

/// One worker in the order of the columns.
pub(super) fn worker_row(worker: &WorkerView) -> [Text; 7] {
    let condition = worker_condition(worker);
    let state = match worker.deadline_in.or(worker.restart_in) {
        Some(seconds) => format!("{condition} ({seconds:.0} s)"),
        None => condition.to_owned(),
    };
    let some = |value: Option<String>| value.map_or_else(dash, Text::from);
    [
        worker.worker.clone().into(),
        Text::new(state, of_state(condition)),
        some(worker.pid.map(|pid| pid.to_string())),
        format!("{}/{}", worker.holding, worker.shards).into(),
        some(worker.uptime.map(about)),
        worker.exits.to_string().into(),
        some(worker.last_exit.clone()),
    ]
}

pub(super) fn dash() -> Text {
    Text::new("-", DIM)
}

#[cfg(test)]
mod tests {
    use shardman_core::wire::WorkerStarts;

    use super::*;

    #[test]
    fn a_shard_is_shown_with_its_condition_and_the_time_it_has_left() {
        let mut shard: ShardView = serde_json::from_value(serde_json::json!({
            "shard": "3/16", "state": "ready",
        }))
        .unwrap();
        assert_eq!(state(&shard), "ready", "an older manager says no more");
        for (condition, age, left, expected) in [
            ("ready", 7000.0, None, "ready"),
            ("deaf", 190.0, None, "deaf (3 min)"),
            ("waiting", 12.0, None, "waiting (12 s)"),
            ("identifying", 20.0, Some(60.0), "identifying (20 s, 60 s left)"),
        ] {
            shard.condition = condition.to_owned();
            (shard.condition_age, shard.deadline_in) = (Some(age), left);
            assert_eq!(state(&shard), expected);
        }
    }

    #[test]
    fn the_line_of_session_starts_names_the_first_few_and_is_not_there_where_nothing_is_known() {
        let spent = |worker: &str, starts, cause: &str| WorkerStarts {
            worker: worker.to_owned(),
            starts,
            cause: cause.to_owned(),
            share: None,
        };
        let shown = |view: &StartsView| {
            let parts = starts(view).into_iter();
            parts
                .map(|(head, part)| format!("{head}{part}\n"))
                .collect::<String>()
        };
        let mut view = StartsView {
            total: Some(1000),
            remaining: Some(812),
            reserve: Some(100),
            resets_in: Some(5.0 * 3600.0),
            used_up_in: None,
            by_worker: vec![
                spent("discord-1", 96, "crash"),
                spent("external", 12, "first start"),
            ],
        };
        assert_eq!(
            shown(&view),
            "starts  812 of 1000 left (100 in reserve), resets in 5 h\n        last 24 h: discord-1 96 (crash), external 12 (first start)\n"
        );
        view.used_up_in = Some(2400.0);
        view.by_worker = (0..5)
            .map(|place| spent(&format!("discord-{place}"), 1, "crash"))
            .collect();
        assert_eq!(
            shown(&view),
            "starts  812 of 1000 left (100 in reserve), resets in 5 h, used up in 40 min at this rate\n        \
             last 24 h: discord-0 1 (crash), discord-1 1 (crash), discord-2 1 (crash) and 2 more\n"
        );
        assert_eq!(shown(&StartsView::default()), "");
    }
}
