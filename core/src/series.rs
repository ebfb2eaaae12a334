//! How the fleet was over the last week, in steps that grow with the distance,
//! and each shard over the last hour. Bounded: a week of the fleet takes less
//! than half a megabyte, an hour of a shard less than one kilobyte.

use std::collections::{BTreeMap, VecDeque};

use crate::{ShardId, Tick};

/// Seconds of one step, and how many of them are kept.
const SCALES: [(u64, usize); 3] = [(10, 360), (60, 1440), (600, 1008)];

/// The steps of a shard: one hour.
const SHARD_STEP: u64 = 60;
const SHARD_STEPS: usize = 60;

/// How readings within one step become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// What is short must not vanish in a long step.
    Least,
    Most,
    Mean,
    Last,
}

/// A figure of the fleet: its name, and its rule.
const FIGURES: [(&str, Rule); 8] = [
    ("shards_ready", Rule::Least),
    ("shards_total", Rule::Last),
    ("guilds", Rule::Last),
    ("latency_p50_ms", Rule::Mean),
    ("latency_p99_ms", Rule::Most),
    ("events_per_second", Rule::Mean),
    ("starts_remaining", Rule::Last),
    ("workers", Rule::Least),
];

/// A figure of one shard.
const SHARD_FIGURES: [(&str, Rule); 3] = [
    ("latency_ms", Rule::Most),
    ("events_per_second", Rule::Last),
    ("guilds", Rule::Last),
];

/// The fleet at one moment; none where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub shards_ready: Option<f64>,
    pub shards_total: Option<f64>,
    pub guilds: Option<f64>,
    pub latency_p50_ms: Option<f64>,
    pub latency_p99_ms: Option<f64>,
    pub events_per_second: Option<f64>,
    pub starts_remaining: Option<f64>,
    pub workers: Option<f64>,
}

impl Sample {
    /// In the order of [`FIGURES`].
    fn values(&self) -> [Option<f64>; 8] {
        [
            self.shards_ready,
            self.shards_total,
            self.guilds,
            self.latency_p50_ms,
            self.latency_p99_ms,
            self.events_per_second,
            self.starts_remaining,
            self.workers,
        ]
    }
}

/// One shard at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShardSample {
    pub latency_ms: Option<f64>,
    pub events_per_second: Option<f64>,
    pub guilds: Option<f64>,
}

/// Lines of a chart: equal steps, the last of which is under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    pub step_seconds: u64,
    /// When the last step ends.
    pub end: Tick,
    pub series: BTreeMap<&'static str, Vec<Option<f64>>>,
}

/// Everything that is kept.
#[derive(Debug)]
pub struct Series {
    fleet: [Scale; 3],
    shards: BTreeMap<ShardId, Shard>,
}

/// Steps of one length.
#[derive(Debug)]
struct Scale {
    step: u64,
    most: usize,
    /// The newest step's number since the manager began, and the steps up to it.
    newest: u64,
    steps: VecDeque<Step>,
}

#[derive(Clone, Debug, Default)]
struct Step {
    values: [Option<f64>; 8],
    /// How many readings each is made of.
    readings: [u16; 8],
}

/// The last hour of a shard, by minute. Not a number means unknown.
#[derive(Debug)]
struct Shard {
    newest: u64,
    minutes: Box<[[f32; 3]; SHARD_STEPS]>,
}

impl Default for Series {
    fn default() -> Self {
        let scale = |(step, most)| Scale {
            step,
            most,
            newest: 0,
            steps: VecDeque::new(),
        };
        Self {
            fleet: SCALES.map(scale),
            shards: BTreeMap::new(),
        }
    }
}

impl Series {
    /// Takes a reading of the fleet.
    pub fn add(&mut self, sample: &Sample, now: Tick) {
        for scale in &mut self.fleet {
            scale.add(sample.values(), now);
        }
    }

    /// Takes a reading of every shard there is. Those that have not been there
    /// for an hour are forgotten.
    pub fn add_shards(&mut self, shards: impl IntoIterator<Item = (ShardId, ShardSample)>, now: Tick) {
        let minute = now.0 / 1000 / SHARD_STEP;
        for (shard, sample) in shards {
            self.shards
                .entry(shard)
                .or_insert_with(|| Shard::new(minute))
                .add(sample, minute);
        }
        let old = |shard: &Shard| minute.saturating_sub(shard.newest) >= SHARD_STEPS as u64;
        self.shards.retain(|_, shard| !old(shard));
    }

    /// The last `seconds`, in the shortest steps that are kept for so long.
    pub fn fleet(&self, seconds: u64, now: Tick) -> Lines {
        let [short, middle, long] = &self.fleet;
        let reaches = |scale: &Scale| seconds <= scale.step * scale.most as u64;
        let scale = [short, middle].into_iter().find(|scale| reaches(scale));
        scale.unwrap_or(long).lines(seconds, now)
    }

    /// The last hour of the shard of this number. Of several totals the one that
    /// was read last counts, unless one is named.
    pub fn shard(&self, number: u32, total: Option<u32>, now: Tick) -> Lines {
        let own = self.shards.iter().filter(|(shard, _)| {
            shard.number() == number && total.is_none_or(|total| shard.total() == total)
        });
        let known = own.max_by_key(|(shard, known)| (known.newest, shard.total()));
        let minute = now.0 / 1000 / SHARD_STEP;
        let line = |(at, (name, _)): (usize, (&'static str, Rule))| {
            let value = |ago: u64| {
                let (_, shard) = known?;
                shard.value(minute.checked_sub(ago)?, at)
            };
            (name, (0..SHARD_STEPS as u64).rev().map(value).collect())
        };
        Lines {
            step_seconds: SHARD_STEP,
            end: Tick((minute + 1) * SHARD_STEP * 1000),
            series: SHARD_FIGURES.into_iter().enumerate().map(line).collect(),
        }
    }
}

impl Scale {
    fn add(&mut self, values: [Option<f64>; 8], now: Tick) {
        let number = now.0 / 1000 / self.step;
        if self.steps.is_empty() || number >= self.newest + self.most as u64 {
            self.steps.clear();
            self.steps.push_back(Step::default());
            self.newest = number;
        }
        while self.newest < number {
            self.newest += 1;
            self.steps.push_back(Step::default());
        }
        while self.steps.len() > self.most {
            self.steps.pop_front();
        }
        if let Some(step) = self.steps.back_mut() {
            step.add(values);
        }
    }

    fn lines(&self, seconds: u64, now: Tick) -> Lines {
        let present = now.0 / 1000 / self.step;
        let count = seconds.div_ceil(self.step).clamp(1, self.most as u64);
        let step = |ago: u64| {
            let from_newest = self.newest.checked_sub(present.checked_sub(ago)?)?;
            let from_newest = usize::try_from(from_newest).ok()?;
            self.steps.get(self.steps.len().checked_sub(from_newest + 1)?)
        };
        let line = |(at, (name, _)): (usize, (&'static str, Rule))| {
            let value = |ago| step(ago).and_then(|step: &Step| step.values[at]);
            (name, (0..count).rev().map(value).collect())
        };
        Lines {
            step_seconds: self.step,
            end: Tick((present + 1) * self.step * 1000),
            series: FIGURES.into_iter().enumerate().map(line).collect(),
        }
    }
}

impl Step {
    fn add(&mut self, values: [Option<f64>; 8]) {
        let slots = self.values.iter_mut().zip(&mut self.readings);
        for ((slot, readings), (value, (_, rule))) in slots.zip(values.into_iter().zip(FIGURES)) {
            let Some(value) = value else { continue };
            *slot = Some(join(rule, *slot, u32::from(*readings), value));
            *readings = readings.saturating_add(1);
        }
    }
}

/// One value from what `readings` earlier ones gave, and one more.
fn join(rule: Rule, old: Option<f64>, readings: u32, value: f64) -> f64 {
    match (rule, old) {
        (Rule::Last, _) | (_, None) => value,
        (Rule::Least, Some(old)) => old.min(value),
        (Rule::Most, Some(old)) => old.max(value),
        (Rule::Mean, Some(old)) => old + (value - old) / f64::from(readings + 1),
    }
}

impl Shard {
    fn new(minute: u64) -> Self {
        Self {
            newest: minute,
            minutes: Box::new([[f32::NAN; 3]; SHARD_STEPS]),
        }
    }

    fn add(&mut self, sample: ShardSample, minute: u64) {
        let skipped = minute.saturating_sub(self.newest).min(SHARD_STEPS as u64);
        for ago in 0..skipped {
            self.minutes[slot(minute - ago)] = [f32::NAN; 3];
        }
        self.newest = self.newest.max(minute);
        let values = [sample.latency_ms, sample.events_per_second, sample.guilds];
        let slots = self.minutes[slot(minute)].iter_mut();
        for (slot, (value, (_, rule))) in slots.zip(values.into_iter().zip(SHARD_FIGURES)) {
            let Some(value) = value else { continue };
            let old = Some(f64::from(*slot)).filter(|old| !old.is_nan());
            *slot = join(rule, old, 0, value) as f32;
        }
    }

    fn value(&self, minute: u64, figure: usize) -> Option<f64> {
        let kept = minute <= self.newest && self.newest - minute < SHARD_STEPS as u64;
        let value = f64::from(self.minutes[slot(minute)][figure]);
        (kept && !value.is_nan()).then_some(value)
    }
}

fn slot(minute: u64) -> usize {
    usize::try_from(minute % SHARD_STEPS as u64).unwrap_or(0)
}

/// What `percent` of the values are not above; none where there are none.
pub fn percentile(values: &mut [f64], percent: u32) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = (last * percent as usize).div_ceil(100);
    values.get(at).copied()
}

#[cfg(test)]
mod tests;
