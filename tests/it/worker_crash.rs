//! Workers that die and workers that freeze.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Shardman, Sim, eventually, let_pass, seconds, signal};

#[test]
fn a_killed_worker_is_replaced_and_resumes_without_losing_an_event() {
    let sim = Sim::start(4, 4, &["--events-per-second", "200"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
        ("MAX_SECONDS", "6"),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    let unheard = sim.report().unheard;
    let mut times = Vec::new();
    for round in 1..=5 {
        // Resume points travel with the beats, one a second here.
        let_pass(seconds(1.5));
        let before = sim.report();
        let (worker, pid) = shardman.workers().remove(0);
        let killed = Instant::now();
        signal(pid, Signal::KILL);
        eventually(seconds(20.0), "both shards of the worker resumed", || {
            (sim.report().resume_count >= before.resume_count + 2).then_some(())
        });
        times.push(killed.elapsed());
        assert!(
            shardman
                .workers()
                .iter()
                .all(|(name, other)| *name != worker || *other != pid)
        );
        assert_eq!(
            sim.report().identify_count,
            4,
            "round {round}: a death costs no identify"
        );
        shardman.wait_ready(seconds(10.0));
        // Stay up long enough that the next death is not a crash loop's.
        if round < 5 {
            let_pass(Duration::from_millis(500));
        }
    }
    sim.load(0.0);
    let_pass(seconds(0.5));
    let report = sim.report();
    sim.assert_clean();
    assert_eq!(report.events_total.lost, 0, "{:?}", report.events_total);
    assert_eq!(report.unheard, unheard, "no shard was ever without a session");
    assert!(report.events_total.delivered > 500);
    assert_eq!(report.events_total.pending, 0);
    eprintln!("kill -9 to resumed: {times:?}");
    assert!(shardman.stop().success());
}

#[test]
fn a_frozen_worker_is_replaced_in_time_and_its_shard_never_has_two_holders() {
    let sim = Sim::start(2, 2, &[]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "1"),
        ("MAX_SECONDS", "4"),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    let (name, pid) = shardman.workers().remove(0);
    let frozen = Instant::now();
    signal(pid, Signal::STOP);
    let next = eventually(seconds(4.0 + 2.0), "another process in its place", || {
        shardman
            .workers()
            .into_iter()
            .find(|(other, next)| *other == name && *next != pid)
    });
    eprintln!("SIGSTOP to respawn: {:?} with MAX_SECONDS 4", frozen.elapsed());
    assert_ne!(next.1, pid);
    shardman.wait_ready(seconds(20.0));
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_that_is_cut_off_from_its_manager_leaves_its_gateway_by_itself() {
    let sim = Sim::start(1, 1, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("MAX_SECONDS", "4"),
    ]);
    shardman.wait_ready(seconds(20.0));
    let workers = shardman.workers();
    let manager = shardman.pid();
    signal(manager, Signal::STOP);
    let cut = Instant::now();
    eventually(seconds(4.0), "the gateway connection ends", || {
        (sim.report().connections.live == 0).then_some(())
    });
    eprintln!("cut off to closed: {:?} with MAX_SECONDS 4", cut.elapsed());
    signal(manager, Signal::CONT);
    eventually(seconds(10.0), "it resumes the same shard", || {
        (sim.report().resume_count == 1).then_some(())
    });
    shardman.wait_ready(seconds(5.0));
    assert_eq!(sim.report().identify_count, 1);
    assert_eq!(
        shardman.workers(),
        workers,
        "nobody was killed for the manager's absence"
    );
    sim.assert_clean();
    assert!(shardman.stop().success());
}
