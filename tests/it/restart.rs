//! Planned restarts: one worker at a time, nothing lost, and never a second
//! worker where the first did not come back.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use shardman_core::wire::RestartView;

use crate::support::{
    Program, Response, Shardman, Sim, call, eventually, get, let_pass, post, seconds, webhook,
};

/// No shard may be away longer.
const AWAY_AT_MOST_MS: u64 = 2_000;

fn restart_command(manager: &Shardman, args: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", manager.address);
    let mut program = Program::shardman(&["restart", "--url", &url]).dir(manager.folder());
    for arg in args {
        program = program.arg(arg);
    }
    program.env("SECRET", "test-secret").run()
}

fn begin(manager: &Shardman) -> Response {
    post(manager.address, "/fleet/restart", "test-secret", "")
}

fn cancel(manager: &Shardman) -> Response {
    let secret = [("Authorization", "test-secret")];
    call(manager.address, "DELETE", "/fleet/restart", &secret, None)
}

fn restart(manager: &Shardman) -> RestartView {
    manager.fleet().restart.expect("a restart was asked for")
}

/// The worker of each shard, by number.
fn holders(manager: &Shardman) -> BTreeMap<u32, String> {
    let shards = manager.fleet().shards.into_iter();
    shards
        .filter_map(|shard| Some((shard.shard.number(), shard.worker?)))
        .collect()
}

/// Everything is delivered, nothing lost, every shard back in time, and the
/// shards that were away at once were one worker's.
#[track_caller]
fn assert_nothing_was_lost(sim: &Sim, holders: &BTreeMap<u32, String>) {
    sim.load(0.0);
    eventually(seconds(5.0), "everything is delivered", || {
        (sim.report().events_total.pending == 0).then_some(())
    });
    let report = sim.report();
    assert_eq!(report.resume_failures, 0);
    assert_eq!(
        (report.events_total.lost, report.unheard),
        (0, 0),
        "{:?}",
        report.events_total
    );
    let mut times: Vec<_> = report.longest_absence_ms.values().copied().collect();
    times.sort_unstable();
    eprintln!("away, in ms, by shard: {times:?}");
    assert!(times.iter().all(|ms| *ms <= AWAY_AT_MOST_MS), "{times:?}");
    for (number, one) in report.absences.iter().enumerate() {
        for other in &report.absences[..number] {
            let apart = one.from_ms >= other.to_ms.unwrap_or(u64::MAX)
                || other.from_ms >= one.to_ms.unwrap_or(u64::MAX);
            assert!(
                apart || holders[&one.shard] == holders[&other.shard],
                "two workers away at once: {one:?} {other:?}"
            );
        }
    }
    sim.assert_clean();
}

#[test]
fn a_fleet_of_thirty_two_shards_is_restarted_and_loses_nothing() {
    let sim = Sim::start(32, 16, &["--events-per-second", "200"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "8"),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    // What the start cost is another test's subject.
    sim.reset_report();
    let (before, held) = (shardman.workers(), holders(&shardman));
    assert_eq!(before.len(), 4);

    let began = Instant::now();
    let (code, said, error) = restart_command(&shardman, &["--all"]);
    assert_eq!(code, 0, "{said}{error}");
    eprintln!("32 shards in 4 workers restarted in {:?}", began.elapsed());
    assert_eq!(said.matches("restarting discord-").count(), 4, "{said}");
    assert!(said.ends_with("done: 4 of 4 workers\n"), "{said}");

    let fleet = shardman.fleet();
    assert_eq!((fleet.ready, fleet.workers.len()), (32, 4));
    assert!(
        fleet.workers.iter().all(|worker| worker.exits == 0),
        "no restart counts as a crash"
    );
    let after = shardman.workers();
    let names = |workers: &[(String, i32)]| workers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "the same places");
    assert!(
        after.iter().all(|worker| !before.contains(worker)),
        "other processes"
    );
    let report = sim.report();
    assert_eq!((report.identify_count, report.resume_count), (0, 32));
    assert_nothing_was_lost(&sim, &held);
    assert!(shardman.stop().success());
}

#[test]
fn a_restart_outlives_its_manager() {
    let sim = Sim::start(12, 12, &["--events-per-second", "100"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "3"),
        ("MAX_SECONDS", "10"),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    let before = shardman.workers();
    assert_eq!(before.len(), 4);
    assert_eq!(begin(&shardman).status, 202);
    // With a worker on its way down, on its way up, and between two of them.
    for pause in [0.02, 0.3, 2.25, 2.1, 0.1, 2.6] {
        let_pass(seconds(pause));
        shardman.kill();
        shardman.start();
    }
    eventually(seconds(60.0), "it is done", || {
        (restart(&shardman).state == "done").then_some(())
    });
    shardman.wait_ready(seconds(10.0));
    let after = shardman.workers();
    assert_eq!(after.len(), 4);
    assert!(
        after.iter().all(|worker| !before.contains(worker)),
        "{before:?} {after:?}"
    );
    assert_eq!(restart(&shardman).total, 4, "it is the same restart");
    sim.load(0.0);
    eventually(seconds(5.0), "everything is delivered", || {
        (sim.report().events_total.pending == 0).then_some(())
    });
    let report = sim.report();
    assert_eq!(
        (
            report.identify_count,
            report.resume_failures,
            report.events_total.lost
        ),
        (12, 0, 0)
    );
    assert_eq!(report.resume_count, 12, "nobody was restarted twice");
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_new_version_that_fails_takes_one_worker_with_it_and_no_more() {
    let sim = Sim::start(6, 6, &["--events-per-second", "50"]);
    let (url, messages) = webhook(&["204 No Content"]);
    let command = format!(
        "test -e ../broken && exit 1; exec {} worker",
        env!("CARGO_BIN_EXE_shardman")
    );
    let broken = tempfile::tempdir().unwrap();
    let marker = broken.path().join("broken");
    let command = command.replace("../broken", marker.to_str().unwrap());
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
        ("WORKER_COMMAND", &*command),
        ("WEBHOOK_URL", &*url),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    let before = shardman.workers();
    assert_eq!(before.len(), 3);

    fs::write(&marker, "").unwrap();
    let (code, said, error) = restart_command(&shardman, &["--all"]);
    assert_eq!(code, 3, "{said}{error}");
    assert!(said.contains("is paused after 0 of 3 workers"), "{said}");
    // Long enough for five exits in a row, the verdict of a crash loop.
    eventually(seconds(40.0), "it is tried again with pauses", || {
        let workers = shardman.fleet().workers;
        workers.iter().any(|worker| worker.exits >= 5).then_some(())
    });
    assert_eq!(
        shardman.workers()[shardman.workers().len() - 2..],
        before[1..],
        "the others are untouched"
    );
    let (code, table, _) = Program::shardman(&["status", "--url", &format!("http://{}", shardman.address)])
        .dir(shardman.folder())
        .env("SECRET", "test-secret")
        .run();
    assert_eq!(
        (code, table.matches("the restart is paused").count()),
        (3, 1),
        "{table}"
    );
    assert_eq!(begin(&shardman).status, 409, "it is under way");

    fs::remove_file(&marker).unwrap();
    // Its next try is far off by now; an operator need not wait for it.
    let path = "/workers/discord-0/restart";
    assert_eq!(post(shardman.address, path, "test-secret", "").status, 204);
    let path = "/workers/discord-1/restart";
    assert_eq!(post(shardman.address, path, "test-secret", "").status, 409);
    eventually(seconds(30.0), "it goes on by itself", || {
        (restart(&shardman).state == "done").then_some(())
    });
    shardman.wait_ready(seconds(10.0));
    assert!(shardman.workers().iter().all(|worker| !before.contains(worker)));
    let_pass(seconds(2.5));
    let embeds: Vec<_> = messages
        .try_iter()
        .flat_map(|message| message["embeds"].as_array().unwrap().clone())
        .map(|embed| embed.to_string())
        .filter(|embed| embed.contains("discord-0"))
        .collect();
    assert_eq!(embeds.len(), 1, "one alert: {embeds:#?}");
    assert!(embeds[0].contains("the restart is paused"), "{}", embeds[0]);
    assert_eq!(sim.report().identify_count, 6);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn one_worker_is_restarted_by_name_and_a_restart_can_be_cancelled() {
    let sim = Sim::start(6, 6, &[]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
    ];
    let mut shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    let before = shardman.workers();

    let unknown = post(shardman.address, "/workers/discord-9/restart", "test-secret", "");
    assert_eq!(
        (unknown.status, &*unknown.body),
        (404, r#"{"detail":"Worker Not Found"}"#)
    );
    assert_eq!(cancel(&shardman).status, 409);
    let (code, _, said) = restart_command(&shardman, &[]);
    assert_eq!(code, 2);
    assert!(said.contains("--all") && said.contains("discord-1"), "{said}");
    let (code, _, said) = restart_command(&shardman, &["discord-9"]);
    assert_eq!((code, said.contains("Worker Not Found")), (1, true), "{said}");

    let (code, said, error) = restart_command(&shardman, &["discord-1"]);
    assert_eq!(code, 0, "{said}{error}");
    let after = shardman.workers();
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert_ne!(after[1], before[1]);

    assert_eq!(
        post(shardman.address, "/workers/discord-0/restart", "test-secret", "").status,
        204
    );
    let again = begin(&shardman);
    assert_eq!(again.status, 409, "{}", again.body);
    assert_eq!(cancel(&shardman).status, 204);
    shardman.wait_ready(seconds(10.0));
    eventually(seconds(10.0), "what was stopped comes back", || {
        let workers = shardman.workers();
        (workers.len() == 3 && workers[0] != before[0]).then_some(())
    });
    assert_eq!(restart(&shardman).state, "cancelled");
    shardman.wait_ready(seconds(10.0));
    assert_eq!(sim.report().identify_count, 6);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_command_that_knows_no_signal_is_restarted_without_counting_as_a_crash() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKER_COMMAND", "exec sleep 1000")]);
    let pid = || {
        let workers = shardman.workers();
        Some(workers.first()?.1)
    };
    let mut last = eventually(seconds(10.0), "it runs", pid);
    for _ in 0..5 {
        assert_eq!(
            post(shardman.address, "/workers/discord-0/restart", "test-secret", "").status,
            204
        );
        let asked = Instant::now();
        last = eventually(seconds(5.0), "its next run", || pid().filter(|pid| *pid != last));
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let exits = shardman.fleet().workers[0].exits;
        assert_eq!(exits, 0);
        // It holds no shard, so nothing is waited for but the pause behind it.
        cancel(&shardman);
    }
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_that_does_not_stop_is_killed_by_the_next_manager() {
    let settings = [
        ("MAX_SHARDS", "1"),
        ("STOP_SECONDS", "1"),
        ("WORKER_COMMAND", "trap '' TERM; while :; do sleep 0.1; done"),
    ];
    let mut shardman = Shardman::up(&settings);
    let before = eventually(seconds(10.0), "it runs", || shardman.workers().pop());
    let path = "/workers/discord-0/restart";
    assert_eq!(post(shardman.address, path, "test-secret", "").status, 204);
    eventually(seconds(5.0), "it is told to stop", || {
        (shardman.fleet().workers[0].state == "stopping").then_some(())
    });
    shardman.kill();
    shardman.start();
    let asked = Instant::now();
    eventually(seconds(10.0), "its next run", || {
        let next = shardman.workers().pop()?;
        (next.1 != before.1).then_some(())
    });
    eprintln!("killed and started again after {:?}", asked.elapsed());
    assert_eq!(cancel(&shardman).status, 204);
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_that_does_not_run_is_started_at_once() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "1"), ("WORKER_COMMAND", "exit 78")]);
    for run in 1..=3 {
        eventually(seconds(10.0), "it is halted", || {
            let halted = shardman.fleet().workers.first()?.state == "halted";
            (halted && shardman.log().matches("discord-0 runs").count() == run).then_some(())
        });
        let (code, said, error) = restart_command(&shardman, &["discord-0"]);
        assert_eq!((code, said.contains("starts now")), (0, true), "{said}{error}");
    }
    assert!(shardman.fleet().restart.is_none(), "there is nothing to wait for");
    assert!(shardman.stop().success());
}

#[test]
fn only_an_operator_restarts_workers() {
    let settings = [("MAX_SHARDS", "1"), ("WORKERS", "0"), ("OPERATOR_SECRET", "boss")];
    let mut manager = Shardman::up(&settings);
    for path in ["/fleet/restart", "/workers/discord-0/restart"] {
        assert_eq!(post(manager.address, path, "test-secret", "").status, 403);
        assert_eq!(call(manager.address, "POST", path, &[], None).status, 422);
    }
    assert_eq!(
        post(manager.address, "/workers/discord-0/restart", "boss", "").status,
        404
    );
    let none = post(manager.address, "/fleet/restart", "boss", "");
    assert_eq!(
        (none.status, &*none.body),
        (409, r#"{"detail":"No worker runs"}"#)
    );
    assert!(
        get(manager.address, "/fleet", "boss")
            .body
            .contains("\"restart\":null")
    );
    assert!(manager.stop().success());
}
