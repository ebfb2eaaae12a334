use super::*;
use crate::id::{Epoch, SessionId, ShardId};
use crate::lease::{BeatReport, Claim, Holder, LeaseTable};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const FLOOR: Duration = Duration::from_secs(120);

fn limits() -> Limits {
    Limits::new(Duration::from_secs(60), Some(FLOOR))
}

/// A shard that became ready at `at`.
fn ready(at: u64) -> Watch {
    let mut watch = Watch::new(Tick(0));
    watch.goes_to(ShardState::Ready, Tick(at));
    watch
}

/// Beats every ten seconds, the last event of each told by `last_event`.
fn beats(watch: &mut Watch, from: u64, to: u64, last_event: impl Fn(u64) -> u64) {
    for at in (from..to).step_by(10 * SECOND as usize) {
        let age = Duration::from_millis(at - last_event(at));
        watch.heard(age, &limits(), Tick(at));
    }
}

fn deaf(watch: &Watch, others_hear: bool, at: u64) -> bool {
    watch.unwell(&limits(), None, |_| others_hear, Tick(at)) == Some(Unwell::Deaf)
}

#[test]
fn a_busy_shard_that_falls_silent_while_others_hear_is_deaf_after_the_floor() {
    let mut watch = ready(0);
    beats(&mut watch, 0, HOUR, |at| at.saturating_sub(300));
    let last = HOUR - 10 * SECOND;
    beats(&mut watch, HOUR, HOUR + 110 * SECOND, |_| last);
    assert!(!deaf(&watch, true, HOUR + 110 * SECOND), "not yet the floor");
    beats(&mut watch, HOUR + 110 * SECOND, HOUR + 140 * SECOND, |_| last);
    assert!(deaf(&watch, true, HOUR + 140 * SECOND));
    assert!(
        !deaf(&watch, false, HOUR + 140 * SECOND),
        "it may be Discord, or night"
    );
}

#[test]
fn a_shard_that_is_known_for_a_day_is_judged_by_itself() {
    let mut watch = ready(0);
    beats(&mut watch, 0, DAY + MINUTE, |at| at.saturating_sub(300));
    beats(&mut watch, DAY + MINUTE, DAY + 4 * MINUTE, |_| DAY);
    assert!(deaf(&watch, false, DAY + 4 * MINUTE));
}

#[test]
fn nobody_is_judged_who_is_not_known_for_long_or_whom_nobody_heard() {
    let mut watch = ready(0);
    beats(&mut watch, 0, 2 * MINUTE, |at| at.saturating_sub(300));
    beats(&mut watch, 2 * MINUTE, 9 * MINUTE, |_| 2 * MINUTE - SECOND);
    assert!(!deaf(&watch, true, 9 * MINUTE));
    let mut mute = ready(0);
    beats(&mut mute, 0, 3 * DAY, |_| 0);
    assert!(!deaf(&mute, true, 3 * DAY));
}

#[test]
fn who_speaks_every_two_hours_may_be_silent_for_seven_and_not_for_nine() {
    let mut watch = ready(0);
    let often = 2 * HOUR;
    beats(&mut watch, 0, 7 * DAY, |at| at / often * often);
    beats(&mut watch, 7 * DAY, 7 * DAY + 7 * HOUR, |_| 7 * DAY);
    assert!(!deaf(&watch, true, 7 * DAY + 7 * HOUR));
    beats(&mut watch, 7 * DAY + 7 * HOUR, 7 * DAY + 9 * HOUR, |_| 7 * DAY);
    assert!(deaf(&watch, false, 7 * DAY + 9 * HOUR));
}

#[test]
fn a_long_gap_is_forgotten_after_a_week() {
    let mut watch = ready(0);
    beats(&mut watch, 0, HOUR, |at| at.saturating_sub(300));
    beats(&mut watch, HOUR, 3 * HOUR, |_| HOUR);
    beats(&mut watch, 3 * HOUR, 2 * DAY, |at| at - 300);
    let at = |day| Tick(day * DAY);
    assert_eq!(
        watch
            .hearing
            .by_itself(FLOOR, at(2))
            .map(|gap| gap.as_secs() / 3600),
        Some(7)
    );
    beats(&mut watch, 2 * DAY, 9 * DAY, |at| at - 300);
    assert_eq!(watch.hearing.by_itself(FLOOR, at(9)), Some(FLOOR));
}

#[test]
fn what_a_deaf_shard_missed_does_not_make_it_used_to_silence() {
    let mut watch = ready(0);
    beats(&mut watch, 0, HOUR, |at| at.saturating_sub(300));
    beats(&mut watch, HOUR, HOUR + 3 * MINUTE, |_| HOUR - 10 * SECOND);
    let now = HOUR + 3 * MINUTE;
    assert_eq!(
        watch.remedy(Unwell::Deaf, true, true, Tick(now)),
        Remedy::Reconnect
    );
    assert!(watch.is_asked());
    watch.goes_to(ShardState::Disconnected, Tick(now));
    watch.goes_to(ShardState::Resuming, Tick(now + 500));
    watch.goes_to(ShardState::Ready, Tick(now + 900));
    assert!(!watch.is_asked() && !deaf(&watch, true, now + 900));
    beats(&mut watch, now + 10 * SECOND, now + MINUTE, |at| at - 300);
    assert_eq!(
        watch.hearing.beside_others(FLOOR, Tick(now + MINUTE)),
        Some(FLOOR)
    );
}

#[test]
fn a_deaf_shard_is_reconnected_three_times_an_hour_and_its_worker_restarted_every_six_hours() {
    let mut watch = ready(0);
    let mut remedies = Vec::new();
    for minute in 0..12 * 60 {
        let remedy = watch.remedy(Unwell::Deaf, true, true, Tick(minute * MINUTE));
        if remedy != Remedy::Nothing {
            remedies.push((remedy, minute));
        }
    }
    let of = |wanted| remedies.iter().filter(|(remedy, _)| *remedy == wanted).count();
    assert_eq!((of(Remedy::Reconnect), of(Remedy::Restart)), (3 * 12, 2));
    assert_eq!(remedies[..4].iter().map(|(_, at)| *at).max(), Some(3));
    assert_eq!(remedies[3].0, Remedy::Restart);
}

#[test]
fn who_can_neither_be_told_nor_restarted_is_left_alone() {
    let mut watch = ready(0);
    assert_eq!(watch.remedy(Unwell::Deaf, false, false, Tick(0)), Remedy::Nothing);
    assert!(!watch.is_asked());
}

#[test]
fn the_time_to_come_up_grows_with_the_guilds_and_has_an_end() {
    let seconds = |guilds| limit(ShardState::Identifying, guilds).map(|limit| limit.as_secs());
    assert_eq!(seconds(Some(2)), Some(61));
    assert_eq!(seconds(Some(1_000)), Some(560));
    for unknown in [None, Some(0), Some(-1)] {
        assert_eq!(seconds(unknown), Some(560), "{unknown:?}");
    }
    assert_eq!(seconds(Some(i64::MAX)), Some(1_310));
    assert_eq!(limit(ShardState::Waiting, Some(0)), None);
}

#[test]
fn attempts_to_come_up_add_up_and_the_wait_for_a_permit_does_not_count() {
    let mut watch = Watch::new(Tick(0));
    watch.goes_to(ShardState::Identifying, Tick(0));
    watch.goes_to(ShardState::Disconnected, Tick(40 * SECOND));
    watch.goes_to(ShardState::Waiting, Tick(41 * SECOND));
    let again = 2 * HOUR;
    watch.goes_to(ShardState::Identifying, Tick(again));
    assert_eq!(watch.due(Some(2)), Some(Tick(again + 21 * SECOND)));
    let unwell = |watch: &Watch, at| watch.unwell(&limits(), Some(2), |_| true, Tick(at));
    assert_eq!(unwell(&watch, again + 20 * SECOND), None);
    let overdue = Unwell::Overdue(ShardState::Identifying);
    let now = again + 21 * SECOND;
    assert_eq!(unwell(&watch, now), Some(overdue));
    assert_eq!(watch.remedy(overdue, true, true, Tick(now)), Remedy::Reconnect);
    assert_eq!(unwell(&watch, now), None, "it gets the full time again");
    let now = now + 61 * SECOND;
    assert_eq!(unwell(&watch, now), Some(overdue));
    assert_eq!(watch.remedy(overdue, true, true, Tick(now)), Remedy::Restart);
}

#[test]
fn a_replay_that_goes_on_is_not_overdue() {
    let mut watch = Watch::new(Tick(0));
    watch.goes_to(ShardState::Resuming, Tick(0));
    beats(&mut watch, 10 * SECOND, 10 * MINUTE, |at| at - 500);
    let at = 10 * MINUTE;
    assert_eq!(watch.unwell(&limits(), Some(2), |_| true, Tick(at)), None);
    let at = at + 56 * SECOND;
    assert!(watch.unwell(&limits(), Some(2), |_| true, Tick(at)).is_some());
}

#[test]
fn a_loop_that_lags_for_half_of_the_lease_time_is_blocked_and_a_stall_of_ours_is_no_proof() {
    let mut watch = ready(0);
    let lag = |watch: &mut Watch, seconds, at| {
        watch.lags(Duration::from_secs(seconds), &limits(), Tick(at));
        watch.unwell(&limits(), None, |_| true, Tick(at)) == Some(Unwell::Blocked)
    };
    assert!(!lag(&mut watch, 6, 0));
    assert!(!lag(&mut watch, 6, 29 * SECOND));
    assert!(lag(&mut watch, 6, 30 * SECOND));
    watch.forgive(Duration::from_secs(3), Tick(31 * SECOND));
    assert!(!lag(&mut watch, 6, 40 * SECOND));
    assert!(lag(&mut watch, 6, 61 * SECOND));
    assert!(!lag(&mut watch, 0, 62 * SECOND), "one beat in time ends it");
}

#[test]
fn a_worker_is_what_its_process_and_its_shards_are() {
    let runs = WorkerSigns {
        runs: true,
        stops: false,
        halted: false,
        rests: false,
        stopped: false,
        lapsed: false,
        crash_looping: false,
        spare: false,
        holding: 2,
        silent: 0,
        blocked: 0,
        until: None,
        registers_by: None,
        killed_at: None,
    };
    let gone = WorkerSigns {
        runs: false,
        until: Some(Tick(7)),
        ..runs
    };
    let cases = [
        (runs, "running", None),
        (
            WorkerSigns {
                holding: 0,
                registers_by: Some(Tick(5)),
                ..runs
            },
            "starting",
            Some(Tick(5)),
        ),
        (WorkerSigns { silent: 2, ..runs }, "silent", None),
        (WorkerSigns { silent: 1, ..runs }, "running", None),
        (WorkerSigns { blocked: 1, ..runs }, "blocked", None),
        (
            WorkerSigns {
                stops: true,
                killed_at: Some(Tick(9)),
                ..runs
            },
            "stopping",
            Some(Tick(9)),
        ),
        (gone, "backing_off", Some(Tick(7))),
        (
            WorkerSigns {
                crash_looping: true,
                ..gone
            },
            "crash_looping",
            Some(Tick(7)),
        ),
        (WorkerSigns { spare: true, ..gone }, "spare", None),
        (WorkerSigns { spare: true, ..runs }, "running", None),
        (WorkerSigns { halted: true, ..gone }, "halted", None),
    ];
    for (signs, expected, until) in cases {
        let (condition, ends) = WorkerCondition::of(&signs);
        assert_eq!((condition.as_str(), ends), (expected, until));
    }
}

#[test]
fn a_held_shard_is_what_its_beats_say_unless_they_stop() {
    let ttl = Duration::from_secs(60);
    let limits = limits();
    let mut table = LeaseTable::new(ShardId::all(1).collect(), ttl, Epoch(1));
    let claim = Claim {
        holder: Holder::External,
        session: SessionId::from_random(1),
        key: None,
    };
    let (shard, _) = table.claim(claim, Duration::from_secs(5), Tick(0)).unwrap();
    let mut watch = Watch::new(Tick(0));
    let words = |table: &LeaseTable, watch: &Watch, draining, deaf, at| {
        let lease = table.lease(shard).unwrap();
        let (condition, since, ends) = Condition::of_held(watch, lease, &limits, draining, deaf, Tick(at));
        (
            condition.as_str(),
            since.0 / SECOND,
            ends.map(|ends| ends.0 / SECOND),
        )
    };
    assert_eq!(
        words(&table, &watch, false, false, 40 * SECOND),
        ("registered", 0, Some(65)),
        "it sleeps until its slot"
    );
    let report = BeatReport {
        state: Some(ShardState::Identifying),
        guild_count: Some(40),
        ..BeatReport::default()
    };
    let session = SessionId::from_random(1);
    table
        .beat(&Holder::External, session, report, Tick(50 * SECOND))
        .unwrap();
    watch.goes_to(ShardState::Identifying, Tick(50 * SECOND));
    let at = 55 * SECOND;
    assert_eq!(
        words(&table, &watch, false, false, at),
        ("identifying", 50, Some(130))
    );
    assert_eq!(words(&table, &watch, true, false, at), ("draining", 50, None));
    assert_eq!(words(&table, &watch, false, true, at).0, "deaf");
    watch.lags(Duration::from_secs(9), &limits, Tick(10 * SECOND));
    assert_eq!(words(&table, &watch, false, true, at), ("blocked", 10, None));
    assert_eq!(
        words(&table, &watch, true, true, 81 * SECOND),
        ("silent", 50, Some(110)),
        "whatever else is known of it"
    );
}
