use super::*;
use crate::id::PoolId;

mod canary;

fn worker(index: u32) -> WorkerId {
    WorkerId::new(&PoolId::discord(), index)
}

fn run(index: u32, run: u64) -> WorkerRun {
    WorkerRun {
        worker: worker(index),
        run,
    }
}

fn shard(number: u32) -> ShardId {
    ShardId::new(number, 8).unwrap()
}

fn at(ms: u64) -> Tick {
    Tick(ms)
}

/// Worker `n` holds shards `2n` and `2n + 1`; its first run is run 1.
struct World {
    observed: Observed,
    rolling: Rolling,
}

impl World {
    fn new(workers: u32) -> Self {
        let observed = Observed {
            runs: (0..workers).map(|n| (worker(n), 1)).collect(),
            ..Observed::default()
        };
        let runs = (0..workers).map(|n| run(n, 1)).collect();
        let rolling = Rolling::new(runs, false, &observed, 0);
        Self { observed, rolling }
    }

    fn poll(&mut self, now: u64) -> Vec<Step> {
        let held = |held: &WorkerId| {
            let number = (0..4).find(|n| worker(*n) == *held).unwrap();
            vec![shard(2 * number), shard(2 * number + 1)]
        };
        self.rolling.poll(&self.observed, held, at(now))
    }

    fn away(&mut self, n: u32) {
        self.observed.runs.remove(&worker(n));
        self.observed.unready.extend([shard(2 * n), shard(2 * n + 1)]);
    }

    fn back(&mut self, n: u32, run: u64) {
        self.runs(n, run);
        self.observed
            .unready
            .retain(|other| *other != shard(2 * n) && *other != shard(2 * n + 1));
    }

    fn runs(&mut self, n: u32, run: u64) {
        self.observed.runs.insert(worker(n), run);
    }

    /// The manager dies, and the next one goes on.
    fn crash(&mut self) {
        let stored = serde_json::to_string(self.rolling.record()).unwrap();
        self.rolling = Rolling::restore(serde_json::from_str(&stored).unwrap());
    }
}

fn stop(n: u32) -> Step {
    Step::Stop(run(n, 1))
}

#[test]
fn the_next_is_stopped_only_when_the_fleet_has_been_whole_for_a_while() {
    let mut world = World::new(2);
    assert_eq!(world.poll(0), [stop(0)]);
    assert_eq!(world.poll(100), [], "it is told once");
    assert_eq!(world.rolling.waiting_for(), Some("worker discord-0 to stop"));
    world.away(0);
    assert_eq!(world.poll(500), []);
    assert_eq!(world.rolling.waiting_for(), Some("shards 0/8, 1/8 to be ready"));
    world.back(0, 2);
    assert_eq!(world.poll(1_000), []);
    assert_eq!(world.rolling.poll_timeout(at(1_000)), Some(at(3_000)));
    assert_eq!((world.poll(2_999), world.rolling.done()), (vec![], 0));
    assert_eq!(world.poll(3_000), [Step::Back(worker(0)), stop(1)]);
    assert_eq!(world.rolling.done(), 1);
    world.away(1);
    world.poll(3_500);
    world.back(1, 2);
    world.poll(4_000);
    assert_eq!(world.poll(6_000), [Step::Back(worker(1)), Step::Done]);
    assert_eq!((world.rolling.done(), world.rolling.active()), (2, false));
    assert_eq!(world.rolling.waiting_for(), None);
}

#[test]
fn shards_that_somebody_else_took_are_as_good() {
    let mut world = World::new(1);
    world.poll(0);
    world.away(0);
    world.poll(500);
    world.observed.unready.clear();
    assert_eq!((world.poll(600), world.poll(60_599)), (vec![], vec![]));
    assert_eq!(world.rolling.waiting_for(), Some("worker discord-0 to run"));
    assert_eq!(world.rolling.poll_timeout(at(60_599)), Some(at(60_600)));
    assert_eq!(world.poll(60_600), [Step::Replaced(worker(0)), Step::Done]);
}

#[test]
fn one_whose_shards_others_took_is_back_only_once_it_runs() {
    let mut world = World::new(2);
    world.poll(0);
    world.away(0);
    world.poll(500);
    world.observed.unready.clear();
    assert_eq!(world.poll(600), []);
    world.runs(0, 2);
    world.poll(20_000);
    assert_eq!(world.poll(22_000), [Step::Back(worker(0)), stop(1)]);
    world.away(1);
    world.poll(23_000);
    world.observed.unready.clear();
    world.poll(23_001);
    assert_eq!(world.poll(83_001), [Step::Replaced(worker(1)), Step::Done]);
}

#[test]
fn the_next_one_has_its_turn_when_one_was_replaced() {
    let mut world = World::new(2);
    world.poll(0);
    world.away(0);
    world.poll(500);
    world.observed.unready.clear();
    world.poll(600);
    assert_eq!(world.poll(60_600), [Step::Replaced(worker(0)), stop(1)]);
}

#[test]
fn any_shard_that_is_away_holds_up_the_next_worker() {
    let mut world = World::new(2);
    world.poll(0);
    world.away(0);
    world.observed.unready.insert(shard(7));
    world.poll(500);
    world.back(0, 2);
    assert_eq!(world.poll(1_000), []);
    assert_eq!(world.poll(600_000), [], "calmly, and for as long as it takes");
    assert_eq!(world.rolling.paused(), None, "the restart is not to blame");
    world.observed.unready.clear();
    assert_eq!(world.poll(600_001), []);
    assert_eq!(world.poll(602_001), [Step::Back(worker(0)), stop(1)]);
}

#[test]
fn a_new_process_that_ends_pauses_the_restart_with_one_word() {
    let mut world = World::new(2);
    world.poll(0);
    world.away(0);
    world.poll(500);
    let told = world.rolling.ended(&run(0, 1), "exit code 0");
    assert_eq!(told, None, "the old one was to end");
    let told = world.rolling.ended(&run(0, 2), "exit code 1");
    let reason = "worker discord-0 ended after its restart: exit code 1";
    assert_eq!(told, Some(Step::Paused(reason.to_owned())));
    assert_eq!(world.rolling.ended(&run(0, 3), "exit code 1"), None, "once");
    assert_eq!(world.poll(700_000), []);
    assert_eq!(world.rolling.paused(), Some(reason));

    world.observed.unready.clear();
    assert_eq!(world.poll(700_001), []);
    assert_eq!(
        world.poll(800_000),
        [],
        "that others hold its shards says nothing of the new version"
    );
    world.back(0, 4);
    world.poll(800_001);
    assert_eq!(world.poll(810_000), []);
    assert_eq!(
        world.poll(810_001),
        [Step::GoesOn, Step::Back(worker(0)), stop(1)],
        "it goes on by itself"
    );
}

#[test]
fn a_process_that_ends_soon_after_it_was_ready_has_failed_as_well() {
    let mut world = World::new(2);
    world.poll(0);
    world.away(0);
    world.poll(500);
    world.back(0, 2);
    world.poll(600);
    world.away(0);
    assert!(world.rolling.ended(&run(0, 2), "exit code 1").is_some());
    assert_eq!(world.poll(2_600), []);
}

#[test]
fn a_worker_that_ends_when_another_one_has_its_turn_pauses_the_restart_too() {
    let mut world = World::new(3);
    world.poll(0);
    world.away(0);
    world.poll(1);
    world.back(0, 2);
    world.poll(2);
    assert_eq!(world.poll(2_002), [Step::Back(worker(0)), stop(1)]);
    world.away(1);
    world.away(0);
    assert!(world.rolling.ended(&run(0, 2), "exit code 1").is_some());
    world.back(1, 2);
    assert_eq!(world.poll(3_000), []);
    world.observed.unready.clear();
    assert_eq!(world.poll(60_000), []);
    assert_eq!(world.rolling.waiting_for(), Some("worker discord-0 to run"));
    world.back(0, 3);
    world.poll(61_000);
    assert_eq!(world.poll(71_000), [Step::GoesOn, Step::Back(worker(1)), stop(2)]);
}

#[test]
fn a_new_process_may_take_its_time_as_long_as_it_makes_progress() {
    let mut world = World::new(2);
    world.poll(0);
    world.away(0);
    world.poll(1_000);
    world.runs(0, 2);
    world.observed.unready.remove(&shard(0));
    assert_eq!(world.poll(50_000), []);
    assert_eq!(world.rolling.poll_timeout(at(50_000)), Some(at(110_000)));
    assert_eq!(world.poll(109_999), []);
    let reason = "worker discord-0 is not ready 60 s after its restart: it waits for shard 1/8 to be ready";
    assert_eq!(world.poll(110_000), [Step::Paused(reason.to_owned())]);
    assert_eq!(world.poll(110_001), [], "once");
}

#[test]
fn the_next_manager_goes_on_where_this_one_stopped() {
    let mut world = World::new(3);
    world.poll(0);
    world.crash();
    assert_eq!(world.poll(0), [stop(0)], "its signal may never have been sent");
    world.away(0);
    world.crash();
    assert_eq!(world.poll(10), []);
    world.back(0, 2);
    world.poll(20);
    assert_eq!(world.poll(2_020), [Step::Back(worker(0)), stop(1)]);
    world.away(1);
    world.back(1, 2);
    world.crash();
    world.runs(2, 9);
    world.poll(0);
    assert_eq!(
        world.poll(2_000),
        [Step::Back(worker(1)), Step::Done],
        "the third was replaced meanwhile"
    );
}

#[test]
fn a_pause_survives_a_crash_and_is_not_told_again() {
    let mut world = World::new(2);
    world.poll(0);
    world.away(0);
    world.poll(1);
    world.rolling.ended(&run(0, 2), "exit code 1").unwrap();
    world.crash();
    assert_eq!(world.rolling.ended(&run(0, 3), "exit code 1"), None);
    assert!(world.rolling.paused().is_some());
}

#[test]
fn a_restart_of_a_fleet_that_is_not_whole_waits_a_minute_for_it() {
    let mut world = World::new(2);
    world.observed.unready.insert(shard(7));
    assert_eq!(world.poll(0), []);
    assert_eq!(world.poll(59_999), []);
    let excused = Step::Excused("shard 7/8 to be ready".to_owned());
    assert_eq!(world.poll(60_000), [excused, stop(0)]);
    world.away(0);
    world.poll(60_001);
    world.back(0, 2);
    world.poll(61_000);
    assert_eq!(world.poll(63_000), [Step::Back(worker(0)), stop(1)]);
}

#[test]
fn a_named_worker_is_restarted_at_once() {
    let mut world = World::new(2);
    world.observed.unready.insert(shard(0));
    world.rolling = Rolling::new(vec![run(0, 1)], true, &world.observed, 0);
    assert_eq!(world.poll(0), [stop(0)]);
}

#[test]
fn nothing_is_stopped_that_could_not_be_started_again() {
    let mut world = World::new(2);
    world.observed.hold = Some("the disk is full".to_owned());
    assert_eq!(world.poll(0), []);
    assert_eq!(world.rolling.waiting_for(), Some("the disk is full"));
    world.observed.hold = None;
    assert_eq!(world.poll(1), [stop(0)]);
    world.rolling.not_stopped();
    assert_eq!((world.rolling.done(), world.poll(2)), (0, vec![stop(0)]));
}

#[test]
fn a_cancelled_restart_stops_nobody_any_more() {
    let mut world = World::new(3);
    world.poll(0);
    world.rolling.cancel();
    world.away(0);
    world.back(0, 2);
    assert_eq!((world.poll(10), world.poll(10_000)), (vec![], vec![]));
    assert!(!world.rolling.active());
    assert_eq!((world.rolling.done(), world.rolling.record().total), (0, 3));
    assert_eq!(world.rolling.ended(&run(0, 2), "exit code 1"), None);
}
