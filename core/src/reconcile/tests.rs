use super::*;

fn desired(max_workers: u32, shards_per_worker: u32) -> Desired {
    Desired {
        pool: PoolId::discord(),
        max_workers,
        shards_per_worker,
        shards_to_come: 0,
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

#[track_caller]
fn check(max: u32, per: u32, workers: &[(u32, Phase, u32, u32)], uncovered: u32, expected: &[Action]) {
    let views = workers
        .iter()
        .map(|&(index, phase, capacity, holding)| {
            (
                worker(index),
                WorkerView {
                    phase,
                    capacity,
                    holding,
                },
            )
        })
        .collect();
    assert_eq!(
        reconcile(&desired(max, per), &views, &[], uncovered, Tick(100_000)),
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
    let full = |index| {
        (
            worker(index),
            WorkerView {
                phase: Phase::Full,
                capacity: 2,
                holding: 2,
            },
        )
    };
    let rescale = Desired {
        shards_to_come: 7,
        ..desired(4, 4)
    };
    let views = [full(0), full(1)].into();
    assert_eq!(reconcile(&rescale, &views, &[], 2, Tick(0)), [start(2, 3)]);
    assert_eq!(reconcile(&rescale, &views, &[], 0, Tick(0)), []);
}

#[test]
fn a_place_is_not_filled_twice_while_its_old_process_is_not_gone() {
    check(1, 4, &[(0, Phase::Stopping, 4, 0)], 4, &[]);
}

#[test]
fn a_child_that_lost_a_lease_is_stopped() {
    let views = [(
        worker(0),
        WorkerView {
            phase: Phase::Full,
            capacity: 1,
            holding: 0,
        },
    )]
    .into();
    let actions = reconcile(&desired(1, 1), &views, &[worker(0)], 0, Tick(0));
    assert_eq!(actions, [stop(0, StopCause::LeaseLapsed)]);
}

#[test]
fn the_next_look_is_when_a_back_off_ends_or_a_registration_is_late() {
    let view = |phase| WorkerView {
        phase,
        capacity: 1,
        holding: 0,
    };
    let views = [
        (worker(0), view(LATER)),
        (worker(1), view(YOUNG)),
        (worker(2), view(Phase::Full)),
    ]
    .into();
    assert_eq!(poll_timeout(&views, Tick(100_000)), Some(Tick(101_000)));
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
    check(
        9,
        4,
        &[(1, Phase::Returning, 2, 0)],
        4,
        &[start(1, 2), start(0, 2)],
    );
    check(
        9,
        4,
        &[(1, Phase::Returning, 8, 0)],
        8,
        &[start(1, 4), start(0, 4)],
    );
    check(9, 4, &[(1, Phase::Returning, 4, 0)], 0, &[]);
}
