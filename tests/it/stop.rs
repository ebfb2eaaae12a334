//! `shardman stop` and `shardman start`: workers that stay stopped until they
//! are wanted again, and the end of all.

use serde_json::Value;

use crate::support::{Program, Shardman, Sim, eventually, post, seconds};

fn run(shardman: &Shardman, args: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", shardman.address);
    let mut all = args.to_vec();
    all.extend(["--url", &url]);
    Program::shardman(&all).env("SECRET", "test-secret").run()
}

/// The states of all workers, by name.
fn states(shardman: &Shardman) -> Vec<(String, String)> {
    let fleet = shardman.fleet();
    let states = fleet.every_worker();
    states
        .map(|worker| (worker.worker.clone(), worker.state.clone()))
        .collect()
}

fn is(shardman: &Shardman, expected: &[(&str, &str)]) -> Option<()> {
    let states = states(shardman);
    let states: Vec<_> = states
        .iter()
        .map(|(worker, state)| (&**worker, &**state))
        .collect();
    (states == expected).then_some(())
}

#[test]
fn a_worker_that_is_stopped_stays_so_over_a_crash_of_the_manager_until_it_is_started() {
    let sim = Sim::start(4, 4, &[]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "2"),
        ("SHARDS_PER_WORKER", "2"),
    ]);
    shardman.wait_ready(seconds(60.0));
    let (code, text, errors) = run(&shardman, &["stop", "discord-1"]);
    assert_eq!(code, 0, "{errors}");
    assert!(text.contains("stopped: discord-1"), "{text}");
    let stopped = [("discord-0", "running"), ("discord-1", "stopped")];
    assert_eq!(is(&shardman, &stopped), Some(()), "{:?}", states(&shardman));
    let fleet = shardman.fleet();
    assert_eq!((fleet.planned, fleet.ready), (4, 2), "nobody has room");
    let trouble = "stopped by an operator: discord-1; `shardman start discord-1` starts what was stopped";
    assert_eq!(fleet.trouble, [trouble]);
    let (_, why, _) = run(&shardman, &["why", "discord-1"]);
    assert!(
        why.contains("worker discord-1 is stopped by an operator"),
        "{why}"
    );
    assert!(why.contains("told to stop: an operator stops it"), "{why}");
    // Once more changes nothing, and nobody comes in its place.
    assert_eq!(run(&shardman, &["stop", "discord-1", "--json"]).0, 0);

    shardman.kill();
    shardman.start();
    assert_eq!(is(&shardman, &stopped), Some(()), "{:?}", states(&shardman));
    crate::support::let_pass(seconds(2.0));
    assert_eq!(is(&shardman, &stopped), Some(()), "{:?}", states(&shardman));
    let (code, status, _) = run(&shardman, &["status"]);
    assert_eq!(code, 3);
    assert!(status.contains("discord-1  stopped"), "{status}");

    let (code, text, _) = run(&shardman, &["start", "discord-1", "--json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &answer["started"][0]), (0, &Value::from("discord-1")));
    shardman.wait_ready(seconds(60.0));
    // It has resumed: no session start was spent for that.
    assert_eq!(sim.report().identify_count, 4);
    shardman.kill();
    shardman.start();
    let runs = [("discord-0", "running"), ("discord-1", "running")];
    eventually(seconds(20.0), "both run on", || is(&shardman, &runs));
    sim.assert_clean();

    // A restart that names it starts it as well.
    assert_eq!(run(&shardman, &["stop", "discord-0"]).0, 0);
    assert_eq!(run(&shardman, &["restart", "discord-0"]).0, 0);
    eventually(seconds(20.0), "it runs again", || is(&shardman, &runs));
    let (code, _, errors) = run(&shardman, &["stop", "nobody"]);
    assert_eq!(code, 1);
    assert!(
        errors.contains("nobody was not stopped: the manager refused: Worker Not Found"),
        "{errors}"
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_worker_of_a_pool_is_stopped_and_its_slot_waits_for_it() {
    let mut shardman = Shardman::up(&[
        ("POOLS", "web"),
        ("POOL_WEB_SIZE", "2"),
        ("POOL_WEB_COMMAND", "exec sleep 1000"),
        ("POOL_WEB_REGISTER", "process"),
    ]);
    let runs = [("web-0", "running"), ("web-1", "running")];
    let stopped = [("web-0", "stopped"), ("web-1", "running")];
    eventually(seconds(20.0), "both run", || is(&shardman, &runs));
    assert_eq!(run(&shardman, &["stop", "web-0"]).0, 0);
    assert_eq!(is(&shardman, &stopped), Some(()), "{:?}", states(&shardman));
    // Whoever runs in the meantime dies and comes back to its own slot.
    let (code, _, _) = run(&shardman, &["restart", "web-1"]);
    assert_eq!(code, 0);
    eventually(seconds(20.0), "the other one is back", || is(&shardman, &stopped));
    shardman.kill();
    shardman.start();
    eventually(seconds(20.0), "as before", || is(&shardman, &stopped));
    assert_eq!(shardman.fleet().pools[0].leased, 1);
    assert_eq!(run(&shardman, &["status"]).0, 0, "nothing else is wanted");
    assert_eq!(run(&shardman, &["start", "web-0"]).0, 0);
    eventually(seconds(20.0), "both run", || is(&shardman, &runs));
    assert!(shardman.stop().success());
}

#[test]
fn stop_ends_the_fleet_and_the_manager() {
    let sim = Sim::start(2, 2, &[]);
    let mut shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(60.0));
    assert_eq!(post(shardman.address, "/fleet/stop", "wrong", "").status, 403);
    let (code, text, errors) = run(&shardman, &["stop"]);
    println!("{text}");
    assert_eq!(code, 0, "{errors}");
    assert!(text.contains("stopped: the manager and "), "{text}");
    assert!(shardman.running().wait(seconds(10.0)).success());
    assert!(
        shardman.log().contains("stopping, as an operator asked"),
        "{}",
        shardman.log()
    );
    assert!(shardman.log().contains("stopped: clean"), "{}", shardman.log());
    let (code, _, errors) = run(&shardman, &["stop"]);
    assert_eq!(code, 1);
    assert!(
        errors.contains("no manager answers at http://127.0.0.1:"),
        "{errors}"
    );
}
