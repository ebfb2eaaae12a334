//! Places that an operator stopped.

use super::*;

const STOPPED: Phase = Phase::Stopped;
const FULL: Phase = Phase::Full;

#[test]
fn a_stopped_worker_is_not_started_and_nobody_takes_its_place() {
    check(1, 4, &[(0, STOPPED, 4, 0)], 4, &[]);
    check(2, 4, &[(0, FULL, 4, 4), (1, STOPPED, 4, 0)], 4, &[]);
}

#[test]
fn what_it_held_is_for_whoever_has_room() {
    // One that runs and has room takes it by itself.
    check(2, 8, &[(0, YOUNG, 8, 4), (1, STOPPED, 4, 0)], 4, &[]);
    // Another place is opened where `WORKERS` allows one.
    check(3, 4, &[(0, FULL, 4, 4), (1, STOPPED, 4, 0)], 4, &[start(2, 4)]);
    // Where it does not, who is smaller than it may be is started larger.
    let room = stop(0, StopCause::Room);
    check(2, 8, &[(0, FULL, 4, 4), (1, STOPPED, 4, 0)], 4, &[room]);
    // It waits for nobody else, as that of one that comes back would.
    check(2, 4, &[(0, DUE, 4, 0), (1, STOPPED, 4, 0)], 8, &[start(0, 4)]);
}

#[test]
fn a_stopped_worker_beyond_the_limit_keeps_nobody_from_a_place() {
    check(1, 4, &[(0, DUE, 4, 0), (1, STOPPED, 4, 0)], 4, &[start(0, 4)]);
    check(1, 4, &[(3, STOPPED, 4, 0)], 4, &[start(0, 4)]);
}

#[test]
fn one_that_is_wanted_again_is_started_for_what_is_left() {
    check(2, 4, &[(0, FULL, 4, 4), (1, DUE, 4, 0)], 4, &[start(1, 4)]);
    check(2, 4, &[(0, FULL, 4, 4), (1, DUE, 4, 0)], 0, &[]);
}
