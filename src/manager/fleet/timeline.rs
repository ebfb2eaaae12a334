//! What the fleet notes of its own decisions, each with its cause. A note is
//! told once the turn that made it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use shardman_core::timeline::{Event, Kind, Subject};
use shardman_core::{ShardId, WorkerId};

use super::Fleet;

mod undone;
mod words;

/// Notes that may wait for a turn, while the disk holds the owner up. Beats
/// make more; what they say is in the fleet's state all the same.
const PENDING: usize = 16_384;

/// How long what concerns the whole fleet may take to lead to something.
const FRESH_MS: u64 = 10 * 60 * 1000;

/// The number of an event, once it was told. What never is told has none.
pub(in crate::manager) type Number = Arc<OnceLock<u64>>;

/// An event on its way to be told.
#[derive(Debug)]
pub(in crate::manager) struct Note {
    pub(in crate::manager) event: Event,
    pub(in crate::manager) number: Number,
    pub(in crate::manager) because_of: Option<Number>,
    /// What the next ones would have followed from without it.
    before: Before,
}

/// What was the latest before a note.
#[derive(Debug)]
enum Before {
    /// Of the same shard or worker.
    Latest(Option<(Kind, Number)>),
    /// Of the same kind, of the whole fleet.
    Fleet(Option<(Kind, Number, u64)>),
    /// Nothing follows from the note.
    Same,
}

impl Note {
    /// One that is told at once, and that the fleet does not know of.
    pub(in crate::manager) fn alone(event: Event) -> Self {
        Self {
            event,
            number: Number::default(),
            because_of: None,
            before: Before::Same,
        }
    }
}

/// The notes of the turn, and what the next ones may follow from.
#[derive(Debug, Default)]
pub(in crate::manager) struct Notes {
    pending: Vec<Note>,
    shards: BTreeMap<ShardId, (Kind, Number)>,
    workers: BTreeMap<WorkerId, (Kind, Number)>,
    /// What the fleet was asked for, or went through: of each kind the last,
    /// the newest behind, with the wall clock in milliseconds.
    fleet: Vec<(Kind, Number, u64)>,
    /// How the last run of each worker ended, in words.
    ends: BTreeMap<WorkerId, String>,
    /// Workers whose present run has taken a shard.
    registered: BTreeSet<WorkerId>,
}

impl Notes {
    pub(super) fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.pending)
    }

    fn latest(&self, subject: &Subject) -> Option<(Kind, Number)> {
        match (&subject.shard, &subject.worker) {
            (Some(shard), _) => self.shards.get(shard).cloned(),
            (None, Some(worker)) => self.workers.get(worker).cloned(),
            (None, None) => None,
        }
    }

    fn push(&mut self, kind: Kind, subject: Subject, event: Event, because_of: Option<Number>) {
        if self.pending.len() >= PENDING {
            return;
        }
        let number = Number::default();
        let latest = (kind, Arc::clone(&number));
        let before = match (subject.shard, subject.worker) {
            (Some(shard), _) => Before::Latest(self.shards.insert(shard, latest)),
            // Nothing follows from it that does not from the start before it.
            (None, Some(_)) if kind == Kind::WorkerRegistered => Before::Same,
            (None, Some(worker)) => Before::Latest(self.workers.insert(worker, latest)),
            (None, None) => {
                let earlier = self.fleet.iter().position(|(earlier, ..)| *earlier == kind);
                let before = earlier.map(|earlier| self.fleet.remove(earlier));
                self.fleet.push((kind, latest.1, event.at_ms));
                Before::Fleet(before)
            }
        };
        self.pending.push(Note {
            event,
            number,
            because_of,
            before,
        });
    }
}

impl Fleet {
    /// Notes what happened and why, in words that stand alone. It follows from
    /// the last event of the same shard or worker where that leads to this one.
    pub(in crate::manager) fn note(&mut self, kind: Kind, subject: Subject, cause: impl AsRef<str>) {
        let because_of = if subject == Subject::fleet() {
            kind.fleet_causes().and_then(|(within, causes)| {
                let mut newest_first = self.notes.fleet.iter().rev();
                let (before, number, _) = newest_first.find(|(before, ..)| within.contains(before))?;
                causes.contains(before).then(|| Arc::clone(number))
            })
        } else {
            let before = self.notes.latest(&subject);
            let before = before.filter(|(before, _)| before.leads_to(kind));
            before.map(|(_, number)| number)
        };
        self.note_after(kind, subject, cause, because_of);
    }

    fn note_after(
        &mut self,
        kind: Kind,
        subject: Subject,
        cause: impl AsRef<str>,
        because_of: Option<Number>,
    ) {
        let pool = &self.settings.pool;
        let cause = match !pool.is_discord() && subject == Subject::fleet() {
            // Nothing else in the words says whose it is.
            true => format!("pool {pool}: {}", cause.as_ref()),
            false => cause.as_ref().to_owned(),
        };
        let mut event = Event::new(kind, subject.clone(), &cause, self.clock.wall_ms());
        event.pool = (!pool.is_discord()).then(|| pool.clone());
        self.notes.push(kind, subject, event, because_of);
    }

    /// The newest of these events of the fleet's own. An old one leads to
    /// nothing any more.
    fn because_of_fleet(&self, kinds: &[Kind]) -> Option<Number> {
        let wall = self.clock.wall_ms();
        let mut newest_first = self.notes.fleet.iter().rev();
        let (_, number, at_ms) = newest_first.find(|(kind, ..)| kinds.contains(kind))?;
        (wall.saturating_sub(*at_ms) <= FRESH_MS).then(|| Arc::clone(number))
    }
}
