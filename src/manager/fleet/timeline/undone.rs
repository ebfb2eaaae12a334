//! The notes of a turn that did not become durable: those that hold all the
//! same are told, and nothing follows from the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardman_core::reconcile::StopCause;
use shardman_core::timeline::Kind;

use super::super::{Effect, Fleet, Turn};
use super::{Before, Note, Notes, Number};
use crate::manager::request::Answer;

impl Fleet {
    /// The notes of a turn that did not become durable, as far as they hold all
    /// the same; alerts that do not are taken out of it. Called before the rest
    /// of it is undone.
    pub(in crate::manager) fn still_true(&mut self, turn: &mut Turn) -> Vec<Note> {
        self.drop_void_alerts(turn);
        let budget = turn
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::AlertOn(ground, _) if ground.is_of_starts()));
        let stop_undone = |effect: &Effect| {
            let Effect::Stop { worker, cause } = effect else {
                return None;
            };
            is_undone(*cause).then(|| worker.clone())
        };
        let kept_running: Vec<_> = turn.effects.iter().filter_map(stop_undone).collect();
        let asked = |answer: &Answer| matches!(answer, Answer::Rescale { .. });
        let rescale = turn.answers.iter().any(asked);
        let restart = turn.answers.iter().any(Answer::begins_a_restart);
        let notes = std::mem::take(&mut turn.notes);
        let stops = |note: &Note| {
            let worker = note.event.worker.as_ref();
            let kept = worker.is_some_and(|worker| kept_running.contains(worker));
            note.event.kind == Kind::WorkerStopAsked && kept
        };
        // A step is undone with the stop that followed from it.
        let undone_steps: Vec<_> = notes
            .iter()
            .filter(|note| stops(note))
            .filter_map(|note| note.because_of.clone())
            .collect();
        let holds = |note: &Note| {
            let is = |kinds: &[Kind]| kinds.contains(&note.event.kind);
            let undone_step = || {
                let undone = |step: &Number| Arc::ptr_eq(step, &note.number);
                undone_steps.iter().any(undone)
            };
            let undone = is(&[Kind::Leased, Kind::WorkerStarted, Kind::WorkerRegistered])
                || stops(note)
                || rescale && is(&[Kind::RescaleBegun, Kind::RescaleStep, Kind::RescaleFinished])
                || restart && is(&[Kind::RestartBegun, Kind::RestartStep])
                || is(&[Kind::RestartStep]) && undone_step()
                || is(&[Kind::BudgetAlert]) && !budget;
            !undone
        };
        let (mut told, undone): (Vec<_>, Vec<_>) = notes.into_iter().partition(holds);
        for note in &undone {
            if let (Kind::WorkerRegistered, Some(worker)) = (note.event.kind, &note.event.worker) {
                self.notes.registered.remove(worker);
            }
        }
        self.notes.forget(&undone, &mut told);
        told
    }

    /// Whoever uses the starts again that are given back now tells anew.
    fn drop_void_alerts(&self, turn: &mut Turn) {
        let grants = turn.answers.iter().filter_map(Answer::grant);
        let granted = grants.filter(|grant| grant.spent).count();
        let assigned = turn.effects.iter().filter_map(|effect| {
            let Effect::Start { assigned, .. } = effect else {
                return None;
            };
            Some(assigned.len())
        });
        let refunds = u32::try_from(granted + assigned.sum::<usize>()).unwrap_or(u32::MAX);
        let is_void =
            |effect: &Effect| matches!(effect, Effect::AlertOn(ground, _) if self.is_void(*ground, refunds));
        turn.effects.retain(|effect| !is_void(effect));
    }
}

/// Whether a stop for this needs a disk that takes the next start.
fn is_undone(cause: StopCause) -> bool {
    match cause {
        StopCause::Restart | StopCause::Retired | StopCause::Room | StopCause::Unwell(_) => true,
        StopCause::LeaseLapsed
        | StopCause::NeverRegistered
        | StopCause::Surplus
        | StopCause::Operator
        | StopCause::Shutdown => false,
    }
}

impl Notes {
    /// What follows now follows from what was the latest before the turn, or
    /// from what is told of it.
    fn forget(&mut self, undone: &[Note], told: &mut [Note]) {
        // The newest first: each gives its place back to the one before it.
        for note in undone.iter().rev() {
            let is_this = |number: &Number| Arc::ptr_eq(number, &note.number);
            let is_latest = |latest: Option<&(_, Number)>| latest.is_some_and(|(_, number)| is_this(number));
            match (&note.before, note.event.shard, &note.event.worker) {
                (Before::Latest(before), Some(shard), _) if is_latest(self.shards.get(&shard)) => {
                    put_back(&mut self.shards, shard, before.as_ref());
                }
                (Before::Latest(before), None, Some(worker)) if is_latest(self.workers.get(worker)) => {
                    put_back(&mut self.workers, worker.clone(), before.as_ref());
                }
                (Before::Fleet(before), ..) => {
                    let place = self.fleet.iter().position(|(_, number, _)| is_this(number));
                    if let Some(place) = place {
                        self.fleet.remove(place);
                        self.fleet.extend(before.clone());
                    }
                }
                _ => {}
            }
            // Beats may have added to them meanwhile.
            let later = told.iter_mut().chain(&mut self.pending);
            for other in later.filter(|other| other.because_of.as_ref().is_some_and(is_this)) {
                other.because_of.clone_from(&note.because_of);
            }
        }
        // The newest behind.
        self.fleet.sort_by_key(|(.., at_ms)| *at_ms);
    }
}

fn put_back<K: Ord>(latest: &mut BTreeMap<K, (Kind, Number)>, of: K, before: Option<&(Kind, Number)>) {
    match before {
        Some(before) => drop(latest.insert(of, before.clone())),
        None => drop(latest.remove(&of)),
    }
}
