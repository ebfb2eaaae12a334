use super::*;
use crate::id::PoolId;

const MOMENT: u64 = 10_000;
const WINDOW: u64 = 60_000;

fn worker(index: u32) -> WorkerId {
    WorkerId::new(&PoolId::discord(), index)
}

/// Children of one shard each; a lapsed one is away from its kill on until it is
/// said to be back.
struct World {
    brake: Brake,
    children: u32,
    lapsed: BTreeMap<WorkerId, Lapsed>,
    away: BTreeSet<WorkerId>,
    signs: Signs,
}

impl World {
    fn new(children: u32) -> Self {
        Self {
            brake: Brake::new(Settings {
                at_once: None,
                window: Duration::from_millis(WINDOW),
                moment: Duration::from_millis(MOMENT),
            }),
            children,
            lapsed: BTreeMap::new(),
            away: BTreeSet::new(),
            signs: Signs::default(),
        }
    }

    fn lapse(&mut self, workers: impl IntoIterator<Item = u32>) {
        for index in workers {
            let shards = vec![ShardId::new(index, 1_000).unwrap()];
            self.lapsed.insert(worker(index), Lapsed { run: 1, shards });
        }
    }

    fn poll(&mut self, now: u64) -> Vec<Step> {
        let observed = Observed {
            children: self.children,
            lapsed: &self.lapsed,
            signs: &self.signs,
        };
        let away = self.away.clone();
        let fate = |worker: &WorkerId, _: &Killed| match away.contains(worker) {
            true => Fate::Away,
            false => Fate::Back,
        };
        let steps = self.brake.poll(&observed, fate, Tick(now));
        for step in &steps {
            if let Step::Kill(worker) = step {
                self.lapsed.remove(worker);
                self.away.insert(worker.clone());
            }
        }
        steps
    }

    fn kills(&mut self, now: u64) -> Vec<WorkerId> {
        let kills = self.poll(now).into_iter().filter_map(|step| match step {
            Step::Kill(worker) => Some(worker),
            Step::Begins(_) | Step::Ends(_) => None,
        });
        kills.collect()
    }
}

fn workers(range: std::ops::Range<u32>) -> Vec<WorkerId> {
    let mut workers: Vec<_> = range.map(worker).collect();
    workers.sort();
    workers
}

#[test]
fn a_few_are_killed_at_once_and_nothing_is_said() {
    let mut world = World::new(16);
    world.lapse(0..4);
    assert_eq!(
        world.poll(0),
        workers(0..4).into_iter().map(Step::Kill).collect::<Vec<_>>()
    );
    assert_eq!(world.brake.words(), None);
    assert!(!world.brake.is_on());
}

#[test]
fn the_next_waits_until_one_is_back_or_has_had_its_time() {
    let mut world = World::new(39);
    world.lapse(0..5);
    assert_eq!(world.kills(0), workers(0..4));
    assert_eq!(world.poll(59_999), []);
    assert!(
        world.brake.words().unwrap().starts_with("1 workers"),
        "{:?}",
        world.brake.words()
    );
    world.away.remove(&worker(2));
    assert_eq!(world.kills(59_999), [worker(4)]);
    world.lapse([9]);
    assert_eq!(world.kills(59_999), [], "three of the first wave are away yet");
    assert_eq!(world.brake.poll_timeout(Tick(59_999)), Some(Tick(60_000)));
    assert_eq!(world.kills(60_000), [worker(9)]);
}

#[test]
fn a_tenth_of_a_large_fleet_may_be_away_at_once_or_what_was_set() {
    let mut world = World::new(200);
    world.lapse(0..49);
    assert_eq!(world.kills(0).len(), 20);
    assert!(!world.brake.is_on(), "a quarter would be many");
    let mut world = World::new(200);
    world.brake.settings.at_once = Some(3);
    world.lapse(0..49);
    assert_eq!(world.kills(0).len(), 3);
}

#[test]
fn many_wait_for_a_moment_and_then_go_in_waves() {
    let mut world = World::new(200);
    world.lapse(0..200);
    let began = world.poll(0);
    let words =
        "200 of 200 workers lapsed within 0 s; no common cause is known; kills are held, then 20 at a time";
    assert_eq!(began, [Step::Begins(words.to_owned())], "one word for all");
    assert_eq!(world.brake.poll_timeout(Tick(0)), Some(Tick(MOMENT)));
    assert_eq!(world.poll(MOMENT - 1), []);
    for wave in 0..10 {
        let now = MOMENT + wave * 1_000;
        assert_eq!(world.kills(now).len(), 20, "wave {wave}");
        let straggler = world.away.pop_last().unwrap();
        world.away = BTreeSet::from([straggler]);
        assert_eq!(
            world.poll(now + 500),
            [],
            "a wave is over when all of it are back"
        );
        if wave < 9 {
            world.away.clear();
        }
    }
    assert!(
        world
            .brake
            .words()
            .unwrap()
            .ends_with("0 wait, 20 are killed at a time")
    );
    world.away.clear();
    let ended = world.poll(30_000);
    assert!(
        matches!(&ended[..], [Step::Ends(text)] if text.contains("200 of 200") && text.contains("200 were killed")),
        "{ended:?}"
    );
    assert!(world.brake.is_idle());
    assert_eq!(world.brake.poll_timeout(Tick(30_000)), None);
}

#[test]
fn who_gives_its_lost_shards_up_is_not_killed() {
    let mut world = World::new(10);
    world.lapse(0..10);
    assert_eq!(world.poll(0).len(), 1);
    world.lapsed.clear();
    assert_eq!(world.poll(2_000), [], "it stays on for a moment: more may follow");
    assert_eq!(world.kills(MOMENT), []);
    assert!(!world.brake.is_on());
}

#[test]
fn lapses_that_come_one_after_the_other_are_together_within_the_window() {
    let mut world = World::new(200);
    for index in 0..49 {
        world.lapse([index]);
        world.kills(u64::from(index) * 1_000);
        world.away.clear();
    }
    world.lapse([49]);
    let steps = world.poll(49_000);
    assert!(
        matches!(&steps[..], [Step::Begins(text)] if text.starts_with("50 of 200 workers lapsed within 49 s")),
        "{steps:?}"
    );
    let mut world = World::new(200);
    for index in 0..100 {
        world.lapse([index]);
        assert_eq!(
            world.kills(u64::from(index) * 2_000).len(),
            1,
            "no more than 31 in a minute"
        );
        world.away.clear();
    }
}

#[test]
fn a_starved_host_has_up_to_a_window_to_recover() {
    let mut world = World::new(8);
    world.signs.host.cpu = Some(93.4);
    world.lapse(0..8);
    let steps = world.poll(0);
    assert!(
        matches!(&steps[..], [Step::Begins(text)] if text.contains("the host is starved (cpu pressure 93 %)")),
        "{steps:?}"
    );
    assert_eq!(world.kills(WINDOW - 1), []);
    assert_eq!(world.kills(WINDOW).len(), 4);
    assert!(world.brake.words().unwrap().contains("pressure 93 %"));

    let mut world = World::new(8);
    world.signs.host.memory = Some(30.0);
    world.lapse(0..8);
    world.poll(0);
    world.signs = Signs::default();
    assert_eq!(world.kills(MOMENT).len(), 4);
    assert!(
        world.brake.words().unwrap().contains("memory pressure 30 %"),
        "what was found stays told"
    );
}

#[test]
fn what_speaks_for_another_cause_is_told() {
    let began = |signs: Signs, stall: u64| {
        let mut world = World::new(8);
        world.signs = signs;
        world.brake.stalled(Duration::from_millis(stall), Tick(0));
        world.lapse(0..8);
        match world.poll(1_000).remove(0) {
            Step::Begins(text) => text.split("; ").nth(1).unwrap().to_owned(),
            other @ (Step::Kill(_) | Step::Ends(_)) => panic!("{other:?}"),
        }
    };
    let signs = Signs::default();
    assert_eq!(began(signs, 2_500), "the manager itself was held up for 2.5 s");
    let cut_off = Signs {
        leased: 10,
        disconnected: 5,
        ..signs
    };
    assert_eq!(
        began(cut_off, 0),
        "Discord keeps no connection (5 of 10 shards are disconnected)"
    );
    assert_eq!(
        began(
            Signs {
                disconnected: 4,
                ..cut_off
            },
            0
        ),
        "no common cause is known"
    );
    assert_eq!(
        began(
            Signs {
                discord_away: true,
                ..signs
            },
            0
        ),
        "Discord cannot be asked"
    );
    let load = HostSigns {
        load: Some(5.0),
        ..HostSigns::default()
    };
    assert_eq!(
        began(
            Signs {
                host: load,
                ..cut_off
            },
            0
        ),
        "the host is starved (5.0 tasks for each core)"
    );
}

#[test]
fn a_replacement_that_lapses_as_well_gives_its_place_to_another_kill() {
    let mut world = World::new(8);
    world.lapse(0..4);
    assert_eq!(world.kills(0).len(), 4);
    world.lapsed.insert(
        worker(0),
        Lapsed {
            run: 2,
            shards: Vec::new(),
        },
    );
    assert_eq!(world.kills(30_000), [], "it is the fifth within the window");
    assert!(world.brake.is_on());
}

#[test]
fn what_an_earlier_manager_may_have_killed_counts() {
    let mut world = World::new(39);
    for index in 10..14 {
        world.brake.suspect(worker(index), Tick(0));
        world.away.insert(worker(index));
    }
    world.lapse([0]);
    assert_eq!(world.kills(0), []);
    world.away.clear();
    assert_eq!(world.kills(1), [worker(0)]);
}
