//! Who spent which session start, and why: the last 24 hours, in counters.
//!
//! One counter for each hour, holder, shard and cause. An hour counts until its
//! last moment is a day old, so a sum is never too small; it may reach an hour
//! too far back. Hours are those of the wall clock, because the ledger outlives
//! the process.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::budget::DAY_MS;
use crate::id::{ShardId, WorkerId};
use crate::lease::Holder;

#[cfg(test)]
mod tests;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// Counters that are kept at most, over all hours: 1 to 2 MB in memory, and
/// more than Discord gives starts a day to all but the largest bots. Above it
/// the oldest hour is forgotten.
const COUNTERS: usize = 16_384;

/// A rate is taken over no less time: starts come in bursts.
const SHORTEST_SPAN_MS: u64 = 10 * 60 * 1000;

/// Why a shard had to identify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartCause {
    /// Nobody held the shard before.
    First,
    /// The process that held it ended by itself.
    Crash,
    /// Its holder fell silent, and its lease lapsed.
    Lapse,
    /// Its holder was told to stop, or gave it back.
    Restart,
    /// Its holder is the same; the gateway session was lost (op 9, a close
    /// code, a resume that failed).
    SessionLost,
    /// An earlier manager would know.
    Unknown,
}

impl StartCause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first start",
            Self::Crash => "crash",
            Self::Lapse => "silence",
            Self::Restart => "restart",
            Self::SessionLost => "session lost",
            Self::Unknown => "unknown",
        }
    }
}

/// Whom a share of the starts belongs to: a child's place over all its runs,
/// or a shard that external workers hold, because those have no name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spender {
    Child(WorkerId),
    External(ShardId),
}

impl Spender {
    pub fn of(holder: &Holder, shard: ShardId) -> Self {
        match holder {
            Holder::Child(worker) => Self::Child(worker.clone()),
            Holder::External => Self::External(shard),
        }
    }
}

impl std::fmt::Display for Spender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Child(worker) => write!(f, "worker {worker}"),
            Self::External(shard) => write!(f, "the external worker of shard {shard}"),
        }
    }
}

/// So many starts of one shard, by one holder, for one cause, in one hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    pub holder: Holder,
    pub shard: ShardId,
    pub cause: StartCause,
    pub starts: u32,
}

type Key = (Holder, ShardId, StartCause);

/// What is known of one spender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub starts: u32,
    /// The cause of most of them.
    pub cause: StartCause,
}

#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By hour since 1970.
    hours: BTreeMap<u64, BTreeMap<Key, u32>>,
    /// The sum of all hours.
    totals: BTreeMap<Spender, u32>,
    counters: usize,
    unsaved: BTreeSet<u64>,
}

impl Ledger {
    /// The ledger as the store has it.
    pub fn restore(hours: impl IntoIterator<Item = (u64, Vec<Counter>)>, wall_ms: u64) -> Self {
        let mut ledger = Self::default();
        for (hour, counters) in hours {
            for counter in counters {
                let key = (counter.holder, counter.shard, counter.cause);
                ledger.add(hour, key, counter.starts);
            }
        }
        ledger.unsaved.clear();
        ledger.forget_old(wall_ms);
        ledger
    }

    /// One IDENTIFY is sent or promised.
    pub fn enter(&mut self, holder: &Holder, shard: ShardId, cause: StartCause, wall_ms: u64) {
        self.forget_old(wall_ms);
        self.add(wall_ms / HOUR_MS, (holder.clone(), shard, cause), 1);
        while self.counters > COUNTERS && self.hours.len() > 1 {
            self.forget_first();
        }
    }

    /// The last IDENTIFY that was promised to a shard will not be sent. Says
    /// why it was to be.
    pub fn take_back(&mut self, holder: &Holder, shard: ShardId) -> Option<StartCause> {
        for (hour, counters) in self.hours.iter_mut().rev() {
            let of_shard = |(key, _): &(&Key, &mut u32)| key.0 == *holder && key.1 == shard;
            let Some((key, starts)) = counters.iter_mut().find(of_shard) else {
                continue;
            };
            let key = key.clone();
            *starts -= 1;
            if *starts == 0 {
                counters.remove(&key);
                self.counters -= 1;
            }
            let hour = *hour;
            if counters.is_empty() {
                self.hours.remove(&hour);
            }
            self.unsaved.insert(hour);
            subtract(&mut self.totals, &Spender::of(holder, shard), 1);
            return Some(key.2);
        }
        None
    }

    /// Forgets the hours that are more than a day old.
    pub fn forget_old(&mut self, wall_ms: u64) {
        while self.ends_at().is_some_and(|end| end <= wall_ms) {
            self.forget_first();
        }
    }

    /// When the oldest hour stops to count: wall clock, milliseconds.
    pub fn ends_at(&self) -> Option<u64> {
        let (hour, _) = self.hours.first_key_value()?;
        Some((hour + 1) * HOUR_MS + DAY_MS)
    }

    /// What a spender spent within the last 24 hours.
    pub fn spent(&self, spender: &Spender) -> u32 {
        self.totals.get(spender).copied().unwrap_or(0)
    }

    /// Whether the shard was started by anyone.
    pub fn knows(&self, shard: ShardId) -> bool {
        let mut counters = self.hours.values().flat_map(BTreeMap::keys);
        counters.any(|(_, other, _)| *other == shard)
    }

    /// All spenders; external ones together, as `None`.
    pub fn by_worker(&self) -> BTreeMap<Option<WorkerId>, Spent> {
        let mut sums: BTreeMap<Option<WorkerId>, BTreeMap<StartCause, u32>> = BTreeMap::new();
        for ((holder, _, cause), starts) in self.hours.values().flatten() {
            let causes = sums.entry(holder.child().cloned()).or_default();
            *causes.entry(*cause).or_insert(0) += starts;
        }
        let spent = |causes: BTreeMap<StartCause, u32>| Spent {
            starts: causes.values().sum(),
            cause: most(&causes),
        };
        sums.into_iter()
            .map(|(worker, causes)| (worker, spent(causes)))
            .collect()
    }

    /// Why a spender spent most of what it did.
    pub fn cause(&self, spender: &Spender) -> StartCause {
        let mut causes = BTreeMap::new();
        for ((holder, shard, cause), starts) in self.hours.values().flatten() {
            if Spender::of(holder, *shard) == *spender {
                *causes.entry(*cause).or_insert(0) += starts;
            }
        }
        most(&causes)
    }

    /// Starts an hour, as far as the last hour tells. The share of the hour
    /// before that reaches into it is taken as even; first starts do not count,
    /// because they come once.
    pub fn rate_per_hour(&self, wall_ms: u64) -> f64 {
        let (hour, into) = (wall_ms / HOUR_MS, wall_ms % HOUR_MS);
        let sum = |hour: u64| -> f64 {
            let counters = self.hours.get(&hour).into_iter().flatten();
            counters
                .filter(|((_, _, cause), _)| *cause != StartCause::First)
                .map(|(_, starts)| f64::from(*starts))
                .sum()
        };
        let Some(before) = hour
            .checked_sub(1)
            .filter(|before| self.hours.contains_key(before))
        else {
            return sum(hour) * HOUR_MS as f64 / into.max(SHORTEST_SPAN_MS) as f64;
        };
        sum(hour) + sum(before) * (HOUR_MS - into) as f64 / HOUR_MS as f64
    }

    /// What changed since the last call; an empty hour is to be forgotten.
    pub fn take_unsaved(&mut self) -> Vec<(u64, Vec<Counter>)> {
        std::mem::take(&mut self.unsaved)
            .into_iter()
            .map(|hour| (hour, self.counters_of(hour)))
            .collect()
    }

    /// What was taken could not be saved.
    pub fn unsave(&mut self, hour: u64) {
        self.unsaved.insert(hour);
    }

    fn counters_of(&self, hour: u64) -> Vec<Counter> {
        let counters = self.hours.get(&hour).into_iter().flatten();
        counters
            .map(|((holder, shard, cause), starts)| Counter {
                holder: holder.clone(),
                shard: *shard,
                cause: *cause,
                starts: *starts,
            })
            .collect()
    }

    fn add(&mut self, hour: u64, key: Key, starts: u32) {
        *self.totals.entry(Spender::of(&key.0, key.1)).or_insert(0) += starts;
        let counter = self.hours.entry(hour).or_default().entry(key).or_insert(0);
        self.counters += usize::from(*counter == 0);
        *counter += starts;
        self.unsaved.insert(hour);
    }

    fn forget_first(&mut self) {
        let Some((hour, counters)) = self.hours.pop_first() else {
            return;
        };
        self.unsaved.insert(hour);
        self.counters -= counters.len();
        for ((holder, shard, _), starts) in counters {
            subtract(&mut self.totals, &Spender::of(&holder, shard), starts);
        }
    }
}

/// The most that one spender may spend within 24 hours: its share of Discord's
/// total, and never less than one start for each shard that it holds.
pub fn limit(total: u32, percent: u32, holding: u32) -> u32 {
    let share = u64::from(total) * u64::from(percent) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(holding)
}

/// Milliseconds until so many starts are used up at this rate.
pub fn used_up_in_ms(free: u32, rate_per_hour: f64) -> Option<u64> {
    // Negative and infinite values saturate; a rate of 0 never uses anything up.
    (rate_per_hour > 0.0).then(|| (f64::from(free) * HOUR_MS as f64 / rate_per_hour) as u64)
}

/// The cause that was met most often, the more telling one where it is a tie.
fn most(causes: &BTreeMap<StartCause, u32>) -> StartCause {
    let telling = |cause: StartCause| !matches!(cause, StartCause::First | StartCause::Unknown);
    causes
        .iter()
        .max_by_key(|(cause, starts)| (**starts, telling(**cause)))
        .map_or(StartCause::Unknown, |(cause, _)| *cause)
}

fn subtract(totals: &mut BTreeMap<Spender, u32>, spender: &Spender, starts: u32) {
    if let Some(total) = totals.get_mut(spender) {
        *total = total.saturating_sub(starts);
        if *total == 0 {
            totals.remove(spender);
        }
    }
}
