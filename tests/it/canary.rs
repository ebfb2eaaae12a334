//! Planned restarts that begin with a canary, that wait for an operator, and
//! that go by shard.

use std::fs;
use std::time::Instant;

use shardman_core::wire::RestartView;

use crate::support::{Program, Shardman, Sim, eventually, let_pass, post, seconds};

fn command(manager: &Shardman, name: &str, args: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", manager.address);
    let mut program = Program::shardman(&[name, "--url", &url]).dir(manager.folder());
    for arg in args {
        program = program.arg(arg);
    }
    program.env("SECRET", "test-secret").run()
}

fn restart(manager: &Shardman) -> RestartView {
    manager.fleet().restart.expect("a restart was asked for")
}

/// Three workers of two shards each.
fn fleet(sim: &Sim, settings: &[(&str, &str)]) -> Shardman {
    let url = sim.url();
    let mut all = vec![
        ("DISCORD_API_URL", &*url),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
    ];
    all.extend(settings);
    let shardman = Shardman::up(&all);
    shardman.wait_ready(seconds(40.0));
    assert_eq!(shardman.workers().len(), 3);
    shardman
}

#[test]
fn a_bad_canary_stops_the_restart_and_the_others_are_untouched() {
    let sim = Sim::start(6, 6, &[]);
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad");
    // The bad version comes up well, and falls over after four seconds.
    let worker = format!("{} worker", env!("CARGO_BIN_EXE_shardman"));
    let program = format!(
        "test -e {} || exec {worker}; timeout -s KILL 4 {worker}; exit 1",
        bad.display()
    );
    let mut shardman = fleet(&sim, &[("WORKER_COMMAND", &program)]);
    let before = shardman.workers();
    fs::write(&bad, "").unwrap();
    let asked = Instant::now();
    let (code, said, error) = command(&shardman, "restart", &["--all", "--canary", "30"]);
    println!(
        "a canary that fell over after 4 s was found after {:?}",
        asked.elapsed()
    );
    assert_eq!(code, 3, "{said}{error}");
    assert!(said.contains("is paused after 0 of 3 workers"), "{said}");
    assert!(said.contains("--continue"), "{said}");
    let log = shardman.log();
    assert_eq!(log.matches("It was the canary").count(), 1, "{log}");

    fs::remove_file(&bad).unwrap();
    shardman.wait_ready(seconds(40.0));
    eventually(seconds(20.0), "the good version runs again", || {
        let workers = shardman.fleet().workers;
        (workers[0].state == "running" && workers[0].uptime? > 5.0).then_some(())
    });
    let view = restart(&shardman);
    assert_eq!(
        (&*view.state, view.done, view.queue.len()),
        ("paused", 0, 2),
        "{view:?}"
    );
    assert_eq!(shardman.workers()[1..], before[1..], "the others are untouched");

    let (code, said, error) = command(&shardman, "restart", &["--continue"]);
    assert_eq!(code, 0, "{said}{error}");
    eventually(seconds(40.0), "the rest is restarted", || {
        (restart(&shardman).state == "done").then_some(())
    });
    assert!(shardman.workers().iter().all(|worker| !before.contains(worker)));
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_good_canary_is_watched_for_as_long_as_was_said() {
    let sim = Sim::start(6, 6, &[]);
    let mut shardman = fleet(&sim, &[]);
    let before = shardman.workers();
    let asked = Instant::now();
    let answer = post(shardman.address, "/fleet/restart?canary=5", "test-secret", "");
    assert_eq!(
        (answer.status, answer.json()["canary"].as_f64()),
        (202, Some(5.0))
    );
    eventually(seconds(20.0), "it is watched", || {
        restart(&shardman)
            .waiting_for
            .filter(|what| what.contains("the canary"))
    });
    assert_eq!(shardman.workers()[1..], before[1..]);
    eventually(seconds(30.0), "the second is restarted", || {
        (restart(&shardman).done >= 1).then_some(())
    });
    println!("the canary was found well after {:?}", asked.elapsed());
    assert!(asked.elapsed() >= seconds(5.0));
    eventually(seconds(30.0), "it is done", || {
        (restart(&shardman).state == "done").then_some(())
    });
    assert_eq!(sim.report().identify_count, 6);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn an_operator_pauses_a_restart_and_no_crash_of_the_manager_lets_it_go_on() {
    let sim = Sim::start(6, 6, &[]);
    let mut shardman = fleet(&sim, &[("MAX_SECONDS", "10")]);
    let before = shardman.workers();
    let (code, _, said) = command(&shardman, "restart", &["--pause"]);
    assert_eq!(
        (code, said.contains("No restart is under way")),
        (1, true),
        "{said}"
    );

    let (code, said, error) = command(&shardman, "restart", &["--all", "--no-wait"]);
    assert_eq!(code, 0, "{said}{error}");
    let (code, said, error) = command(&shardman, "restart", &["--pause"]);
    assert_eq!(code, 0, "{said}{error}");
    shardman.kill();
    shardman.start();
    eventually(seconds(30.0), "the first one is back", || {
        (restart(&shardman).done == 1).then_some(())
    });
    shardman.kill();
    shardman.start();
    shardman.wait_ready(seconds(20.0));
    // Longer than a fleet has to stay whole before the next one is stopped.
    let_pass(seconds(4.0));
    let view = restart(&shardman);
    assert_eq!(
        (&*view.state, view.on_hold, view.done),
        ("paused", true, 1),
        "{view:?}"
    );
    let now = shardman.workers();
    assert_ne!(now[0], before[0]);
    assert_eq!(now[1..], before[1..]);
    let (_, table, _) = command(&shardman, "status", &[]);
    assert!(
        table.contains("is paused after 1 of 3 workers: an operator holds it"),
        "{table}"
    );

    let (code, said, error) = command(&shardman, "restart", &["--continue"]);
    assert_eq!(code, 0, "{said}{error}");
    eventually(seconds(40.0), "it is done", || {
        (restart(&shardman).state == "done").then_some(())
    });
    assert!(shardman.workers().iter().all(|worker| !before.contains(worker)));
    let report = sim.report();
    assert_eq!((report.identify_count, report.resume_count), (6, 6));
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_is_restarted_by_its_shard() {
    let sim = Sim::start(6, 6, &[]);
    let mut shardman = fleet(&sim, &[]);
    let before = shardman.workers();
    let holder = |number: u32| {
        let shards = shardman.fleet().shards;
        let shard = shards.into_iter().find(|shard| shard.shard.number() == number);
        shard.unwrap().worker.unwrap()
    };
    let shards: Vec<_> = (0..6).map(holder).collect();
    // Two of one worker: it is restarted once.
    let target = shards[3].clone();
    let of_target: Vec<_> = (0..6).filter(|number| shards[*number] == target).collect();
    let args: Vec<_> = of_target
        .iter()
        .flat_map(|number| ["--shard".to_owned(), number.to_string()])
        .collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let (code, said, error) = command(&shardman, "restart", &args);
    assert_eq!(code, 0, "{said}{error}");
    assert!(said.contains("done: 1 of 1 workers"), "{said}");
    for (worker, before) in shardman.workers().iter().zip(&before) {
        assert_eq!(worker != before, before.0 == target, "{before:?}, {worker:?}");
    }

    let ask = |query: &str| {
        post(
            shardman.address,
            &format!("/fleet/restart?{query}"),
            "test-secret",
            "",
        )
    };
    let unknown = ask("shard=6");
    assert_eq!(
        (unknown.status, &*unknown.body),
        (404, r#"{"detail":"Shard Not Found"}"#)
    );
    for bad in [
        "shard=x",
        "shard=",
        "shard=-1",
        "shard=1&shard=99999999999",
        "canary=soon",
        "canary=NaN",
        "canary=-1",
    ] {
        let answer = ask(bad);
        assert_eq!(answer.status, 422, "{bad}: {}", answer.body);
    }
    let (code, _, said) = command(&shardman, "restart", &["--shard", "0", "--all"]);
    assert_eq!(code, 2, "{said}");
    assert_eq!(sim.report().identify_count, 6);
    assert!(shardman.stop().success());
}

#[test]
fn a_shard_of_an_external_worker_is_restarted_by_nobody() {
    let settings = [("MAX_SHARDS", "2"), ("WORKERS", "0"), ("OPERATOR_SECRET", "boss")];
    let mut manager = Shardman::up(&settings);
    assert_eq!(manager.connect().status, 200);
    for shard in [0, 1] {
        let path = format!("/fleet/restart?shard={shard}");
        let answer = post(manager.address, &path, "boss", "");
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert!(
            answer.body.contains(&format!("holds shard {shard}")),
            "{}",
            answer.body
        );
    }
    for path in ["/fleet/restart/pause", "/fleet/restart/continue"] {
        assert_eq!(post(manager.address, path, "test-secret", "").status, 403);
        let none = post(manager.address, path, "boss", "");
        assert_eq!(
            (none.status, &*none.body),
            (409, r#"{"detail":"No restart is under way"}"#)
        );
    }
    assert!(manager.stop().success());
}
