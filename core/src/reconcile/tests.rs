use super::*;
use crate::wire::ShardState;

mod stopped;

static WELL: BTreeMap<WorkerId, Unwell> = BTreeMap::new();

fn desired(max_workers: u32, shards_per_worker: u32, shards: u32) -> Desired {
    Desired {
        pool: PoolId::discord(),
        max_workers,
        shards_per_worker,
        shards,
        rescaling: false,
        packs: true,
        register_within: REGISTER_WITHIN,
    }
}

fn worker(index: u32) -> WorkerId {
    WorkerId::new(&PoolId::discord(), index)
}

fn start(index: u32, shards: u32) -> Action {
    Action::Start {
        worker: worker(index),
        shards,
    }
}

fn stop(index: u32, cause: StopCause) -> Action {
    Action::Stop {
        worker: worker(index),
        cause,
    }
}

type Rows<'a> = &'a [(u32, Phase, u32, u32)];

fn views(rows: Rows<'_>) -> BTreeMap<WorkerId, WorkerView> {
    let view = |&(index, phase, capacity, holding)| {
        let view = WorkerView {
            phase,
            capacity,
            holding,
            passes: false,
        };
        (worker(index), view)
    };
    rows.iter().map(view).collect()
}

fn observed(workers: &BTreeMap<WorkerId, WorkerView>, uncovered: u32) -> Observed<'_> {
    Observed {
        workers,
        lapsed: &[],
        unwell: &WELL,
        uncovered,
        whole: uncovered == 0,
        may_restart: true,
    }
}

fn poll(desired: &Desired, rows: Rows<'_>, uncovered: u32) -> Vec<Action> {
    Reconciler::default().poll(desired, &observed(&views(rows), uncovered), Tick(100_000))
}

/// A fleet in which every shard that is not free is held by a child.
#[track_caller]
fn check(max: u32, per: u32, rows: Rows<'_>, uncovered: u32, expected: &[Action]) {
    let held: u32 = rows.iter().map(|(_, _, _, holding)| holding).sum();
    assert_eq!(
        poll(&desired(max, per, held + uncovered), rows, uncovered),
        expected
    );
}

const YOUNG: Phase = Phase::Short { since: Tick(99_000) };
const OLD: Phase = Phase::Short { since: Tick(1_000) };
const LATER: Phase = Phase::BackingOff { until: Tick(101_000) };
const DUE: Phase = Phase::BackingOff { until: Tick(100_000) };

#[test]
fn children_are_started_for_every_uncovered_shard() {
    check(3, 4, &[], 10, &[start(0, 4), start(1, 4), start(2, 2)]);
    check(2, 4, &[], 10, &[start(0, 4), start(1, 4)]);
    check(0, 4, &[], 10, &[]);
    check(3, 4, &[], 0, &[]);
}

#[test]
fn a_child_that_is_still_registering_counts_for_what_it_will_hold() {
    check(3, 4, &[(0, YOUNG, 4, 1)], 7, &[start(1, 4)]);
    check(3, 4, &[(0, YOUNG, 4, 0), (1, YOUNG, 4, 2)], 6, &[]);
}

#[test]
fn a_child_that_holds_nothing_in_time_is_stopped_and_one_that_holds_some_is_not() {
    check(3, 4, &[(0, OLD, 4, 0)], 0, &[stop(0, StopCause::NeverRegistered)]);
    check(3, 4, &[(0, OLD, 4, 3)], 1, &[start(1, 1)]);
}

#[test]
fn nobody_else_is_started_for_what_a_child_that_is_stopped_comes_back_for() {
    check(8, 2, &[(0, OLD, 2, 0)], 2, &[stop(0, StopCause::NeverRegistered)]);
    check(8, 2, &[(0, Phase::Stopping, 2, 0)], 2, &[]);
    check(1, 2, &[(0, Phase::Stopping, 0, 0)], 2, &[]);
    check(8, 2, &[(0, Phase::Stopping, 0, 0)], 2, &[start(1, 2)]);
}

#[test]
fn a_place_that_backs_off_keeps_its_shards_waiting() {
    check(3, 4, &[(0, LATER, 4, 0)], 4, &[]);
    check(3, 4, &[(0, DUE, 4, 0)], 4, &[start(0, 4)]);
    check(3, 4, &[(0, Phase::Halted, 4, 0)], 4, &[]);
}

#[test]
fn a_child_that_is_left_without_shards_is_stopped() {
    let idle = |since| Phase::Idle { since: Tick(since) };
    check(3, 4, &[(0, idle(99_000), 4, 0), (1, idle(1_000), 4, 2)], 0, &[]);
    check(3, 4, &[(0, idle(1_000), 4, 0)], 0, &[stop(0, StopCause::Surplus)]);
}

#[test]
fn a_child_that_is_started_in_a_rescale_has_room_for_what_comes() {
    let rescale = Desired {
        rescaling: true,
        ..desired(4, 4, 7)
    };
    let full = [(0, Phase::Full, 2, 2), (1, Phase::Full, 2, 2)];
    assert_eq!(poll(&rescale, &full, 2), [start(2, 4)]);
    assert_eq!(poll(&rescale, &full, 0), []);
}

#[test]
fn an_emptied_small_child_makes_way_for_a_larger_one_while_a_rescale_goes_on() {
    let rescale = Desired {
        rescaling: true,
        ..desired(5, 2, 8)
    };
    let mut fleet = [
        (0, YOUNG, 1, 0),
        (1, Phase::Full, 1, 1),
        (2, Phase::Full, 1, 1),
        (3, Phase::Full, 1, 1),
        (4, Phase::Full, 2, 2),
    ];
    assert_eq!(poll(&rescale, &fleet, 2), [stop(0, StopCause::Surplus)]);
    fleet[0].1 = Phase::Stopping;
    assert_eq!(poll(&rescale, &fleet, 2), []);
    (fleet[0].1, fleet[0].2) = (DUE, 0);
    assert_eq!(poll(&rescale, &fleet, 2), [start(0, 2)]);
    fleet[0] = (0, YOUNG, 2, 0);
    assert_eq!(poll(&rescale, &fleet, 2), []);
}

#[test]
fn places_that_do_not_run_make_nobody_elses_smaller() {
    for phase in [Phase::Halted, Phase::Stopping, LATER] {
        let fleet = [(0, phase, 4, 0), (1, DUE, 4, 0)];
        check(3, 4, &fleet, 4, &[start(1, 4)]);
    }
    // What it had is less than what there is now.
    check(1, 8, &[(0, DUE, 2, 0)], 8, &[start(0, 8)]);
}

#[test]
fn who_waits_keeps_no_share_of_what_others_hold_by_now() {
    let others = (1, Phase::Full, 4, 4);
    // The shards of the halted one are held by the first; the second died.
    check(
        3,
        4,
        &[(0, Phase::Halted, 4, 0), others, (2, DUE, 4, 0)],
        4,
        &[start(2, 4)],
    );
    // A place of nobody's is not opened for them, and one that was given up neither.
    let waiting = (0, LATER, 4, 0);
    check(3, 4, &[waiting, others], 4, &[]);
    check(3, 4, &[waiting, others, (2, DUE, 0, 0)], 4, &[]);
    check(3, 4, &[waiting, others, (2, DUE, 0, 0)], 6, &[start(2, 2)]);
}

#[test]
fn a_place_that_is_due_gets_its_share_before_one_that_waits() {
    // Externals took what the first had, and two shards are free.
    let fleet = [(0, LATER, 4, 0), (1, DUE, 2, 0)];
    assert_eq!(poll(&desired(2, 4, 2), &fleet, 2), [start(1, 2)]);
    check(2, 4, &fleet, 6, &[start(1, 2)]);
}

#[test]
fn a_halted_place_is_no_process() {
    let fleet = [(0, Phase::Halted, 2, 0), (1, Phase::Full, 2, 2)];
    check(2, 4, &fleet, 6, &[start(2, 4)]);
}

#[test]
fn a_child_that_is_too_small_makes_room_once_nothing_else_can_be_started() {
    let full = |index, capacity| (index, Phase::Full, capacity, capacity);
    check(2, 4, &[full(0, 3), full(1, 2)], 3, &[stop(1, StopCause::Room)]);
    check(3, 4, &[full(0, 3), full(1, 2)], 3, &[start(2, 3)]);
    // One at a time, and then it gets what there is.
    check(2, 4, &[full(0, 3), (1, Phase::Restarting, 2, 2)], 3, &[]);
    check(
        2,
        4,
        &[full(0, 3), (1, Phase::Returning, 2, 0)],
        5,
        &[start(1, 4)],
    );
    check(2, 4, &[full(0, 3), (1, YOUNG, 4, 0)], 5, &[]);
    // Not for what a place that backs off will hold.
    check(2, 4, &[full(0, 3), full(1, 2), (2, LATER, 4, 0)], 3, &[]);
    check(2, 4, &[full(0, 4), full(1, 4)], 3, &[]);
    check(0, 4, &[full(0, 2)], 3, &[]);
}

#[test]
fn a_child_that_left_shards_alone_is_not_relied_on_nor_restarted_for_more() {
    let mut views = views(&[(0, YOUNG, 4, 1), (1, Phase::Full, 1, 1)]);
    views.get_mut(&worker(0)).unwrap().passes = true;
    let poll = |max| Reconciler::default().poll(&desired(max, 4, 4), &observed(&views, 2), Tick(100_000));
    assert_eq!(poll(3), [start(2, 2)]);
    assert_eq!(poll(2), [stop(1, StopCause::Room)]);
    let idle = Observed {
        whole: true,
        ..observed(&views, 0)
    };
    let mut reconciler = Reconciler::default();
    for now in [100_000, 200_000] {
        let two = desired(1, 4, 2);
        let actions = reconciler.poll(&two, &idle, Tick(now));
        assert!(!actions.contains(&stop(1, StopCause::Retired)), "{actions:?}");
    }
}

/// What becomes of a fleet in which nothing changes for ten seconds.
#[track_caller]
fn check_quiet(desired: &Desired, rows: Rows<'_>, expected: &[Action]) {
    let views = views(rows);
    let mut reconciler = Reconciler::default();
    let mut at = |now| reconciler.poll(desired, &observed(&views, 0), Tick(now));
    assert_eq!(at(100_000), []);
    assert_eq!(at(109_999), []);
    assert_eq!(at(110_000), expected);
}

#[test]
fn the_child_that_holds_least_is_stopped_when_the_others_have_room_for_it() {
    let idle = |index, capacity, holding| (index, Phase::Idle { since: Tick(99_000) }, capacity, holding);
    let fleet = [idle(0, 2, 1), (1, Phase::Full, 4, 4), idle(2, 4, 3)];
    let retired = [stop(0, StopCause::Retired)];
    check_quiet(&desired(2, 4, 8), &fleet, &retired);
    check_quiet(&desired(9, 4, 8), &fleet, &retired);
    let unsure = Desired {
        packs: false,
        ..desired(9, 4, 8)
    };
    check_quiet(&unsure, &fleet, &[]);
    check_quiet(&desired(9, 3, 8), &fleet, &[]);
    let rescaling = Desired {
        rescaling: true,
        ..desired(2, 4, 8)
    };
    check_quiet(&rescaling, &fleet, &[]);
    // Who holds nothing has a minute, unless it may not run at all.
    let empty = [(0, Phase::Full, 4, 4), (1, Phase::Full, 4, 4), idle(2, 4, 0)];
    check_quiet(&desired(3, 4, 8), &empty, &[]);
    check_quiet(&desired(2, 4, 8), &empty, &[stop(2, StopCause::Retired)]);
    // Without room: only one that may not run at all, and others grow for it.
    let full = [
        (0, Phase::Full, 2, 2),
        (1, Phase::Full, 4, 4),
        (2, Phase::Full, 2, 2),
    ];
    check_quiet(&desired(3, 4, 8), &full, &[]);
    check_quiet(&desired(2, 4, 8), &full, &[stop(2, StopCause::Retired)]);
    check_quiet(&desired(2, 3, 8), &full, &[]);
}

#[test]
fn nobody_is_stopped_for_being_one_too_many_while_the_fleet_is_not_whole() {
    let views = views(&[(0, Phase::Full, 4, 2), (1, Phase::Full, 4, 2)]);
    let quiet = observed(&views, 0);
    let troubles = [
        Observed {
            whole: false,
            ..quiet
        },
        Observed {
            may_restart: false,
            ..quiet
        },
    ];
    for trouble in troubles {
        let mut reconciler = Reconciler::default();
        let mut at = |observed, now| reconciler.poll(&desired(2, 4, 4), observed, Tick(now));
        for (observed, now) in [(&quiet, 0), (&quiet, 9_999), (&trouble, 10_000), (&quiet, 10_001)] {
            assert_eq!(at(observed, now), []);
        }
        assert_eq!(at(&quiet, 20_001), [stop(1, StopCause::Retired)]);
    }
}

#[test]
fn a_child_that_lost_a_lease_is_stopped() {
    let views = views(&[(0, Phase::Full, 1, 0)]);
    let lapsed = Observed {
        lapsed: &[worker(0)],
        ..observed(&views, 0)
    };
    let actions = Reconciler::default().poll(&desired(1, 1, 1), &lapsed, Tick(0));
    assert_eq!(actions, [stop(0, StopCause::LeaseLapsed)]);
}

#[test]
fn a_child_that_waits_for_its_kill_is_left_alone_and_nobody_is_started_for_what_it_lost() {
    let lapsed = |lost| Phase::Lapsed { lost };
    let halted = [(0, lapsed(4), 4, 0), (1, lapsed(2), 4, 1)];
    check(9, 4, &halted, 1, &[]);
    // A killed one comes back although others are still held.
    let killed = [
        (0, lapsed(4), 4, 0),
        (1, Phase::BackingOff { until: Tick(0) }, 4, 0),
    ];
    check(9, 4, &killed, 4, &[start(1, 4)]);
}

#[test]
fn a_child_that_beats_and_does_not_serve_is_stopped_if_it_can_come_back() {
    let views = views(&[(0, Phase::Full, 2, 2), (1, Phase::Full, 2, 2)]);
    let overdue = Unwell::Overdue(ShardState::Identifying);
    for unwell in [Unwell::Deaf, overdue, Unwell::Blocked] {
        let who = BTreeMap::from([(worker(1), unwell)]);
        let mut sick = Observed {
            unwell: &who,
            ..observed(&views, 0)
        };
        let actions = Reconciler::default().poll(&desired(2, 2, 4), &sick, Tick(0));
        assert_eq!(actions, [stop(1, StopCause::Unwell(unwell))]);
        sick.may_restart = false;
        assert_eq!(Reconciler::default().poll(&desired(2, 2, 4), &sick, Tick(0)), []);
    }
}

#[test]
fn the_next_look_is_when_a_back_off_ends_or_a_registration_is_late_or_a_child_one_too_many() {
    let views = views(&[(0, LATER, 1, 0), (1, YOUNG, 1, 0), (2, Phase::Full, 1, 0)]);
    let mut reconciler = Reconciler::default();
    assert_eq!(
        reconciler.poll_timeout(REGISTER_WITHIN, &views, Tick(100_000)),
        Some(Tick(101_000))
    );
    let spare = self::views(&[(0, Phase::Full, 4, 2), (1, Phase::Full, 4, 2)]);
    reconciler.poll(&desired(2, 4, 4), &observed(&spare, 0), Tick(100_000));
    assert_eq!(
        reconciler.poll_timeout(REGISTER_WITHIN, &spare, Tick(100_000)),
        Some(Tick(110_000))
    );
}

#[test]
fn what_a_restarting_child_gives_back_waits_for_its_next_run() {
    check(9, 4, &[(0, Phase::Restarting, 4, 1)], 3, &[]);
    check(9, 4, &[(0, Phase::Restarting, 4, 1)], 5, &[start(1, 2)]);
}

#[test]
fn a_returning_child_is_started_for_what_it_had_whatever_spares_there_are() {
    let spare = (0, YOUNG, 4, 0);
    check(9, 4, &[spare, (1, Phase::Returning, 4, 0)], 4, &[start(1, 4)]);
    check(9, 4, &[(1, Phase::Returning, 2, 0)], 4, &[start(1, 4)]);
    check(
        9,
        4,
        &[(1, Phase::Returning, 8, 0)],
        8,
        &[start(1, 4), start(0, 4)],
    );
    check(9, 4, &[(1, Phase::Returning, 4, 0)], 0, &[]);
}

#[test]
fn a_returning_child_leaves_what_another_one_gives_back_for_its_own_next_run() {
    let restarting = (0, Phase::Restarting, 4, 0);
    check(9, 4, &[restarting, (1, Phase::Returning, 4, 0)], 4, &[]);
    check(
        9,
        4,
        &[restarting, (1, Phase::Returning, 4, 0)],
        6,
        &[start(1, 2)],
    );
}
