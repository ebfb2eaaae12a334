//! What is told of children that are given their shards, also when the disk
//! takes no turn.

use std::sync::Arc;

use shardman_core::timeline::Kind;
use tokio::sync::oneshot;

use super::*;
use crate::manager::fleet::Ground;
use crate::manager::restarts::RestartRequest;

fn of_kind(notes: &[Note], kind: Kind) -> Vec<&Note> {
    notes.iter().filter(|note| note.event.kind == kind).collect()
}

#[track_caller]
fn assert_leads_to(earlier: &Note, later: &Note) {
    let cause = later.because_of.as_ref();
    let follows = cause.is_some_and(|cause| Arc::ptr_eq(cause, &earlier.number));
    assert!(follows, "{later:?} after {earlier:?}");
}

/// What is left of the next turn that starts or stops somebody, when the disk
/// does not take it.
fn refuse(den: &mut Den, which: fn(&Effect) -> bool) -> (Vec<Note>, Vec<Effect>) {
    loop {
        let now = den.ms() + 50;
        den.time.store(now, Ordering::Relaxed);
        den.bots_go_on(now);
        let mut turn = den.take_turn();
        let now = den.clock.now();
        if turn.effects.iter().any(which) {
            let told = den.fleet.still_true(&mut turn);
            return (told, den.fleet.undo(turn, "the disk is full", now));
        }
        den.notes.extend(turn.notes);
        for write in turn.writes {
            MemoryStore::apply(&mut den.saved, write);
        }
    }
}

fn is_start(effect: &Effect) -> bool {
    matches!(effect, Effect::Start { .. })
}

#[test]
fn a_shard_that_is_given_is_told_after_the_start_that_it_is_given_for() {
    let mut den = Den::new(1, 2, 2, 2, (100, 100));
    den.run(SECOND);
    let [started] = of_kind(&den.notes, Kind::WorkerStarted)[..] else {
        panic!("{:?}", den.notes);
    };
    let leased = of_kind(&den.notes, Kind::Leased);
    assert_eq!(leased.len(), 2);
    for note in leased {
        assert_leads_to(started, note);
        assert!(
            note.event
                .cause
                .starts_with("given to discord-0 for its start (epoch "),
            "{note:?}"
        );
    }
}

#[test]
fn what_follows_an_undone_start_follows_from_what_was_before_it() {
    let mut den = Den::new(1, 2, 2, 2, (100, 100));
    den.run(60 * SECOND);
    let now = den.ms();
    den.bots[0].dies_at = Some(now + 50);
    // It counts as steady by now, so its next start is undone at once.
    let (told, _) = refuse(&mut den, is_start);
    den.notes.extend(told);
    assert_eq!(of_kind(&den.notes, Kind::WorkerStarted).len(), 1);
    assert_eq!(of_kind(&den.notes, Kind::Leased).len(), 2);
    den.run(60 * SECOND);
    assert_eq!(den.starts, 2);
    let starts = of_kind(&den.notes, Kind::WorkerStarted);
    let of_worker = |note: &&Note| note.event.shard.is_none() && note.event.worker.is_some();
    let place = den
        .notes
        .iter()
        .position(|note| Arc::ptr_eq(&note.number, &starts[1].number));
    let before = den.notes[..place.unwrap()].iter().rfind(of_worker).unwrap();
    assert_leads_to(before, starts[1]);
    for leased in &of_kind(&den.notes, Kind::Leased)[2..] {
        assert_leads_to(starts[1], leased);
        let shard = leased.event.shard.unwrap();
        let granted = den.fleet.table.lease(shard).unwrap().granted_at;
        let since = den.fleet.standing(shard, den.clock.now()).since;
        assert!(since >= Some(granted), "{since:?}, {granted:?}");
    }
}

#[test]
fn a_step_of_a_restart_is_undone_with_its_stop_and_the_one_before_it_is_not() {
    let mut den = Den::new(1, 2, 1, 2, (100, 100));
    den.run(60 * SECOND);
    let (reply, _answer) = oneshot::channel();
    let request = RestartRequest::default();
    den.inbox.push(Request::Restart { request, reply });
    den.run(SECOND);
    let (first, _) = den.stopped[0].clone();
    assert_eq!(den.stopped, [(first.clone(), StopCause::Restart)]);
    let place = den.bots.iter().position(|bot| bot.worker == first).unwrap();
    den.bots.remove(place);
    den.inbox.push(Request::Worker(WorkerEvent::Gone {
        worker: first,
        exit: Exit::Code(0),
        last_lines: Vec::new(),
    }));
    den.refused_stops = 1;
    den.run(120 * SECOND);
    assert_eq!((den.refused_stops, den.stopped.len()), (0, 2));
    let steps = of_kind(&den.notes, Kind::RestartStep);
    let words: Vec<_> = steps.iter().map(|note| note.event.cause.as_str()).collect();
    assert_eq!(
        words,
        [
            "discord-0 is restarted (1 of 2)",
            "discord-0 is back and the fleet is whole (1 of 2)",
            "discord-1 is restarted (2 of 2)",
        ]
    );
    assert_leads_to(steps[0], steps[1]);
    assert_leads_to(steps[1], steps[2]);
}

#[test]
fn an_alert_about_starts_that_were_given_back_is_told_when_they_are_used_again() {
    // The first start of the two uses up half of all.
    let mut den = Den::new(1, 2, 2, 2, (51, 100));
    let is_of_starts = |alert: &Alert| alert.kind == AlertKind::Budget;
    let (told, left) = refuse(&mut den, is_start);
    let told_anyway = |effect: &Effect| matches!(effect, Effect::Alert(alert) | Effect::AlertOn(_, alert) if is_of_starts(alert));
    assert!(!left.iter().any(told_anyway), "{left:?}");
    assert_eq!(of_kind(&told, Kind::BudgetAlert).len(), 0);
    assert_eq!(den.fleet.starts_view().remaining, Some(51));
    den.run(60 * SECOND);
    assert_eq!(den.alerts.iter().filter(|alert| is_of_starts(alert)).count(), 1);
    assert_eq!(of_kind(&den.notes, Kind::BudgetAlert).len(), 1);
    // What was not given back in that turn stays as it was told.
    assert!(!den.fleet.is_void(Ground::StartsUsed(50), 1), "51 are used");
    assert!(den.fleet.is_void(Ground::StartsUsed(50), 2));
    assert!(den.fleet.is_void(Ground::StartsUsedUp, 1));
}
