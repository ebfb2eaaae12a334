use super::*;

fn world(seed: u64) -> World {
    let limits = Limits {
        max_concurrency: 1,
        identify_window_ms: 5_000,
        budget_total: 10,
        budget_remaining: 10,
        resume_window_ms: 90_000,
        heartbeat_interval_ms: 41_250,
        guilds: 0,
        token: None,
        seed,
        epoch_ms: 0,
    };
    let network = Network {
        one_way: 1..=40,
        thinking: 10..=20,
    };
    World::new(limits, network)
}

/// Lets time pass; answers with all that was heard.
fn run(world: &mut World, until: u64) -> Vec<(u64, Link, Heard)> {
    let mut all = Vec::new();
    while world.poll_timeout() <= Tick(until) {
        let now = world.poll_timeout();
        all.extend(
            world
                .handle(now)
                .into_iter()
                .map(|(link, heard)| (now.0, link, heard)),
        );
    }
    all
}

fn story(seed: u64) -> Vec<(u64, Link, Heard)> {
    let mut world = world(seed);
    let shard = |number| ShardId::new(number, 2).unwrap();
    let (one, two) = (world.open(false, Tick(0)), world.open(false, Tick(0)));
    let mut all = run(&mut world, 200);
    world.identify(one, shard(0), Tick(200));
    world.identify(two, shard(1), Tick(2_000));
    all.extend(run(&mut world, 3_000));
    let Heard::Ready { session_id } = all[2].2.clone() else {
        panic!("{all:?}")
    };
    world.hang_up(one, None, Tick(3_000));
    let again = world.open(true, Tick(3_000));
    world.resume(again, &session_id, 1, Tick(3_000));
    all.extend(run(&mut world, 20_000));
    assert_eq!(world.report(Tick(20_000)).broken_rule_count, 1);
    all
}

#[test]
fn one_seed_is_one_story_with_the_answers_of_the_real_rules() {
    let told: Vec<_> = story(3).into_iter().map(|(_, _, heard)| heard).collect();
    assert_eq!(told[..2], [Heard::Hello, Heard::Hello]);
    assert!(matches!(told[2], Heard::Ready { .. }));
    assert_eq!(told[3], Heard::InvalidSession { resumable: false }, "too early");
    assert_eq!(told[4..], [Heard::Hello, Heard::Resumed]);
    assert_eq!(story(3), story(3));
    assert_ne!(story(3), story(4));
}

#[test]
fn a_frozen_client_is_cut_off_and_a_fragile_session_dies_with_its_connection() {
    let mut world = world(1);
    let shard = ShardId::new(0, 1).unwrap();
    let link = world.open(false, Tick(0));
    run(&mut world, 100);
    world.identify(link, shard, Tick(100));
    let heard = run(&mut world, 1_000);
    let Heard::Ready { session_id } = heard[0].2.clone() else {
        panic!("{heard:?}")
    };
    world.freeze(link, true);
    let heard = run(&mut world, 120_000);
    assert_eq!(heard.last().unwrap().2, Heard::Closed(Some(4009)));

    world.set_fragile(shard, true);
    let link = world.open(true, Tick(120_000));
    world.resume(link, &session_id, 1, Tick(120_000));
    assert_eq!(run(&mut world, 121_000).last().unwrap().2, Heard::Resumed);
    world.hang_up(link, Some(4000), Tick(121_000));
    let link = world.open(true, Tick(122_000));
    world.resume(link, &session_id, 2, Tick(122_000));
    let heard = run(&mut world, 123_000);
    assert_eq!(
        heard.last().unwrap().2,
        Heard::InvalidSession { resumable: false }
    );
}
