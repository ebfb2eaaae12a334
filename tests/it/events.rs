//! `GET /events`, as a list and as a stream.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Shardman, call, eventually, get, seconds};
use crate::timeline::{events, number};

const SECRET: &str = "test-secret";

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
