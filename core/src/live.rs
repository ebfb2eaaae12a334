//! What of the fleet's view is news for somebody who has seen it before.
//!
//! Ages grow by themselves and are no news: whoever looks counts on from the
//! moment at which a row was told. A beat alone is none either. Figures that
//! move all the time are told seldom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::wire::{FleetView, PoolView, ShardView, WorkerView};
use crate::{ShardId, Tick};

/// How often a row is told again for figures alone.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// Two readings of one moment may differ by so much, in seconds.
const SAME_MOMENT: f64 = 2.0;

/// Two readings of when the session starts end may, in seconds.
const SAME_END: f64 = 5.0;

/// The part by which a figure has to move.
const SAME_FIGURE: f64 = 0.1;

/// The powers of two by which a rate has to move, about: a half.
const HALF: f64 = 0.6;

/// A loop that lags by less is as good as one that does not, in seconds.
const NO_LAG: f64 = 0.05;

/// What changed: rows whole, of the rest the members that changed.
#[derive(Debug, Default, Serialize)]
pub struct Change {
    pub fleet: Map<String, Value>,
    pub shards: Vec<ShardView>,
    pub workers: Vec<WorkerView>,
    pub gone: Gone,
    pub pools: Vec<PoolView>,
}

/// What is no more.
#[derive(Debug, Default, Serialize)]
pub struct Gone {
    pub shards: Vec<ShardId>,
    pub workers: Vec<String>,
    pub pools: Vec<String>,
}

impl Gone {
    fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.workers.is_empty() && self.pools.is_empty()
    }
}

impl Change {
    pub fn is_empty(&self) -> bool {
        let rows = self.shards.is_empty() && self.workers.is_empty() && self.pools.is_empty();
        rows && self.fleet.is_empty() && self.gone.is_empty()
    }
}

/// What was told so far.
#[derive(Debug)]
pub struct Told {
    /// Each member, and when it was told.
    fleet: BTreeMap<String, (Value, Tick)>,
    shards: BTreeMap<ShardId, Row>,
    workers: BTreeMap<String, Row>,
    pools: BTreeMap<String, Pool>,
}

/// What was told of a row.
#[derive(Debug)]
struct Row {
    sign: Sign,
    at: Tick,
}

/// What makes two readings of a row the same.
#[derive(Debug, PartialEq)]
struct Sign {
    /// Told at once.
    words: Vec<Option<String>>,
    numbers: Vec<Option<i64>>,
    /// Told in time. Those of a moment are seconds of our clock.
    counts: Vec<Option<i64>>,
    moments: Vec<Option<f64>>,
    figures: Vec<Option<f64>>,
}

#[derive(Debug)]
struct Pool {
    own: Value,
    shards: BTreeMap<ShardId, Row>,
    workers: BTreeMap<String, Row>,
}

impl Told {
    /// The whole view was told at `now`.
    pub fn all(view: &FleetView, now: Tick) -> Self {
        let mut told = Self {
            fleet: BTreeMap::new(),
            shards: BTreeMap::new(),
            workers: BTreeMap::new(),
            pools: BTreeMap::new(),
        };
        told.next(view.clone(), now);
        told
    }

    /// What of `view` is news at `now`. It counts as told.
    pub fn next(&mut self, mut view: FleetView, now: Tick) -> Change {
        let shards = std::mem::take(&mut view.shards);
        let workers = std::mem::take(&mut view.workers);
        let pools = std::mem::take(&mut view.pools);
        let mut change = Change::default();
        (change.shards, change.gone.shards) =
            rows(&mut self.shards, shards, |row| row.shard, shard_sign, now);
        (change.workers, change.gone.workers) = rows(
            &mut self.workers,
            workers,
            |row| row.worker.clone(),
            worker_sign,
            now,
        );
        let names: BTreeSet<_> = pools.iter().map(|pool| pool.pool.clone()).collect();
        for pool in pools {
            let known = self.pools.entry(pool.pool.clone()).or_insert_with(|| Pool {
                own: Value::Null,
                shards: BTreeMap::new(),
                workers: BTreeMap::new(),
            });
            if known.changed(&pool, now) {
                change.pools.push(pool);
            }
        }
        self.pools.retain(|name, _| {
            let stays = names.contains(name);
            change.gone.pools.extend((!stays).then(|| name.clone()));
            stays
        });
        let Ok(Value::Object(fleet)) = serde_json::to_value(&view) else {
            return change;
        };
        for (name, value) in fleet {
            let rows = ["shards", "workers", "pools"].contains(&&*name);
            let told = self.fleet.get(&name);
            let same = told.is_some_and(|(told, at)| same_member(told, &value, now.since(*at)));
            if !rows && !same {
                self.fleet.insert(name.clone(), (value.clone(), now));
                change.fleet.insert(name, value);
            }
        }
        change
    }
}

impl Pool {
    fn changed(&mut self, pool: &PoolView, now: Tick) -> bool {
        let mut own = pool.clone();
        let (shards, workers) = (std::mem::take(&mut own.shards), std::mem::take(&mut own.workers));
        let own = serde_json::to_value(&own).unwrap_or_default();
        let (shards, no_shards) = rows(&mut self.shards, shards, |row| row.shard, shard_sign, now);
        let (workers, no_workers) = rows(
            &mut self.workers,
            workers,
            |row| row.worker.clone(),
            worker_sign,
            now,
        );
        let same = shards.is_empty() && no_shards.is_empty() && workers.is_empty() && no_workers.is_empty();
        let changed = !same || self.own != own;
        self.own = own;
        changed
    }
}

/// What of the session starts counts down, so that it says a moment, and the
/// part of what is left by which an estimate of it may differ.
const COUNT_DOWN: [(&str, f64); 2] = [("resets_in", 0.0), ("used_up_in", SAME_FIGURE)];

/// Whether a member of the fleet says the same so long after it was told.
fn same_member(told: &Value, value: &Value, after: Duration) -> bool {
    let (Some(told), Some(value)) = (told.as_object(), value.as_object()) else {
        return told == value;
    };
    let counts_down = |name: &String| COUNT_DOWN.iter().any(|(known, _)| known == name);
    let number = |of: &Map<String, Value>, name: &str| of.get(name).and_then(Value::as_f64);
    let same = told.len() == value.len()
        && told
            .iter()
            .all(|(name, told)| counts_down(name) || value.get(name) == Some(told));
    same && COUNT_DOWN
        .iter()
        .all(|(name, part)| match (number(told, name), number(value, name)) {
            (Some(told), Some(value)) => {
                let value = value + after.as_secs_f64();
                (told - value).abs() <= SAME_END.max(part * value)
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        })
}

/// The rows that are news, and the names of those that are gone.
fn rows<K: Ord + Clone, R>(
    told: &mut BTreeMap<K, Row>,
    rows: Vec<R>,
    name: impl Fn(&R) -> K,
    sign: impl Fn(&R, Tick) -> Sign,
    now: Tick,
) -> (Vec<R>, Vec<K>) {
    let mut news = Vec::new();
    let names: BTreeSet<K> = rows.iter().map(&name).collect();
    for row in rows {
        let sign = sign(&row, now);
        let name = name(&row);
        let known = told
            .get(&name)
            .is_some_and(|known| !known.sign.is_news(&sign, now.since(known.at)));
        if !known {
            told.insert(name, Row { sign, at: now });
            news.push(row);
        }
    }
    let mut gone = Vec::new();
    if told.len() > names.len() {
        gone.extend(told.keys().filter(|name| !names.contains(name)).cloned());
        told.retain(|name, _| names.contains(name));
    }
    (news, gone)
}

impl Sign {
    /// Whether a row with another sign is to be told, so long after the last.
    fn is_news(&self, other: &Self, after: Duration) -> bool {
        if self.words != other.words || self.numbers != other.numbers {
            return true;
        }
        after >= FIGURES_EVERY
            && (self.counts != other.counts
                || differ(&self.moments, &other.moments, |a, b| (a - b).abs() <= SAME_MOMENT)
                || differ(&self.figures, &other.figures, |a, b| {
                    (a - b).abs() <= SAME_FIGURE * a.abs().max(b.abs())
                }))
    }
}

fn differ(old: &[Option<f64>], new: &[Option<f64>], same: impl Fn(f64, f64) -> bool) -> bool {
    let mut pairs = old.iter().zip(new);
    pairs.any(|pair| match pair {
        (Some(old), Some(new)) => !same(*old, *new),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    })
}

fn shard_sign(row: &ShardView, now: Tick) -> Sign {
    let now = now.0 as f64 / 1000.0;
    // The time that a healthy shard has begins anew with each beat.
    let ends = row.deadline_in.filter(|_| row.condition != "ready");
    Sign {
        words: vec![
            Some(row.state.clone()),
            Some(row.condition.clone()),
            row.worker.clone(),
        ],
        numbers: vec![
            row.epoch.map(|epoch| i64::try_from(epoch.0).unwrap_or(i64::MAX)),
            row.close_code.map(i64::from),
        ],
        counts: vec![row.guild_count],
        moments: vec![
            row.condition_age
                .map(|age| now - age)
                .filter(|_| row.condition != "silent"),
            ends.map(|seconds| now + seconds),
        ],
        figures: vec![
            row.latency,
            row.deaf_after,
            row.loop_lag.map(|lag| if lag < NO_LAG { 0.0 } else { lag }),
            row.events_per_second.map(coarse),
        ],
    }
}

fn worker_sign(row: &WorkerView, now: Tick) -> Sign {
    let now = now.0 as f64 / 1000.0;
    Sign {
        words: vec![
            Some(row.state.clone()),
            Some(row.condition.clone()),
            row.last_exit.clone(),
        ],
        numbers: vec![
            row.pid.map(i64::from),
            Some(row.shards.into()),
            Some(row.holding.into()),
            Some(row.exits.into()),
        ],
        counts: Vec::new(),
        moments: vec![
            row.deadline_in.map(|seconds| now + seconds),
            row.restart_in.map(|seconds| now + seconds),
            row.uptime.map(|age| now - age),
        ],
        figures: vec![
            row.memory_bytes.map(|bytes| bytes as f64),
            row.cpu_percent.map(coarse),
        ],
    }
}

/// A rate is never the same twice: it is news when it is another by half.
fn coarse(per_second: f64) -> f64 {
    match per_second < 1.0 {
        true => per_second.ceil(),
        false => 2_f64.powf((per_second.log2() / HALF).round() * HALF),
    }
}

#[cfg(test)]
mod tests;
