//! What happened and why, as operators and scripts read it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Program, Shardman, Sim, call, eventually, get, seconds, signal};

const SECRET: &str = "test-secret";

fn events(shardman: &Shardman, query: &str) -> Vec<Value> {
    let answer = get(shardman.address, &format!("/events?limit=1000&{query}"), SECRET);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["events"].as_array().unwrap().clone()
}

fn number(event: &Value) -> u64 {
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
    let (_, told, _) = run(&shardman, &["why", "3"]);
    eprintln!("{told}");
    assert_in_order(
        &told,
        &["ready still", "ready after IDENTIFY", "leased to discord-1"],
    );
    let (_, told, _) = run(&shardman, &["why", "discord-1"]);
    assert_in_order(&told, &["adopted from the last manager", "first start"]);
    assert!(shardman.stop().success());
    // A clean end is written to its last event, so the next number follows.
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().last().unwrap().starts_with("{\"closed\":"), "{text}");
}

/// A stream of events on a socket of its own.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(address: SocketAddr, path: &str, seen: Option<u64>) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let seen = seen.map_or_else(String::new, |seen| format!("Last-Event-ID: {seen}\r\n"));
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: {SECRET}\r\nAccept: text/event-stream\r\n{seen}\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        Self(BufReader::new(socket))
    }

    /// The next line, whatever it is; empty at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// Its id, and what it tells.
    fn event(&mut self) -> (u64, Value) {
        let mut id = None;
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the stream ended");
            if let Some(told) = line.strip_prefix("id: ") {
                id = Some(told.trim().parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data: ") {
                // The id may stand behind the data as well.
                let data: Value = serde_json::from_str(data.trim()).unwrap();
                let id = id.unwrap_or_else(|| number(&data));
                return (id, data);
            }
        }
    }
}

fn leases_only() -> Shardman {
    Shardman::up(&[("MAX_SHARDS", "4"), ("WORKERS", "0")])
}

/// Takes a shard and gives it back: two events.
fn come_and_go(shardman: &Shardman) {
    let answer = shardman.connect();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let session = answer.json()["session_id"].as_str().unwrap().to_owned();
    let path = format!("/sessions/{session}");
    let answer = call(
        shardman.address,
        "DELETE",
        &path,
        &[("Authorization", SECRET)],
        None,
    );
    assert_eq!(answer.status, 204);
}

#[test]
fn events_are_followed_as_they_happen_and_again_from_where_one_was() {
    let mut shardman = leases_only();
    let mut stream = Stream::open(shardman.address, "/events", None);
    assert!(stream.line().starts_with("HTTP/1.1 200"));
    let heads: Vec<String> = std::iter::repeat_with(|| stream.line())
        .take_while(|line| line != "\r\n")
        .collect();
    assert!(
        heads.iter().any(|head| head.contains("text/event-stream")),
        "{heads:?}"
    );
    // The stream is there once it has said so.
    while !stream.line().starts_with("retry:") {}
    come_and_go(&shardman);
    let (first, told) = stream.event();
    assert_eq!((&told["kind"], &told["shard"]), (&"leased".into(), &"0/4".into()));
    assert_eq!(told["cause"], "leased to an external worker (epoch 1)");
    let (second, told) = stream.event();
    assert_eq!((&told["kind"], first < second), (&"lost".into(), true));
    assert_eq!(told["because_of"], Value::Null);
    drop(stream);
    for _ in 0..3 {
        come_and_go(&shardman);
    }
    let mut stream = Stream::open(shardman.address, "/events?kind=leased&limit=99", Some(first));
    let missed: Vec<Value> = (0..3).map(|_| stream.event().1).collect();
    let listed = events(&shardman, &format!("kind=leased&after={first}"));
    assert_eq!(missed, listed);
    come_and_go(&shardman);
    assert!(number(&stream.event().1) > number(missed.last().unwrap()));

    // An open stream ends with the manager, and does not hold it up.
    let reader = std::thread::spawn(move || while !stream.line().is_empty() {});
    let asked = Instant::now();
    assert!(shardman.stop().success());
    eprintln!("stopped in {:?} with an open stream", asked.elapsed());
    reader.join().unwrap();
    assert!(!shardman.log().contains("cut off"), "{}", shardman.log());
}

#[test]
fn streams_have_a_bound_and_hold_nobody_up() {
    let mut shardman = leases_only();
    let mut streams: Vec<_> = (0..64)
        .map(|_| Stream::open(shardman.address, "/events?limit=1000", None))
        .collect();
    for stream in &mut streams {
        assert!(stream.line().starts_with("HTTP/1.1 200"));
    }
    let mut refused = Stream::open(shardman.address, "/events", None);
    assert!(refused.line().starts_with("HTTP/1.1 503"), "one too many");
    // None of them reads, and everybody else is served.
    for _ in 0..200 {
        come_and_go(&shardman);
    }
    assert_eq!(
        events(&shardman, "shard=0").len(),
        24,
        "of one shard so many are kept"
    );
    let started = events(&shardman, "kind=manager_started");
    assert_eq!(started.len(), 1, "and the rare ones stay");
    drop(streams);
    eventually(seconds(10.0), "their places are free again", || {
        come_and_go(&shardman);
        let mut stream = Stream::open(shardman.address, "/events", None);
        stream.line().starts_with("HTTP/1.1 200").then_some(())
    });
    assert!(shardman.stop().success());
}

#[test]
fn malformed_questions_are_refused_in_the_documented_shape() {
    let mut shardman = leases_only();
    for (query, name, kind) in [
        ("shard=x", "shard", "value_error.shard"),
        ("shard=9/3", "shard", "value_error.shard"),
        ("after=-1", "after", "type_error.integer"),
        ("limit=many", "limit", "type_error.integer"),
        ("kind=moon", "kind", "value_error.kind"),
        ("causes=perhaps", "causes", "type_error.bool"),
    ] {
        let answer = get(shardman.address, &format!("/events?{query}"), SECRET);
        assert_eq!(answer.status, 422, "{query}");
        let flaw = answer.json()["detail"][0].clone();
        assert_eq!(flaw["loc"], serde_json::json!(["query", name]), "{query}");
        assert_eq!(flaw["type"], kind, "{query}");
    }
    let headers = [
        ("Authorization", SECRET),
        ("Accept", "text/event-stream"),
        ("Last-Event-ID", "x"),
    ];
    let answer = call(shardman.address, "GET", "/events", &headers, None);
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert_eq!(answer.json()["detail"][0]["loc"][1], "last-event-id");
    for (headers, status) in [(&[][..], 422), (&[("Authorization", "wrong")], 403)] {
        assert_eq!(
            call(shardman.address, "GET", "/events", headers, None).status,
            status
        );
    }
    assert!(events(&shardman, "worker=%00%ff%1b").is_empty());
    assert!(shardman.stop().success());
}
