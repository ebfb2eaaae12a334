//! The bundled worker run by hand: events as NDJSON on standard output.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

use crate::support::{Program, Shardman, Sim, eventually, let_pass, seconds};

struct Worker {
    child: Child,
    events: Option<ChildStdout>,
}

impl Worker {
    fn start(shardman: &Shardman) -> Self {
        let mut child = Program::shardman(&["worker"])
            .dir(shardman.folder())
            .env("SHARDMAN_URL", &format!("http://{}", shardman.address))
            .env("SECRET", "test-secret")
            .env("BOT_TOKEN", "t")
            .pipe();
        let events = child.stdout.take();
        Self { child, events }
    }

    /// Reads events in the background, one JSON value each.
    fn read(&mut self) -> std::sync::mpsc::Receiver<serde_json::Value> {
        let events = BufReader::new(self.events.take().unwrap());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in events.lines() {
                let Ok(line) = line else { return };
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers of the messages that the simulator sent, in the order of the output.
fn messages(events: &[serde_json::Value]) -> Vec<u64> {
    let is_message = |event: &&serde_json::Value| event["type"] == "MESSAGE_CREATE";
    events
        .iter()
        .filter(is_message)
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect()
}

#[test]
fn every_event_is_a_line_with_shard_total_epoch_and_sequence() {
    let sim = Sim::start(1, 1, &["--events-per-second", "50"]);
    let mut shardman = Shardman::up(&[
        ("DISCORD_API_URL", &sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "0"),
    ]);
    let mut worker = Worker::start(&shardman);
    let lines = worker.read();
    let events: Vec<_> = (0..80)
        .map(|_| lines.recv_timeout(seconds(20.0)).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "READY");
    for event in &events {
        assert_eq!(
            (&event["shard"], &event["total"], &event["epoch"]),
            (&0.into(), &1.into(), &1.into()),
            "{event}"
        );
    }
    let sequences: Vec<_> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert!(
        sequences.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{sequences:?}"
    );
    drop(worker);
    assert!(shardman.stop().success());
}

#[test]
fn a_reader_that_stalls_stops_no_heartbeat_and_loses_no_event() {
    let sim = Sim::start(1, 1, &["--heartbeat-ms", "1000", "--events-per-second", "0"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "0"),
        ("MAX_SECONDS", "6"),
    ];
    let mut shardman = Shardman::up(&settings);
    let mut worker = Worker::start(&shardman);
    eventually(seconds(20.0), "the shard is ready", || {
        (shardman.fleet().ready == 1).then_some(())
    });
    // More than the worker keeps in memory.
    sim.load(6000.0);
    eventually(seconds(30.0), "the worker parks the shard", || {
        (sim.report().connections.live == 0).then_some(())
    });
    sim.load(0.0);
    let_pass(seconds(8.0));
    assert_eq!(shardman.fleet().leased, 1, "it beats all the while");
    assert!(
        sim.report().zombies.is_empty(),
        "and its heartbeats never stopped: {:?}",
        sim.report().zombies
    );

    let lines = worker.read();
    let mut events = Vec::new();
    eventually(seconds(60.0), "everything that was sent is there", || {
        events.extend(lines.try_iter());
        (messages(&events).len() as u64 >= sim.report().events_total.sent).then_some(())
    });
    let got = messages(&events);
    let mut distinct = got.clone();
    distinct.dedup();
    assert!(distinct.is_sorted(), "in order");
    assert_eq!(
        distinct.len() as u64,
        sim.report().events_total.sent,
        "{} lines",
        got.len()
    );
    assert_eq!(sim.report().identify_count, 1, "it resumed");
    assert_eq!(sim.report().events_total.lost, 0);
    drop(worker);
    assert!(shardman.stop().success());
}
