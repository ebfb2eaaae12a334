//! Rows of the tables: one for each shard or worker where they are few, and one
//! for all that are alike where they are many.

use std::collections::BTreeMap;

use shardman_core::ShardId;
use shardman_core::wall::about;
use shardman_core::wire::{ShardView, WorkerView};

use super::view::{FEW, condition, dash, shard_row, worker_condition, worker_row};
use crate::cli::text::{Text, of_state};

/// Ranges of numbers that one row names.
const RANGES: usize = 3;

/// Rows of shards that are alike and not well, before they are one row.
const NAMED: usize = 12;

/// Shards, in the order of the table's columns.
pub(super) fn shards(shards: &[ShardView], few: usize) -> Vec<[Text; 7]> {
    if shards.len() <= few {
        return shards.iter().map(shard_row).collect();
    }
    let mut alike: BTreeMap<(u32, &str), Vec<&ShardView>> = BTreeMap::new();
    for shard in shards {
        let key = (shard.shard.total(), condition(shard));
        alike.entry(key).or_default().push(shard);
    }
    // What needs a look comes first.
    let mut groups: Vec<_> = alike.into_iter().collect();
    groups.sort_by_key(|((total, condition), _)| (is_well(condition), *total));
    let rows = groups.into_iter().flat_map(|((_, condition), group)| {
        match !is_well(condition) && group.len() <= NAMED.min(few.max(2)) {
            true => group.into_iter().map(shard_row).collect(),
            false => vec![row_of_shards(condition, &group)],
        }
    });
    rows.collect()
}

fn is_well(condition: &str) -> bool {
    ["ready", "registered", "assigned", "standing_by", "leased"].contains(&condition)
}

fn row_of_shards(condition: &str, group: &[&ShardView]) -> [Text; 7] {
    let named = ranges(group.iter().map(|shard| shard.shard));
    let mut holders: Vec<_> = group.iter().filter_map(|shard| shard.worker.as_deref()).collect();
    let external = group
        .iter()
        .any(|shard| shard.worker.is_none() && shard.epoch.is_some());
    holders.sort_unstable();
    holders.dedup();
    let holder = match (holders.as_slice(), external) {
        ([], false) => dash(),
        ([], true) => "external".into(),
        ([one], false) => (*one).into(),
        (several, false) => format!("{} workers", several.len()).into(),
        (several, true) => format!("{} workers, external", several.len()).into(),
    };
    let guilds: Vec<_> = group.iter().filter_map(|shard| shard.guild_count).collect();
    let beats = group.iter().filter_map(|shard| shard.beat_age);
    let latencies = group.iter().filter_map(|shard| shard.latency);
    [
        named.into(),
        Text::new(condition, of_state(condition)),
        holder,
        spread(beats).map_or_else(dash, |(least, most)| {
            match least.round() == most.round() {
                true => format!("{most:.0} s ago"),
                false => format!("{least:.0}-{most:.0} s ago"),
            }
            .into()
        }),
        match guilds.is_empty() {
            true => dash(),
            false => guilds.iter().sum::<i64>().to_string().into(),
        },
        spread(latencies).map_or_else(dash, |(least, most)| {
            let (least, most) = (least * 1000.0, most * 1000.0);
            match least.round() == most.round() {
                true => format!("{most:.0} ms"),
                false => format!("{least:.0}-{most:.0} ms"),
            }
            .into()
        }),
        dash(),
    ]
}

/// "0-255,300/4096 (257)": the numbers, of how many, and how many these are.
fn ranges(shards: impl Iterator<Item = ShardId>) -> String {
    let mut found: Vec<(u32, u32)> = Vec::new();
    let (mut count, mut total) = (0, 0);
    for shard in shards {
        (count, total) = (count + 1, shard.total());
        match found.last_mut() {
            Some((_, last)) if *last + 1 == shard.number() => *last += 1,
            Some(_) | None => found.push((shard.number(), shard.number())),
        }
    }
    let named = found
        .iter()
        .take(RANGES)
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
    let mut named: Vec<_> = named.collect();
    if found.len() > RANGES {
        named.push("…".to_owned());
    }
    format!("{}/{total} ({count})", named.join(","))
}

/// The least and the most.
fn spread(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let wider = |(least, most): (f64, f64), value: f64| (least.min(value), most.max(value));
    values.fold(None, |spread, value| {
        Some(wider(spread.unwrap_or((value, value)), value))
    })
}

/// What a worker may be for long without anything being wrong.
const WELL: [&str; 3] = ["running", "resting", "spare"];

/// Workers, in the order of the table's columns.
pub(super) fn workers(workers: &[WorkerView], few: usize) -> Vec<[Text; 7]> {
    if workers.len() <= few {
        return workers.iter().map(worker_row).collect();
    }
    // Those that do what they should are one row, the others are few.
    let is_well = |worker: &&WorkerView| {
        let condition = worker_condition(worker);
        WELL.contains(&condition) && worker.exits == 0
    };
    let (well, others): (Vec<_>, Vec<_>) = workers.iter().partition(is_well);
    let mut rows: Vec<_> = others.iter().take(FEW).map(|worker| worker_row(worker)).collect();
    if others.len() > FEW {
        rows.push(row_of_workers("others", &others[FEW..]));
    }
    for condition in WELL {
        let alike: Vec<_> = well
            .iter()
            .copied()
            .filter(|worker| worker_condition(worker) == condition)
            .collect();
        if !alike.is_empty() {
            rows.push(row_of_workers(condition, &alike));
        }
    }
    rows
}

fn row_of_workers(condition: &str, group: &[&WorkerView]) -> [Text; 7] {
    let sum = |of: fn(&WorkerView) -> u32| group.iter().map(|worker| of(worker)).sum::<u32>();
    let uptimes = group.iter().filter_map(|worker| worker.uptime);
    [
        format!("{} workers", group.len()).into(),
        Text::new(condition, of_state(condition)),
        dash(),
        format!("{}/{}", sum(|worker| worker.holding), sum(|worker| worker.shards)).into(),
        spread(uptimes).map_or_else(dash, |(least, most)| match (about(least), about(most)) {
            (least, most) if least == most => most.into(),
            (least, most) => format!("{least} - {most}").into(),
        }),
        sum(|worker| worker.exits).to_string().into(),
        dash(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u32, total: u32, condition: &str) -> ShardView {
        serde_json::from_value(serde_json::json!({
            "shard": format!("{number}/{total}"), "state": condition, "condition": condition,
            "condition_age": 3.0, "epoch": number + 1, "worker": format!("discord-{}", number / 256),
            "beat_age": f64::from(number % 5), "guild_count": 2, "latency": 0.04,
        }))
        .unwrap()
    }

    fn words(rows: Vec<[Text; 7]>) -> Vec<String> {
        let joined = |row: [Text; 7]| row.map(|text| text.words).join("|");
        rows.into_iter().map(joined).collect()
    }

    #[test]
    fn many_shards_that_are_alike_are_one_row_and_those_that_need_a_look_come_first() {
        let mut all: Vec<_> = (0..4096).map(|number| shard(number, 4096, "ready")).collect();
        all[7] = shard(7, 4096, "deaf");
        assert_eq!(
            words(shards(&all, FEW)),
            [
                "7/4096|deaf (3 s)|discord-0|2 s ago|2|40 ms|8",
                "0-6,8-4095/4096 (4095)|ready|16 workers|0-4 s ago|8190|40 ms|-",
            ]
        );
        for number in (100..200).step_by(2) {
            all[number] = shard(number as u32, 4096, "waiting");
        }
        let rows = words(shards(&all, FEW));
        assert_eq!(rows.len(), 3);
        assert!(
            rows[1].starts_with("100,102,104,…/4096 (50)|waiting|discord-0|"),
            "{rows:?}"
        );
        assert_eq!(shards(&all, usize::MAX).len(), 4096);
        assert_eq!(shards(&all[..FEW], FEW).len(), FEW);
    }

    #[test]
    fn many_workers_that_run_are_one_row() {
        let worker = |place: u32, condition: &str, exits: u32| -> WorkerView {
            serde_json::from_value(serde_json::json!({
                "worker": format!("discord-{place}"), "state": condition, "condition": condition,
                "shards": 16, "holding": 16, "exits": exits, "uptime": 7200.0,
            }))
            .unwrap()
        };
        let mut all: Vec<_> = (0..256).map(|place| worker(place, "running", 0)).collect();
        all[3] = worker(3, "halted", 0);
        all[4] = worker(4, "running", 2);
        assert_eq!(
            words(workers(&all, FEW)),
            [
                "discord-3|halted|-|16/16|2 h|0|-",
                "discord-4|running|-|16/16|2 h|2|-",
                "254 workers|running|-|4064/4064|2 h|0|-",
            ]
        );
        assert_eq!(workers(&all, usize::MAX).len(), 256);
    }
}
