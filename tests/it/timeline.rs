//! What happened and why, as operators and scripts read it.

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::support::{Program, Shardman, Sim, eventually, get, seconds, signal};

const SECRET: &str = "test-secret";

pub fn events(shardman: &Shardman, query: &str) -> Vec<Value> {
    let answer = get(shardman.address, &format!("/events?limit=1000&{query}"), SECRET);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["events"].as_array().unwrap().clone()
}

pub fn number(event: &Value) -> u64 {
    event["number"].as_u64().unwrap()
}

/// The kinds of an event and of what led to it, the newest first.
fn chain(events: &[Value], from: &Value) -> Vec<String> {
    let mut kinds = Vec::new();
    let mut next = Some(from);
    while let Some(event) = next {
        kinds.push(event["kind"].as_str().unwrap().to_owned());
        let cause = event["because_of"].as_u64();
        next = cause.and_then(|cause| events.iter().find(|event| number(event) == cause));
    }
    kinds
}

fn run(shardman: &Shardman, args: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", shardman.address);
    let program = Program::shardman(args).arg("--url").arg(&url);
    program.env("SECRET", SECRET).dir(shardman.folder()).run()
}

/// The words in this order, wherever they are.
#[track_caller]
fn assert_in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word:?} in {text}"));
        rest = &rest[at + word.len()..];
    }
}

fn fleet_of_four(max_seconds: &str) -> (Sim, Shardman) {
    let sim = Sim::start(4, 4, &[]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
        ("MAX_SECONDS", max_seconds),
    ];
    let shardman = Shardman::up(&settings);
    shardman.wait_ready(seconds(40.0));
    (sim, shardman)
}

/// The pid of discord-0, and the number of a shard that it holds.
fn first_worker(shardman: &Shardman) -> (i32, u32) {
    let (worker, pid) = shardman.workers().remove(0);
    assert_eq!(worker, "discord-0");
    let fleet = shardman.fleet();
    let held = fleet
        .shards
        .iter()
        .find(|shard| shard.worker.as_deref() == Some("discord-0"));
    (pid, held.unwrap().shard.number())
}

/// Waits until a shard was resumed by its next holder.
fn resumed(shardman: &Shardman, shard: u32, within: f64) -> (Vec<Value>, Value) {
    eventually(seconds(within), "it is resumed", || {
        let events = events(shardman, &format!("shard={shard}&causes=true"));
        let ready = events.iter().rfind(|event| event["kind"] == "ready")?.clone();
        (ready["cause"] == "ready after RESUME").then_some((events, ready))
    })
}

#[test]
fn a_killed_worker_is_told_with_its_end_its_next_run_and_its_resumed_shards() {
    let (_sim, mut shardman) = fleet_of_four("6");
    // Its resume points are known once it has beaten.
    crate::support::let_pass(seconds(1.5));
    let (pid, shard) = first_worker(&shardman);
    signal(pid, Signal::KILL);
    let (story, ready) = resumed(&shardman, shard, 20.0);
    let kinds = chain(&story, &ready);
    assert_eq!(
        kinds[..5],
        ["ready", "resuming", "leased", "worker_started", "worker_ended"]
    );
    let lost = story.iter().find(|event| event["kind"] == "lost").unwrap();
    assert_eq!(
        chain(&story, lost),
        ["lost", "worker_ended"],
        "a crash is its own cause"
    );
    assert_eq!(
        lost["cause"],
        "lost by discord-0: its process was killed by SIGKILL"
    );

    let of_worker = events(&shardman, "worker=discord-0&kind=worker_ended");
    let cause = of_worker[0]["cause"].as_str().unwrap();
    assert!(
        cause.starts_with("discord-0 was killed by SIGKILL after "),
        "{cause}"
    );
    assert!(cause.contains("held 2 shards"), "{cause}");

    let shard = shard.to_string();
    let (code, told, _) = run(&shardman, &["why", &shard]);
    eprintln!("{told}");
    assert_eq!(code, 0);
    let head = format!("shard {shard}/4 is ready (worker discord-0, epoch ");
    assert!(told.starts_with(&head), "{told}");
    assert_in_order(
        &told,
        &[
            "ready after RESUME",
            "leased to discord-0",
            "is started",
            "lost by discord-0",
            "was killed by SIGKILL",
        ],
    );
    assert_eq!(run(&shardman, &["why", &format!("{shard}/4")]).0, 0);
    let (code, told, _) = run(&shardman, &["why", "discord-0"]);
    eprintln!("{told}");
    assert_eq!(code, 0);
    assert!(told.starts_with("worker discord-0 is running (pid "), "{told}");
    assert_in_order(
        &told,
        &["is started for 2 shards", "was killed by SIGKILL", "first start"],
    );
    let (_, json, _) = run(&shardman, &["why", &shard, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["state"], &json["events"][0]["kind"]),
        (&"ready".into(), &"ready".into())
    );

    let (code, _, said) = run(&shardman, &["why", "99"]);
    assert!(
        code == 1 && said.contains("no shard 99; there are 0/4, 1/4, 2/4, 3/4"),
        "{said}"
    );
    let (code, _, said) = run(&shardman, &["why", "w9"]);
    assert!(
        code == 1 && said.contains("there are discord-0, discord-1"),
        "{said}"
    );
    let (code, _, said) = run(&shardman, &["events", "--shard", "x"]);
    assert!(
        code == 1 && said.contains("--shard: value is not a shard"),
        "{said}"
    );
    let (_, table, _) = run(
        &shardman,
        &["events", "--worker", "discord-0", "--kind", "worker_ended"],
    );
    assert!(
        table.contains("worker_ended") && table.lines().count() == 1,
        "{table}"
    );
    assert!(shardman.stop().success());
}

#[test]
fn a_frozen_worker_is_told_as_a_chain_from_its_silence_to_its_next_run() {
    let (_sim, mut shardman) = fleet_of_four("4");
    crate::support::let_pass(seconds(1.5));
    let (pid, shard) = first_worker(&shardman);
    signal(pid, Signal::STOP);
    let (story, ready) = resumed(&shardman, shard, 20.0);
    let kinds = chain(&story, &ready);
    let rest = ["worker_started", "worker_ended", "worker_stop_asked", "lost"];
    assert_eq!(kinds[..3], ["ready", "resuming", "leased"]);
    assert_eq!(kinds[3..], rest, "{story:?}");
    let (_, told, _) = run(&shardman, &["why", &shard.to_string()]);
    eprintln!("{told}");
    assert_in_order(
        &told,
        &[
            "after a lease of it lapsed",
            "SIGKILL",
            "is told to stop: a lease of it lapsed",
            "no beat for 4 s",
        ],
    );
    assert!(shardman.stop().success());
}

#[test]
fn the_timeline_goes_on_over_a_killed_manager() {
    let (_sim, mut shardman) = fleet_of_four("6");
    let before = eventually(seconds(10.0), "all are told", || {
        let before = events(&shardman, "");
        (before.iter().filter(|event| event["kind"] == "ready").count() == 4).then_some(before)
    });
    let file = shardman.folder().join("data/events.ndjson");
    let last = number(before.last().unwrap());
    eventually(seconds(5.0), "the last is written", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.contains(&format!("\"number\":{last},")).then_some(())
    });
    shardman.kill();
    // A crash may tear the last line.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{{\"number\":{},\"at_ms\":1,\"ki", last + 1)).unwrap();
    shardman.start();
    shardman.wait_ready(seconds(20.0));
    let after = eventually(seconds(10.0), "it is heard of", || {
        let after = events(&shardman, "");
        let still = |event: &&Value| event["cause"] == "ready still, as its holder tells the new manager";
        (after.iter().filter(still).count() == 4).then_some(after)
    });
    assert_eq!(after[..before.len()], before, "what was told is told still");
    let new = &after[before.len()..];
    assert_eq!(new[0]["kind"], "manager_started");
    assert!(number(&new[0]) > last);
    assert!(after.iter().map(number).is_sorted_by(|a, b| a < b));
    let adopted = |event: &&Value| event["kind"] == "worker_adopted";
    assert_eq!(new.iter().filter(adopted).count(), 2);
    // Either worker may have come first.
    let fleet = shardman.fleet();
    let held = fleet.shards.iter().find(|shard| shard.shard.number() == 3);
    let worker = held.and_then(|shard| shard.worker.clone()).unwrap();
    let (_, told, _) = run(&shardman, &["why", "3"]);
    eprintln!("{told}");
    assert_in_order(
        &told,
        &[
            "ready still",
            "ready after IDENTIFY",
            &format!("leased to {worker}"),
        ],
    );
    let (_, told, _) = run(&shardman, &["why", &worker]);
    assert_in_order(&told, &["adopted from the last manager", "first start"]);
    assert!(shardman.stop().success());
    // A clean end is written to its last event, so the next number follows.
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().last().unwrap().starts_with("{\"closed\":"), "{text}");
}

#[test]
fn what_a_full_disk_undid_is_not_told_and_the_rest_is_written_once_it_can_be() {
    let mut shardman = Shardman::up_on_a_small_disk(&[("MAX_SHARDS", "3"), ("WORKERS", "0")]);
    let limit_files = |bytes| {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Pid::from_raw(shardman.pid()), Resource::Fsize, limit).unwrap();
    };
    let count = |kind: &str| events(&shardman, &format!("kind={kind}")).len();
    assert_eq!(shardman.connect().status, 200);
    assert_eq!((count("leased"), count("disk_trouble")), (1, 0));
    limit_files(Some(1));
    for _ in 0..3 {
        assert_eq!(shardman.connect().status, 503);
    }
    assert_eq!((count("leased"), count("disk_trouble")), (1, 1));
    limit_files(None);
    assert_eq!(shardman.connect().status, 200);
    assert_eq!((count("leased"), count("disk_back")), (2, 1));
    let file = shardman.folder().join("data/events.ndjson");
    eventually(seconds(20.0), "all of them are written", || {
        // The file is looked at again with the next event.
        let session = shardman.connect().json()["session_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let path = format!("/disconnect?session_id={session}");
        assert_eq!(get(shardman.address, &path, SECRET).status, 204);
        // It is away for a moment while a new one takes its place.
        let text = std::fs::read_to_string(&file).ok()?;
        (text.contains("disk_trouble") && text.contains("disk_back")).then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn a_crash_loop_and_the_shard_that_waits_for_it_are_told_until_an_operator_helps() {
    let settings = [
        ("MAX_SHARDS", "1"),
        ("WORKER_COMMAND", "test -e ready && exec sleep 1000; exit 3"),
    ];
    let mut shardman = Shardman::up(&settings);
    eventually(seconds(20.0), "a crash loop", || {
        let looping = events(&shardman, "kind=crash_looping");
        (looping.len() == 1).then_some(())
    });
    let (_, told, _) = run(&shardman, &["why", "0"]);
    assert!(told.starts_with("shard 0/1 is free: nobody holds it\n"), "{told}");
    assert_in_order(&told, &["! worker discord-0 is backing off (starts again in "]);
    let (_, told, _) = run(&shardman, &["why", "discord-0"]);
    eprintln!("{told}");
    assert_in_order(
        &told,
        &[
            "is crash looping: it ended 5 times in a row",
            "waits ",
            "ended with exit code 3",
        ],
    );
    std::fs::write(shardman.folder().join("ready"), "").unwrap();
    assert_eq!(run(&shardman, &["restart", "discord-0", "--no-wait"]).0, 0);
    let events = eventually(seconds(10.0), "it is started", || {
        let events = events(&shardman, "worker=discord-0");
        let asked = events
            .iter()
            .position(|event| event["kind"] == "worker_start_asked")?;
        (events.len() > asked + 1).then_some(events)
    });
    let started = events.last().unwrap();
    assert_eq!(
        chain(&events, started)[..3],
        ["worker_started", "worker_start_asked", "crash_looping"],
        "{events:?}"
    );
    assert!(shardman.stop().success());
}
