//! `shardman status`: the fleet as a table, or as JSON for scripts.

use std::process::ExitCode;

use anyhow::Context as _;
use shardman_core::wire::{FleetView, PoolView, RestartView, ShardView, StartsView, WorkerView};

use super::{manager, restart};
use crate::config::StatusArgs;

/// Exit code when the manager runs and the fleet is not whole.
const EXIT_NOT_READY: u8 = 3;

#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
pub(super) async fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::get(&args.manager, "/fleet").await?;
    if !answer.status.is_success() {
        return Err(manager::refusal(&answer));
    }
    let fleet: FleetView =
        serde_json::from_slice(&answer.body).context("the manager's answer makes no sense")?;
    if args.json {
        println!("{}", String::from_utf8_lossy(&answer.body));
    } else {
        print!("{}", render(&fleet));
    }
    Ok(if is_whole(&fleet) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_READY)
    })
}

/// Every shard is ready, and every child of another pool holds its slot or has
/// done its work. What externals may take, nobody has to have.
fn is_whole(fleet: &FleetView) -> bool {
    let pool_is_whole = |pool: &PoolView| {
        let mut workers = pool.workers.iter();
        workers.all(|worker| match worker.state.as_str() {
            "running" => worker.holding == worker.shards,
            state => state == "resting",
        })
    };
    let something = fleet.planned > 0 || !fleet.pools.is_empty();
    something && fleet.ready == fleet.planned && fleet.pools.iter().all(pool_is_whole)
}

fn render(fleet: &FleetView) -> String {
    // Without a bot there is nothing to say of one.
    let mut text = match fleet.planned == 0 && !fleet.pools.is_empty() {
        true => String::new(),
        false => format!(
            "{} of {} shards ready, {} leased, max_concurrency {}\n",
            fleet.ready, fleet.planned, fleet.leased, fleet.max_concurrency
        ),
    };
    text.push_str(&starts(&fleet.starts));
    if let Some(rescale) = &fleet.rescale {
        text.push_str(&format!(
            "rescale to {}: {} of {} steps done\n",
            rescale.to, rescale.done, rescale.steps
        ));
    }
    for trouble in fleet.trouble.iter().chain(&fleet.proposal) {
        text.push_str(&format!("! {trouble}\n"));
    }
    text.push_str(&restarting(fleet.restart.as_ref()));
    text.push_str(&killed(fleet));
    if fleet.planned > 0 || fleet.pools.is_empty() || !fleet.shards.is_empty() {
        text.push('\n');
        let mut shards = vec![row([
            "SHARD", "STATE", "WORKER", "BEAT", "GUILDS", "LATENCY", "EPOCH",
        ])];
        shards.extend(fleet.shards.iter().map(shard_row));
        text.push_str(&table(&shards));
    }
    if !fleet.workers.is_empty() {
        text.push('\n');
        text.push_str(&workers_table(&fleet.workers));
    }
    for pool in &fleet.pools {
        text.push_str(&pool_text(pool));
    }
    text
}

/// How far a planned restart is. One that is paused is among the troubles.
fn restarting(restart: Option<&RestartView>) -> String {
    let open = |restart: &&RestartView| restart.on_hold || restart.state == "running";
    restart
        .filter(open)
        .map_or_else(String::new, |restart| format!("{}\n", restart::progress(restart)))
}

/// A pool beside `discord`: its slots, and the processes of them.
fn pool_text(pool: &PoolView) -> String {
    let mut text = format!(
        "\npool {}: {} of {} slots held\n",
        pool.pool, pool.leased, pool.size
    );
    text.push_str(&restarting(pool.restart.as_ref()));
    let mut slots = vec![row(["SLOT", "STATE", "WORKER", "BEAT", "EPOCH", "", ""])];
    slots.extend(pool.shards.iter().map(|slot| {
        let [_, state, holder, beat, _, _, epoch] = shard_row(slot);
        let number = slot.shard.number().to_string();
        [number, state, holder, beat, epoch, String::new(), String::new()]
    }));
    text.push_str(&table(&slots));
    if !pool.workers.is_empty() {
        text.push('\n');
        text.push_str(&workers_table(&pool.workers));
    }
    text
}

/// How workers are killed, and what holds them to their memory; nothing where
/// there are none.
fn killed(fleet: &FleetView) -> String {
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
    format!("workers are killed by {kill}{memory}\n")
}

pub(super) fn workers_table(workers: &[WorkerView]) -> String {
    let mut rows = vec![row([
        "WORKER",
        "STATE",
        "PID",
        "SHARDS",
        "UP",
        "EXITS",
        "LAST EXIT",
    ])];
    rows.extend(workers.iter().map(worker_row));
    table(&rows)
}

/// Workers that the line of session starts names.
const SPENDERS: usize = 3;

/// What is left of the session starts, and who spent them; nothing where
/// nothing is known.
fn starts(starts: &StartsView) -> String {
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
    parts
        .into_iter()
        .enumerate()
        .map(|(line, part)| match line {
            0 => format!("starts  {part}\n"),
            _ => format!("        {part}\n"),
        })
        .collect()
}

/// A time in its largest unit.
fn about(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

type Row = [String; 7];

fn row(cells: [&str; 7]) -> Row {
    cells.map(str::to_owned)
}

fn shard_row(shard: &ShardView) -> Row {
    let holder = match (&shard.worker, shard.epoch) {
        (Some(worker), _) => worker.clone(),
        (None, Some(_)) => "external".to_owned(),
        (None, None) => "-".to_owned(),
    };
    [
        shard.shard.to_string(),
        state(shard),
        holder,
        shard.beat_age.map_or_else(dash, |age| format!("{age:.0} s ago")),
        shard.guild_count.map_or_else(dash, |count| count.to_string()),
        shard
            .latency
            .map_or_else(dash, |seconds| format!("{:.0} ms", seconds * 1000.0)),
        shard.epoch.map_or_else(dash, |epoch| epoch.to_string()),
    ]
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

fn worker_row(worker: &WorkerView) -> Row {
    let condition = Some(&worker.condition).filter(|condition| !condition.is_empty());
    let condition = condition.unwrap_or(&worker.state);
    let state = match worker.deadline_in.or(worker.restart_in) {
        Some(seconds) => format!("{condition} ({seconds:.0} s)"),
        None => condition.clone(),
    };
    [
        worker.worker.clone(),
        state,
        worker.pid.map_or_else(dash, |pid| pid.to_string()),
        format!("{}/{}", worker.holding, worker.shards),
        worker
            .uptime
            .map_or_else(dash, |seconds| format!("{seconds:.0} s")),
        worker.exits.to_string(),
        worker.last_exit.clone().unwrap_or_else(dash),
    ]
}

fn dash() -> String {
    "-".to_owned()
}

/// Columns as wide as their widest cell.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
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
            starts(&view),
            "starts  812 of 1000 left (100 in reserve), resets in 5 h\n        last 24 h: discord-1 96 (crash), external 12 (first start)\n"
        );
        view.used_up_in = Some(2400.0);
        view.by_worker = (0..5)
            .map(|place| spent(&format!("discord-{place}"), 1, "crash"))
            .collect();
        assert_eq!(
            starts(&view),
            "starts  812 of 1000 left (100 in reserve), resets in 5 h, used up in 40 min at this rate\n        \
             last 24 h: discord-0 1 (crash), discord-1 1 (crash), discord-2 1 (crash) and 2 more\n"
        );
        assert_eq!(starts(&StartsView::default()), "");
    }
}
