//! What becomes of alerts on their way to somebody: those that come together
//! go in one message, those of one cause are one entry of it, and what was just
//! told is counted and told again as a sum. Nothing that is raised is left out:
//! each counts in exactly one entry, but for an end that did not last.
//!
//! An [`Outbox`] belongs to one receiver, and knows nothing of how it is
//! reached: [`Outbox::take`] gives the entries of the next message,
//! [`Outbox::settle`] is told what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{PoolId, ShardId, Tick, WorkerId};

mod ends;
mod entry;
mod incident;
mod kind;
mod pace;
#[cfg(test)]
mod tests;

pub use entry::{Entry, ranges};
pub use incident::{CALM, Incident, Over};
pub use kind::{AlertKind, Severity};
pub use pace::{BURST, Outcome, REFILL};

use ends::Ends;
use kind::Alike;
use pace::Pace;

/// What one cause raises comes within this, mostly. The first message waits no
/// longer.
pub const WINDOW: Duration = Duration::from_millis(500);

/// What was told is not told again for so long; then the sum of it is. Each
/// time it doubles, up to [`QUIET_MOST`].
pub const QUIET: Duration = Duration::from_secs(5 * 60);

/// The longest time between two sums of what goes on and on.
pub const QUIET_MOST: Duration = Duration::from_secs(60 * 60);

/// Causes that are told apart. Further ones share an entry for each kind.
const CAUSES: usize = 100;

/// Subjects that are known to have been told of.
const KNOWN: usize = 200_000;

/// Something that somebody may want to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kind: AlertKind,
    pub pool: PoolId,
    pub worker: Option<WorkerId>,
    pub shard: Option<ShardId>,
    /// In one line.
    pub cause: String,
    /// What a worker printed last; may be empty.
    pub last_lines: String,
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
    /// When its shard was last heard of, wall clock.
    pub last_beat_ms: u64,
}

/// Who it is about, apart from the pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub shard: Option<ShardId>,
    pub worker: Option<WorkerId>,
}

/// Alerts of the same key are one entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: AlertKind,
    pool: PoolId,
    cause: String,
}

/// That something was told.
#[derive(Clone, Debug)]
struct Told {
    first_ms: u64,
    quiet_until: Tick,
    quiet: Duration,
}

/// An entry that waits.
#[derive(Clone, Debug)]
struct Waiting {
    entry: Entry,
    due: Tick,
}

/// Alerts on their way to one receiver.
#[derive(Clone, Debug)]
pub struct Outbox {
    /// What was not told of these subjects yet.
    fresh: BTreeMap<Key, Waiting>,
    /// What was, and happened again.
    again: BTreeMap<Key, Waiting>,
    told: BTreeMap<Key, BTreeMap<Subject, Told>>,
    /// What is in the message under way.
    under_way: Vec<(Key, Entry)>,
    ends: Ends,
    /// Entries to be sent alone, because a message of several was refused.
    singly: usize,
    pace: Pace,
}

impl Outbox {
    pub fn new(now: Tick) -> Self {
        Self {
            fresh: BTreeMap::new(),
            again: BTreeMap::new(),
            told: BTreeMap::new(),
            under_way: Vec::new(),
            ends: Ends::default(),
            singly: 0,
            pace: Pace::new(now),
        }
    }

    /// Enters an alert.
    pub fn raise(&mut self, notice: Notice, now: Tick) {
        if notice.kind == AlertKind::Recovered {
            return self.raise_end(notice, now);
        }
        if notice.kind.hurts() {
            self.ends.hurt(&notice.pool);
        }
        let mut key = Key {
            kind: notice.kind,
            pool: notice.pool.clone(),
            cause: alike(notice.kind, &notice.cause),
        };
        let is_known = |map: &BTreeMap<Key, Waiting>| map.contains_key(&key);
        if !is_known(&self.fresh) && !is_known(&self.again) && self.fresh.len() + self.again.len() >= CAUSES {
            key.cause.clear();
        }
        let subject = Subject {
            shard: notice.shard,
            worker: notice.worker.clone(),
        };
        if let Some(waiting) = self.fresh.get_mut(&key)
            && waiting.entry.subjects.contains(&subject)
        {
            waiting.entry.add(notice, subject);
            return;
        }
        let told = self.told.get(&key).and_then(|subjects| subjects.get(&subject));
        let told = told.filter(|told| now < told.quiet_until);
        let told = told.map(|told| (told.first_ms, told.quiet_until));
        let told = told.or_else(|| {
            let under_way = self.under_way.iter().find(|(of, _)| *of == key)?;
            let entry = Some(&under_way.1).filter(|entry| entry.subjects.contains(&subject))?;
            Some((entry.first_ms, now + QUIET))
        });
        // Nothing is worse, and nothing else says it.
        let told = told.filter(|_| notice.kind != AlertKind::Halted);
        let waits = self.again.get(&key);
        let waits = waits.is_some_and(|waiting| waiting.entry.subjects.contains(&subject));
        if told.is_none() && !waits {
            let waiting = self.fresh.entry(key).or_insert_with(|| Waiting {
                entry: Entry::new(&notice, None),
                due: now + WINDOW,
            });
            waiting.entry.add(notice, subject);
            return;
        }
        let (since, due) = told.unwrap_or((notice.at_ms, now));
        let waiting = self.again.entry(key).or_insert_with(|| Waiting {
            entry: Entry::new(&notice, Some(since)),
            due,
        });
        waiting.due = waiting.due.min(due);
        waiting.entry.again_since_ms = waiting.entry.again_since_ms.min(Some(since));
        waiting.entry.add(notice, subject);
    }

    /// When [`Self::take`] may have something; `None` while nothing waits.
    pub fn due(&self) -> Option<Tick> {
        if !self.under_way.is_empty() || self.is_given_up() {
            return None;
        }
        let all = self.fresh.values().chain(self.again.values());
        let due = all.map(|waiting| {
            let urgent = waiting.entry.severity() < Severity::Info;
            waiting.due.max(self.pace.ready_at(urgent))
        });
        let ends = self.ends.waiting.iter().map(|(pool, waiting)| {
            let due = self.trouble_due(pool).max(Some(waiting.due));
            due.max(Some(self.pace.ready_at(false))).unwrap_or(waiting.due)
        });
        due.chain(ends).min()
    }

    /// The entries of the next message, at most `most`, the worst first; none
    /// before it is due. They are under way until [`Self::settle`].
    pub fn take(&mut self, most: usize, now: Tick) -> Vec<&Entry> {
        if self.due().is_some_and(|due| due <= now) {
            self.pace.spend(now);
            self.gather(most, now, false);
        }
        self.under_way.iter().map(|(_, entry)| entry).collect()
    }

    /// The same at the end, when nothing is waited for any more; but never
    /// against the word of the receiver.
    pub fn take_last(&mut self, most: usize, now: Tick) -> Vec<&Entry> {
        if self.under_way.is_empty() && self.pace.may_at_all(now) {
            self.gather(most, now, true);
        }
        self.under_way.iter().map(|(_, entry)| entry).collect()
    }

    fn gather(&mut self, most: usize, now: Tick, all: bool) {
        let most = if self.singly > 0 { 1 } else { most };
        self.ends.depart();
        // What happened a moment ago goes along.
        let fresh = self.fresh.iter().map(|(key, waiting)| (false, key, waiting));
        let again = self.again.iter().map(|(key, waiting)| (true, key, waiting));
        let again = again.filter(|(_, _, waiting)| all || waiting.due <= now);
        let mut chosen: Vec<_> = fresh
            .chain(again)
            .map(|(again, key, waiting)| {
                let entry = &waiting.entry;
                ((entry.severity(), entry.first_ms), again, key.clone())
            })
            .collect();
        chosen.sort();
        for (_, again, key) in chosen.into_iter().take(most) {
            let from = if again { &mut self.again } else { &mut self.fresh };
            if let Some(Waiting { entry, .. }) = from.remove(&key) {
                self.under_way.push((key, entry));
            }
        }
        let pools: Vec<_> = self.ends.waiting.keys().cloned().collect();
        for pool in pools {
            let room = self.under_way.len() < most;
            if room
                && self.trouble_due(&pool).is_none()
                && let Some(Waiting { entry, .. }) = self.ends.waiting.remove(&pool)
            {
                self.under_way.push((ends::key(&pool), entry));
            }
        }
    }

    /// More of it adds up from now on.
    fn mark_told(&mut self, key: &Key, entry: &Entry, now: Tick) {
        let again = &self.again;
        self.told.retain(|key, subjects| {
            let waits = again.get(key);
            subjects.retain(|subject, told| {
                // The pause must have passed once more before the next begins short.
                now < told.quiet_until + told.quiet
                    || waits.is_some_and(|waiting| waiting.entry.subjects.contains(subject))
            });
            !subjects.is_empty()
        });
        if self.told.values().map(BTreeMap::len).sum::<usize>() + entry.subjects.len() > KNOWN {
            return;
        }
        let subjects = self.told.entry(key.clone()).or_default();
        for subject in &entry.subjects {
            let earlier = subjects.get(subject);
            let quiet = earlier.map_or(QUIET, |told| (told.quiet * 2).min(QUIET_MOST));
            let told = Told {
                first_ms: earlier.map_or(entry.first_ms, |told| told.first_ms),
                quiet_until: now + quiet,
                quiet,
            };
            subjects.insert(subject.clone(), told);
        }
    }

    /// What became of the message under way. Returns what will not be told:
    /// entries that are refused even alone.
    pub fn settle(&mut self, outcome: Outcome, now: Tick) -> Vec<Entry> {
        let under_way = std::mem::take(&mut self.under_way);
        self.pace.settle(outcome, now);
        let mut refused = Vec::new();
        let alone = self.singly > 0;
        match outcome {
            Outcome::Refused if !alone => self.singly = under_way.len(),
            Outcome::Refused | Outcome::Taken { .. } => self.singly = self.singly.saturating_sub(1),
            Outcome::Limited { .. }
            | Outcome::Unavailable { .. }
            | Outcome::Misconfigured { .. }
            | Outcome::Gone
            | Outcome::Dropped => {}
        }
        for (key, entry) in under_way {
            match outcome {
                Outcome::Taken { .. } => {
                    self.mark_told(&key, &entry, now);
                    self.mark_known(&key, now);
                }
                Outcome::Refused if alone => refused.push(entry),
                Outcome::Refused
                | Outcome::Limited { .. }
                | Outcome::Unavailable { .. }
                | Outcome::Misconfigured { .. }
                | Outcome::Gone
                | Outcome::Dropped => {
                    self.put_back(key, entry, now);
                }
            }
        }
        self.forget_unowed();
        refused
    }

    /// With what came meanwhile.
    fn put_back(&mut self, key: Key, entry: Entry, now: Tick) {
        if key.kind == AlertKind::Recovered {
            return self.ends.put_back(key, entry, now);
        }
        let back = match entry.again_since_ms {
            Some(_) => &mut self.again,
            None => &mut self.fresh,
        };
        match back.get_mut(&key) {
            Some(waiting) => {
                let newer = std::mem::replace(&mut waiting.entry, entry);
                waiting.entry.absorb(newer);
                waiting.due = now;
            }
            None => drop(back.insert(key, Waiting { entry, due: now })),
        }
    }

    /// The receiver is another one now.
    pub fn reset_pace(&mut self, now: Tick) {
        self.settle(Outcome::Dropped, now);
        self.pace = Pace::new(now);
    }

    /// Somebody looked after the receiver: what was given up, or is tried
    /// seldom, is tried at once.
    pub fn retry(&mut self, now: Tick) {
        self.pace.retry(now);
    }

    /// Whether entries go one by one, to find the one that is refused.
    pub fn goes_singly(&self) -> bool {
        self.singly > 0
    }

    /// Whether the receiver took what it was last sent, as far as is known.
    pub fn is_ok(&self) -> bool {
        self.pace.is_ok()
    }

    /// Whether the receiver is given up until somebody looks after it.
    pub fn is_given_up(&self) -> bool {
        self.pace.is_given_up()
    }

    /// Alerts that wait, and those under way.
    pub fn waiting(&self) -> u64 {
        let waiting = self.fresh.values().chain(self.again.values());
        let waiting = waiting.chain(self.ends.waiting.values());
        let waiting = waiting.map(|waiting| &waiting.entry);
        let under_way = self.under_way.iter().map(|(_, entry)| entry);
        waiting.chain(under_way).map(|entry| entry.count).sum()
    }
}

/// What all alerts of one cause have in common.
fn alike(kind: AlertKind, cause: &str) -> String {
    match kind.alike() {
        Alike::All => String::new(),
        Alike::Same => cause.to_owned(),
        Alike::ButForNumbers => {
            let mut text = String::new();
            for character in cause.chars() {
                let character = if character.is_ascii_digit() {
                    '#'
                } else {
                    character
                };
                if !(character == '#' && text.ends_with('#')) {
                    text.push(character);
                }
            }
            text
        }
    }
}
