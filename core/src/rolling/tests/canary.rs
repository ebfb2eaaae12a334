//! The first worker proves itself, and an operator holds a restart.

use super::*;

fn with_canary(workers: u32, seconds: u64) -> World {
    let mut world = World::new(workers);
    let runs = (0..workers).map(|n| run(n, 1)).collect();
    world.rolling = Rolling::new(runs, false, &world.observed, 0).with_canary(Duration::from_secs(seconds));
    world
}

fn restart(world: &mut World, n: u32, now: u64) {
    world.away(n);
    world.poll(now);
    world.back(n, 2);
    assert_eq!(world.poll(now + 1), []);
}

#[test]
fn the_rest_waits_until_the_canary_has_been_healthy_for_so_long() {
    let mut world = with_canary(3, 30);
    assert_eq!(world.poll(0), [stop(0)]);
    restart(&mut world, 0, 100);
    let words = "the canary, worker discord-0, to stay healthy for 30 s";
    assert_eq!(world.rolling.waiting_for(), Some(words));
    assert_eq!(world.rolling.poll_timeout(at(101)), Some(at(30_101)));
    assert_eq!(world.poll(30_100), []);
    assert_eq!(world.poll(30_101), [Step::Back(worker(0)), stop(1)]);
    restart(&mut world, 1, 31_000);
    assert_eq!(
        world.poll(33_001),
        [Step::Back(worker(1)), stop(2)],
        "one is enough"
    );
}

#[test]
fn a_canary_that_ends_stops_the_restart_until_an_operator_goes_on() {
    let mut world = with_canary(2, 30);
    world.poll(0);
    restart(&mut world, 0, 100);
    world.away(0);
    let reason = "worker discord-0 ended after its restart: exit code 1";
    assert_eq!(
        world.rolling.ended(&run(0, 2), "exit code 1"),
        Some(Step::Paused(reason.to_owned()))
    );
    assert!(world.rolling.needs_an_operator());
    world.back(0, 3);
    assert_eq!(world.poll(20_000), []);
    world.crash();
    assert_eq!(
        world.poll(1_000_000),
        [],
        "however well it is now, and over a crash"
    );
    assert_eq!(world.rolling.paused(), Some(reason));
    assert_eq!(world.rolling.ended(&run(0, 3), "exit code 1"), None, "said once");

    world.rolling.go_on();
    assert!(!world.rolling.needs_an_operator());
    assert_eq!(world.poll(1_000_001), []);
    assert_eq!(world.poll(1_002_001), [Step::Back(worker(0)), stop(1)]);
}

#[test]
fn a_canary_that_is_not_ready_in_time_has_failed_as_well() {
    let mut world = with_canary(2, 5);
    world.poll(0);
    world.away(0);
    world.poll(100);
    world.runs(0, 2);
    assert_eq!(world.poll(60_099), []);
    let paused = world.poll(60_100);
    assert!(matches!(&paused[..], [Step::Paused(_)]), "{paused:?}");
    world.back(0, 2);
    assert_eq!((world.poll(70_000), world.poll(90_000)), (vec![], vec![]));
}

#[test]
fn a_canary_may_lose_its_connection_but_not_again_and_again() {
    let mut world = with_canary(2, 30);
    world.poll(0);
    restart(&mut world, 0, 0);
    for fall in 1..=3u64 {
        world.observed.unready.insert(shard(7));
        assert_eq!(
            world.poll(fall * 10_000),
            [],
            "another one's shard is not its fault"
        );
        world.observed.unready.insert(shard(1));
        let steps = world.poll(fall * 10_000 + 1);
        if fall < 3 {
            assert_eq!(steps, []);
        } else {
            let reason =
                "the shards of worker discord-0 did not stay ready after its restart: they were away 3 times";
            assert_eq!(steps, [Step::Paused(reason.to_owned())]);
        }
        world.observed.unready.clear();
        assert_eq!(world.poll(fall * 10_000 + 2), []);
    }
    assert_eq!(world.poll(600_000), []);
    assert!(world.rolling.needs_an_operator());
}

#[test]
fn a_failure_after_the_canary_was_found_well_heals_by_itself() {
    let mut world = with_canary(3, 30);
    world.poll(0);
    restart(&mut world, 0, 0);
    assert_eq!(world.poll(30_001), [Step::Back(worker(0)), stop(1)]);
    restart(&mut world, 1, 31_000);
    world.away(1);
    assert!(world.rolling.ended(&run(1, 2), "exit code 1").is_some());
    assert!(!world.rolling.needs_an_operator());
    world.back(1, 3);
    world.poll(40_000);
    assert_eq!(world.poll(50_000), [Step::GoesOn, Step::Back(worker(1)), stop(2)]);
}

#[test]
fn on_hold_the_current_one_comes_back_and_no_other_is_stopped() {
    let mut world = World::new(3);
    world.poll(0);
    world.rolling.hold();
    world.away(0);
    world.poll(100);
    world.crash();
    world.back(0, 2);
    world.poll(200);
    assert_eq!(world.poll(2_200), [Step::Back(worker(0))]);
    assert_eq!(world.poll(900_000), []);
    assert!(world.rolling.needs_an_operator() && world.rolling.active());
    assert_eq!(world.rolling.paused(), None, "nobody failed");
    let words = world.rolling.waiting_for().unwrap();
    assert!(words.contains("--continue"), "{words}");
    world.crash();
    assert_eq!(world.poll(900_001), [], "the next manager holds it as well");
    world.rolling.go_on();
    assert_eq!(world.poll(900_002), [stop(1)]);
}

#[test]
fn a_restart_that_is_on_hold_can_be_cancelled() {
    let mut world = World::new(2);
    world.rolling.hold();
    assert_eq!(world.poll(0), []);
    world.rolling.cancel();
    world.rolling.go_on();
    assert_eq!(world.poll(1), []);
    assert!(!world.rolling.active());
}

#[test]
fn a_canary_that_never_ran_has_not_passed_although_others_hold_its_shards() {
    let mut world = with_canary(2, 30);
    world.poll(0);
    world.away(0);
    world.poll(100);
    world.observed.unready.clear();
    assert_eq!((world.poll(200), world.poll(60_199)), (vec![], vec![]));
    let reason = "worker discord-0 has not run again 60 s after it was stopped: others hold its shards, so its next run has shown nothing";
    assert_eq!(world.poll(60_200), [Step::Paused(reason.to_owned())]);
    assert!(world.rolling.needs_an_operator());
    assert_eq!(world.poll(600_000), [], "until an operator decides");
    world.rolling.go_on();
    assert_eq!(world.poll(600_001), [Step::Replaced(worker(0)), stop(1)]);
}
