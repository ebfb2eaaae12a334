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

#[test]
fn a_command_that_keeps_failing_is_slowed_down_and_its_last_words_are_told() {
    let settings = [
        ("MAX_SHARDS", "1"),
        ("WORKER_COMMAND", "echo these are my last words; exit 3"),
    ];
    let mut shardman = Shardman::up(&settings);
    let worker = eventually(seconds(10.0), "a crash loop", || {
        shardman
            .fleet()
            .workers
            .into_iter()
            .find(|worker| worker.exits >= 4 && worker.restart_in.is_some())
    });
    assert_eq!(
        (worker.state.as_str(), worker.last_exit.as_deref()),
        ("backing_off", Some("exit code 3"))
    );
    assert!(worker.restart_in.is_some_and(|pause| pause > 0.5), "{worker:?}");
    let log = shardman.log();
    let ends = log.matches("ended: exit code 3").count();
    assert_eq!(
        log.matches("said: these are my last words").count(),
        ends,
        "each run's own words"
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_command_with_a_wrong_configuration_is_not_tried_again() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKER_COMMAND", "exit 78")]);
    let halted = || {
        shardman
            .fleet()
            .workers
            .into_iter()
            .find(|worker| worker.state == "halted")
    };
    eventually(seconds(10.0), "it is halted", halted);
    let_pass(seconds(2.0));
    assert_eq!(shardman.log().matches("discord-0 runs").count(), 1);
    assert!(
        shardman.fleet().trouble[0].contains("halted"),
        "{:?}",
        shardman.fleet().trouble
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_grandchild_does_not_outlive_its_worker() {
    // The shell is the worker; it leaves a child in its group and dies.
    let command = "sleep 1000 & echo left $!; exec sleep 0.3";
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKER_COMMAND", command)]);
    let log = shardman.folder().join("data/logs/discord-0.log");
    let left: i32 = eventually(seconds(10.0), "the grandchild", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines().next()?.strip_prefix("left ")?.parse().ok()
    });
    eventually(seconds(5.0), "the grandchild is gone with its worker", || {
        let state = std::fs::read_to_string(format!("/proc/{left}/stat")).ok();
        state.is_none_or(|state| state.contains(") Z ")).then_some(())
    });
    assert!(shardman.stop().success());
}
