//! What the fleet notes of its own decisions, each with its cause. A note is
//! told once the turn that made it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use shardman_core::reconcile::StopCause;
use shardman_core::timeline::{Event, Kind, Subject};
use shardman_core::{ShardId, WorkerId};

use super::{Effect, Fleet, Turn};
use crate::manager::request::Answer;

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
        match (subject.shard, subject.worker) {
            (Some(shard), _) => drop(self.shards.insert(shard, latest)),
            // Nothing follows from it that does not from the start before it.
            (None, Some(_)) if kind == Kind::WorkerRegistered => {}
            (None, Some(worker)) => drop(self.workers.insert(worker, latest)),
            (None, None) => {
                self.fleet.retain(|(earlier, ..)| *earlier != kind);
                self.fleet.push((kind, latest.1, event.at_ms));
            }
        }
        self.pending.push(Note {
            event,
            number,
            because_of,
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
        let mut event = Event::new(kind, subject.clone(), cause.as_ref(), self.clock.wall_ms());
        let pool = &self.settings.pool;
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

    /// The notes of a turn that did not become durable, as far as they hold all
    /// the same. Called before the rest of it is undone.
    pub(in crate::manager) fn still_true(&mut self, turn: &mut Turn) -> Vec<Note> {
        let undone = |cause: StopCause| {
            matches!(
                cause,
                StopCause::Restart | StopCause::Retired | StopCause::Room | StopCause::Unwell(_)
            )
        };
        let kept_running: Vec<_> = turn
            .effects
            .iter()
            .filter_map(|effect| {
                let Effect::Stop { worker, cause } = effect else {
                    return None;
                };
                undone(*cause).then(|| worker.clone())
            })
            .collect();
        let asked = |answer: &Answer| matches!(answer, Answer::Rescale { .. });
        let rescale = turn.answers.iter().any(asked);
        let restart = turn.answers.iter().any(Answer::begins_a_restart);
        let mut notes = std::mem::take(&mut turn.notes);
        notes.retain(|note| match (note.event.kind, &note.event.worker) {
            (Kind::Leased | Kind::WorkerStarted, _) => false,
            (Kind::WorkerRegistered, Some(worker)) => {
                self.notes.registered.remove(worker);
                false
            }
            (Kind::WorkerStopAsked, Some(worker)) => !kept_running.contains(worker),
            (Kind::RescaleBegun, _) => !rescale,
            (Kind::RestartBegun, _) => !restart,
            (Kind::RestartStep, _) => kept_running.is_empty(),
            _ => true,
        });
        notes
    }
}
