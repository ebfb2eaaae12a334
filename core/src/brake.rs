//! Leases that lapse together: which children may be killed for it now, and
//! which wait.
//!
//! Silence of many at once has one cause, and it is seldom theirs: a starved
//! host, a manager that stood still, an outage. Killing all of them makes a
//! starved host worse. So no more than a few are away because of a kill at any
//! time, and where many lapse together, all wait for a moment: who lives and
//! gives its lost lease up by itself is not killed at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::id::{ShardId, WorkerId};
use crate::tick::Tick;

mod signs;
#[cfg(test)]
mod tests;

pub use signs::{HostSigns, Signs};

/// Fewer children than these are never many.
pub const MANY: u32 = 5;

/// The part of the children, in percent, from which on they are many.
pub const MANY_PERCENT: u32 = 25;

/// How long a kill counts at most: whoever is not back by then does not keep
/// the others waiting.
pub const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Kills at once unless told otherwise: so many, or so many percent.
const AT_ONCE: u32 = 4;
const AT_ONCE_PERCENT: u32 = 10;

/// What it goes by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `KILLS_AT_ONCE`; `None` for four, or a tenth of the children.
    pub at_once: Option<u32>,
    /// Lapses within so long are together: `MAX_SECONDS`.
    pub window: Duration,
    /// How long kills are held where many lapse: one beat of a child, so that
    /// one that lives hears of its loss. On a starved host up to a window.
    pub moment: Duration,
}

/// A child with a lapsed lease that was not told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// Differs from run to run.
    pub run: u64,
    /// What it lost, and what it holds yet.
    pub shards: Vec<ShardId>,
}

/// A child that was killed for a lapse.
#[derive(Clone, Debug)]
pub struct Killed {
    pub run: u64,
    pub shards: Vec<ShardId>,
    at: Tick,
}

/// What became of a child that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Away,
    /// Its shards are held again, by whomever.
    Back,
    /// The run that followed ended as well, or does not follow.
    Failed,
}

/// The fleet, as observed.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// How many children there should be.
    pub children: u32,
    pub lapsed: &'a BTreeMap<WorkerId, Lapsed>,
    pub signs: &'a Signs,
}

/// What is to be done or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Many lapse together; in words.
    Begins(String),
    Kill(WorkerId),
    /// All of them are back, or had their turn; in words.
    Ends(String),
}

/// Holds kills back.
#[derive(Debug)]
pub struct Brake {
    settings: Settings,
    /// Children with a lapsed lease that live yet, and since when.
    held: BTreeMap<WorkerId, Tick>,
    killed: BTreeMap<WorkerId, Killed>,
    /// Lapses within the window, the oldest first.
    recent: VecDeque<(Tick, WorkerId)>,
    /// Kills within the window.
    kills: VecDeque<Tick>,
    /// When the manager itself stood still within the window, and for how long.
    stalls: VecDeque<(Tick, Duration)>,
    outage: Option<Outage>,
    /// How many may be killed at once, at the last look.
    at_once: usize,
}

/// Many lapsed together.
#[derive(Debug)]
struct Outage {
    began: Tick,
    /// When the first and the last of them lapsed.
    first: Tick,
    last: Tick,
    lapsed: BTreeSet<WorkerId>,
    of: u32,
    cause: String,
    killed: u32,
    /// The moment is over.
    waves: bool,
}

impl Brake {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            held: BTreeMap::new(),
            killed: BTreeMap::new(),
            recent: VecDeque::new(),
            kills: VecDeque::new(),
            stalls: VecDeque::new(),
            outage: None,
            at_once: 0,
        }
    }

    /// Whether many lapsed together, and not all of it is over.
    pub fn is_on(&self) -> bool {
        self.outage.is_some()
    }

    /// Whether anything of a lapse is not over.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.killed.is_empty() && self.outage.is_none()
    }

    /// The manager itself stood still.
    pub fn stalled(&mut self, stall: Duration, now: Tick) {
        self.stalls.push_back((now, stall));
        self.forget_old(now);
    }

    /// A child that an earlier manager may have started in place of one that it
    /// killed: nobody knows any more, so it counts until it holds a shard.
    pub fn suspect(&mut self, worker: WorkerId, now: Tick) {
        let (run, shards) = (0, Vec::new());
        self.killed.insert(worker, Killed { run, shards, at: now });
    }

    /// Says who is to be killed now. `fate` tells what became of those that were.
    pub fn poll(
        &mut self,
        observed: &Observed<'_>,
        fate: impl Fn(&WorkerId, &Killed) -> Fate,
        now: Tick,
    ) -> Vec<Step> {
        self.forget_old(now);
        self.note(observed, now);
        self.killed
            .retain(|worker, killed| now < killed.at + BACK_WITHIN && fate(worker, killed) == Fate::Away);
        self.at_once = self.limit(observed.children);
        let mut steps = Vec::new();
        if self.outage.is_none() && self.are_many(observed.children) {
            self.begin(observed.children, now);
            self.look_for_cause(observed.signs, now);
            steps.extend(self.words().map(Step::Begins));
        }
        self.look_for_cause(observed.signs, now);
        let room = match &self.outage {
            None => self.at_once.saturating_sub(self.killed.len()),
            Some(outage) if outage.waves && self.killed.is_empty() => self.at_once,
            Some(_) => 0,
        };
        let mut waiting: Vec<_> = self.held.iter().map(|(worker, since)| (*since, worker)).collect();
        waiting.sort();
        let due: Vec<_> = waiting
            .into_iter()
            .take(room)
            .map(|(_, worker)| worker.clone())
            .collect();
        for worker in due {
            self.held.remove(&worker);
            let Lapsed { run, shards } = observed.lapsed[&worker].clone();
            self.killed
                .insert(worker.clone(), Killed { run, shards, at: now });
            self.kills.push_back(now);
            if let Some(outage) = &mut self.outage {
                outage.killed += 1;
            }
            steps.push(Step::Kill(worker));
        }
        steps.extend(self.end_if_over(now).map(Step::Ends));
        steps
    }

    /// When to look again although nothing changed.
    pub fn poll_timeout(&self, now: Tick) -> Option<Tick> {
        let of_outage = self.outage.iter().flat_map(|outage| {
            let Settings { window, moment, .. } = self.settings;
            [outage.began + moment, outage.began + window, outage.last + moment]
        });
        let waits = !self.held.is_empty() || self.outage.is_some();
        let of_killed = self
            .killed
            .values()
            .filter(|_| waits)
            .map(|killed| killed.at + BACK_WITHIN);
        of_outage.chain(of_killed).filter(|at| *at > now).min()
    }

    /// What it does, in words, while it holds anything back.
    pub fn words(&self) -> Option<String> {
        let held = self.held.len();
        let Some(outage) = &self.outage else {
            return (held > 0).then(|| {
                format!(
                    "{held} workers whose lease lapsed are still to be restarted, at most {} at a time",
                    self.at_once
                )
            });
        };
        let (lapsed, of, cause) = (outage.lapsed.len(), outage.of, &outage.cause);
        let within = outage.last.since(outage.first).as_secs_f64().ceil();
        let kills = match outage.waves {
            false => format!("kills are held, then {} at a time", self.at_once),
            true => format!("{held} wait, {} are killed at a time", self.at_once),
        };
        Some(format!(
            "{lapsed} of {of} workers lapsed within {within} s; {cause}; {kills}"
        ))
    }

    fn limit(&self, children: u32) -> usize {
        let tenth = children * AT_ONCE_PERCENT / 100;
        let limit = self.settings.at_once.unwrap_or(AT_ONCE.max(tenth));
        usize::try_from(limit.max(1)).unwrap_or(usize::MAX)
    }

    fn are_many(&self, children: u32) -> bool {
        let lapsed = u64::try_from(self.recent.len()).unwrap_or(u64::MAX);
        lapsed >= u64::from(MANY) && lapsed * 100 >= u64::from(children) * u64::from(MANY_PERCENT)
    }

    fn forget_old(&mut self, now: Tick) {
        let window = self.settings.window;
        while self.recent.front().is_some_and(|(at, _)| *at + window < now) {
            self.recent.pop_front();
        }
        while self.kills.front().is_some_and(|at| *at + window < now) {
            self.kills.pop_front();
        }
        while self.stalls.front().is_some_and(|(at, _)| *at + window < now) {
            self.stalls.pop_front();
        }
    }

    /// Takes note of who lapsed, and of who needs no kill any more.
    fn note(&mut self, observed: &Observed<'_>, now: Tick) {
        self.held.retain(|worker, _| observed.lapsed.contains_key(worker));
        for (worker, lapsed) in observed.lapsed {
            let known = self.killed.get(worker);
            if self.held.contains_key(worker) || known.is_some_and(|killed| killed.run == lapsed.run) {
                continue;
            }
            self.killed.remove(worker);
            self.held.insert(worker.clone(), now);
            self.recent.push_back((now, worker.clone()));
            if let Some(outage) = &mut self.outage {
                outage.lapsed.insert(worker.clone());
                outage.last = now;
                outage.of = outage.of.max(observed.children);
            }
        }
    }

    fn begin(&mut self, children: u32, now: Tick) {
        self.outage = Some(Outage {
            began: now,
            first: self.recent.front().map_or(now, |(at, _)| *at),
            last: now,
            lapsed: self.recent.iter().map(|(_, worker)| worker.clone()).collect(),
            of: children,
            cause: String::new(),
            killed: u32::try_from(self.kills.len()).unwrap_or(u32::MAX),
            waves: false,
        });
    }

    /// Looks for the cause, and lets the waves begin when the moment is over.
    /// A cause that is over stays the one that is told.
    fn look_for_cause(&mut self, signs: &Signs, now: Tick) {
        let Settings { window, moment, .. } = self.settings;
        let stalled: Duration = self.stalls.iter().map(|(_, stall)| *stall).sum();
        let stalls_now = self.stalls.back().is_some_and(|(at, _)| now < *at + moment);
        let Some(outage) = &mut self.outage else { return };
        let found = signs.cause(stalled);
        if outage.cause.is_empty() || found.is_some() {
            outage.cause = found.unwrap_or_else(|| signs::NO_CAUSE.to_owned());
        }
        let suffers = stalls_now || signs.host.starved().is_some();
        outage.waves |= now >= outage.began + moment && !suffers || now >= outage.began + window;
    }

    fn end_if_over(&mut self, now: Tick) -> Option<String> {
        let moment = self.settings.moment;
        let over = |outage: &mut Outage| now >= outage.last + moment;
        if !self.held.is_empty() || !self.killed.is_empty() {
            return None;
        }
        let outage = self.outage.take_if(over)?;
        self.recent.clear();
        self.kills.clear();
        let lapsed = u32::try_from(outage.lapsed.len()).unwrap_or(u32::MAX);
        Some(format!(
            "the lapse of {lapsed} of {} workers is over after {:.0} s: {} were killed, the others came back by themselves or ended; {}",
            outage.of,
            now.since(outage.first).as_secs_f64(),
            outage.killed,
            outage.cause
        ))
    }
}
