//! Input that nobody honest sends: it is refused in the documented shape, in
//! bounded memory and time, and others are served meanwhile.

use std::io::Write as _;
use std::time::Instant;

use serde_json::json;

use super::support::{Oracle, asking, eventually, seconds};

#[test]
fn what_is_no_request_is_refused_by_name() {
    let oracle = Oracle::start(&[]);
    let deep = "[".repeat(500_000);
    let keys = format!("{{{}}}", vec!["\"k\":0"; 100_000].join(","));
    let name = asking("hi", json!({ "x".repeat(100_000): 1 }));
    let model = asking("hi", json!({ "model": "é".repeat(100_000) }));
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("null", 400),
        ("{\"model\":\"shard-hybrid\"", 400),
        ("{\"model\":\"shard-hybrid\",}", 400),
        ("{\"temperature\":1e999}", 400),
        ("{\"temperature\":NaN}", 400),
        ("{\"model\":\"\\ud800\"}", 400),
        ("\u{feff}{}", 400),
        ("{}{}", 400),
        (&deep, 400),
        (&keys, 400),
        (&name, 400),
        (&model, 404),
        ("{\"model\":\"shard-hybrid\",\"messages\":{}}", 400),
        ("{\"model\":\"shard-hybrid\",\"messages\":[[[[]]]]}", 400),
    ] {
        let answer = oracle.post(body);
        assert_eq!(answer.status, status, "{body:.60}: {}", answer.body);
        answer.code();
        assert!(answer.body.len() < 2000, "{body:.60} is repeated");
    }
    let broken = oracle.post("{\"model\":\n  nope}");
    assert!(
        broken.json()["detail"]
            .as_str()
            .unwrap()
            .contains("line 2 column"),
        "{}",
        broken.body
    );
    let mut connection = oracle.connect();
    connection.send(
        "POST",
        "/v1/chat/completions",
        &[("Content-Type", "application/json"), ("Content-Length", "3")],
        None,
    );
    connection.socket().write_all(b"\"\xff\"").unwrap();
    assert_eq!(connection.read().code(), "invalid_json");
    assert_eq!(oracle.ask("hi", json!({"max_tokens": 1})).status, 200);
}

#[test]
fn what_is_announced_as_something_else_is_not_read() {
    let oracle = Oracle::start(&[]);
    let body = asking("hi", json!({"max_tokens": 1}));
    let post = |headers: &[(&str, &str)]| {
        oracle
            .connect()
            .call("POST", "/v1/chat/completions", headers, Some(&body))
    };
    for headers in [
        vec![],
        vec![("Content-Type", "text/plain")],
        vec![("Content-Type", "application/x-www-form-urlencoded")],
        vec![("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
    ] {
        let refused = post(&headers);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (415, "unsupported_media_type"),
            "{headers:?}"
        );
    }
    assert_eq!(
        post(&[("Content-Type", "Application/JSON; charset=utf-8")]).status,
        200
    );
}

#[test]
fn a_text_with_every_kind_of_character_is_answered() {
    let oracle = Oracle::start(&[]);
    for text in [
        "\u{0}",
        "\u{7f}\u{1b}[2J",
        "\u{202e}x",
        "é🦀語",
        "<|im_end|>",
        "{{ x }}",
        "\n",
        "data: [DONE]\n\n",
    ] {
        let answer = oracle.ask(text, json!({"max_tokens": 4}));
        assert_eq!(answer.status, 200, "{text:?}: {}", answer.body);
        let mut stream = oracle.stream(text, json!({"max_tokens": 4}));
        assert_eq!(stream.events().last().unwrap(), "[DONE]", "{text:?}");
    }
}

#[test]
fn a_huge_body_is_refused_at_once_and_in_little_memory() {
    const HUGE: usize = 64 << 20;
    let oracle = Oracle::start(&[]);
    let before = oracle.memory();
    let json = ("Content-Type", "application/json");
    let path = "/v1/chat/completions";
    for round in 0..4 {
        let began = Instant::now();
        let mut announced = oracle.connect();
        announced.send("POST", path, &[json, ("Content-Length", &HUGE.to_string())], None);
        // It is refused before any of it came.
        let refused = announced.read();
        assert_eq!((refused.status, refused.code().as_str()), (413, "body_too_large"));
        let mut chunked = oracle.connect();
        chunked.send("POST", path, &[json, ("Transfer-Encoding", "chunked")], None);
        let piece = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
        let mut sent = 0;
        while sent < HUGE && chunked.socket().write_all(&piece).is_ok() {
            sent += 0x10000;
        }
        let refused = chunked.read();
        assert_eq!((refused.status, refused.code().as_str()), (413, "body_too_large"));
        println!(
            "round {round}: {:?}, {} MiB were taken",
            began.elapsed(),
            sent >> 20
        );
        assert!(began.elapsed() < seconds(10.0));
    }
    let grown = oracle.memory().saturating_sub(before);
    println!("it has {} KiB more", grown >> 10);
    assert!(grown < 32 << 20, "{grown}");
}

#[test]
fn a_body_that_comes_slowly_is_given_up_and_others_are_served() {
    let oracle = Oracle::start(&[]);
    let began = Instant::now();
    let mut slow = oracle.connect();
    let json = ("Content-Type", "application/json");
    slow.send(
        "POST",
        "/v1/chat/completions",
        &[json, ("Content-Length", "1000")],
        None,
    );
    slow.socket().write_all(b"{\"model\":").unwrap();
    assert_eq!(oracle.ask("hi", json!({"max_tokens": 1})).status, 200);
    let refused = slow.read();
    assert_eq!((refused.status, refused.code().as_str()), (408, "body_too_slow"));
    println!("given up after {:?}", began.elapsed());
    assert!((9.0..30.0).contains(&began.elapsed().as_secs_f64()));
}

#[test]
fn a_thousand_readers_that_read_nothing_are_bounded_and_harm_nobody() {
    const READERS: usize = 1000;
    const TOKENS: usize = 200;
    let oracle = Oracle::start(&[
        ("ORACLE_QUEUE", "2000"),
        ("ORACLE_QUEUE_SECONDS", "600"),
        ("ORACLE_ANSWERS", "32"),
    ]);
    let before = oracle.memory();
    let body = asking("!long!", json!({"max_tokens": TOKENS, "stream": true}));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut reader = oracle.connect();
            reader.send_post(&body);
            reader
        })
        .collect();
    // All are taken, and others are heard meanwhile.
    let slowest = eventually(seconds(60.0), "a thousand requests", || {
        let began = Instant::now();
        assert_eq!(oracle.get("/health").status, 200);
        (oracle.metric("shard_chat_requests_total") >= READERS as f64).then_some(began.elapsed())
    });
    println!("health took {slowest:?}");
    let grown = || oracle.memory().saturating_sub(before);
    let first = grown();
    // Every answer is written, although nobody reads a byte of it.
    eventually(seconds(100.0), "a thousand answers", || {
        (oracle.metric("oracle_completion_tokens_total") >= (READERS * TOKENS) as f64).then_some(())
    });
    println!(
        "{READERS} readers take {} MiB, and {} MiB with their answers",
        first >> 20,
        grown() >> 20
    );
    assert!(grown() < 256 << 20, "{}", grown());
    assert_eq!(oracle.ask("hi", json!({"max_tokens": 1})).status, 200);
    drop(readers);
    eventually(seconds(30.0), "no answer is written", || {
        (oracle.get("/health").json()["idle"] == true).then_some(())
    });
    assert_eq!(oracle.ask("hi", json!({"max_tokens": 1})).status, 200);
}
