//! The end: asked for, asked for twice, and forced by a broken model.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Oracle, asking, eventually, seconds};

fn code_of(event: &str) -> Value {
    let event: Value = serde_json::from_str(event).unwrap();
    event["error"]["code"].clone()
}

#[test]
fn who_is_being_answered_is_answered_to_the_end() {
    let mut oracle = Oracle::start(&[("ORACLE_STOP_SECONDS", "30")]);
    let mut stream = oracle.stream("!long! !slow=20ms!", json!({"max_tokens": 50}));
    let mut whole = oracle.connect();
    whole.send_post(&asking("!long! !slow=20ms!", json!({"max_tokens": 50})));
    eventually(seconds(20.0), "two answers", || {
        (oracle.metric("oracle_active_answers") == 2.0).then_some(())
    });
    oracle.signal(Signal::TERM);
    assert_eq!(stream.events().last().unwrap(), "[DONE]");
    let whole = whole.read();
    assert_eq!(
        (whole.status, &whole.json()["usage"]["completion_tokens"]),
        (200, &json!(50))
    );
    assert_eq!(oracle.wait(seconds(20.0)).code(), Some(0));
    assert!(oracle.log().contains("stopped"));
}

#[test]
fn after_the_grace_answers_are_broken_off_and_say_so() {
    let mut oracle = Oracle::start(&[("ORACLE_STOP_SECONDS", "1"), ("ORACLE_ANSWERS", "2")]);
    let slow = asking("!long! !slow=50ms!", json!({"max_tokens": 2000}));
    let mut stream = oracle.stream("!long! !slow=50ms!", json!({"max_tokens": 2000}));
    let mut whole = oracle.connect();
    whole.send_post(&slow);
    let mut waiting = oracle.connect();
    waiting.send_post(&slow);
    eventually(seconds(20.0), "one that waits", || {
        (oracle.metric("oracle_queue_requests") == 1.0).then_some(())
    });
    let began = Instant::now();
    oracle.signal(Signal::TERM);
    // Who waits is refused at once.
    let waiting = waiting.read();
    assert_eq!((waiting.status, waiting.code().as_str()), (503, "stopping"));
    assert_eq!(waiting.header("x-should-retry"), Some("true"));
    let events = stream.events();
    assert_eq!(code_of(events.last().unwrap()), "stopping");
    assert!(!events.contains(&"[DONE]".to_owned()));
    let whole = whole.read();
    assert_eq!((whole.status, whole.code().as_str()), (503, "stopping"));
    assert_eq!(oracle.wait(seconds(20.0)).code(), Some(0));
    println!("ended after {:?}", began.elapsed());
    assert!((1.0..15.0).contains(&began.elapsed().as_secs_f64()));
}

#[test]
fn a_second_signal_ends_it_now() {
    let mut oracle = Oracle::start(&[("ORACLE_STOP_SECONDS", "600")]);
    let mut stream = oracle.stream("!long! !slow=50ms!", json!({"max_tokens": 2000}));
    oracle.signal(Signal::TERM);
    eventually(seconds(20.0), "the first signal", || {
        oracle.log().contains("stopping").then_some(())
    });
    oracle.signal(Signal::INT);
    assert_eq!(code_of(stream.events().last().unwrap()), "stopping");
    assert_eq!(oracle.wait(seconds(20.0)).code(), Some(0));
}

#[test]
fn a_model_that_dies_is_told_everywhere_and_ends_the_oracle() {
    let mut oracle = Oracle::start(&[]);
    assert_eq!(oracle.get("/ready").status, 200);
    let events = oracle.stream("!long! !panic-after=3!", json!({})).events();
    assert_eq!(code_of(events.last().unwrap()), "inference_failed");
    let health = eventually(seconds(4.0), "bad health", || {
        let health = oracle.get("/health").json();
        (health["status"] == "error").then_some(health)
    });
    assert_eq!(
        (&health["bitnet_loaded"], &health["detail"]),
        (&json!(false), &json!("the model has stopped computing"))
    );
    let ready = oracle.get("/ready");
    assert_eq!((ready.status, ready.code().as_str()), (503, "not_ready"));
    let refused = oracle.ask("hi", json!({}));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "inference_failed")
    );
    // Somebody starts it anew.
    assert_eq!(oracle.wait(seconds(30.0)).code(), Some(70));
}

#[test]
fn a_model_whose_passes_always_fail_is_told_and_ends_the_oracle() {
    let mut oracle = Oracle::start(&[]);
    for _ in 0..3 {
        assert_eq!(oracle.get("/ready").status, 200);
        let failed = oracle.ask("!fail-after=0!", json!({}));
        assert_eq!((failed.status, failed.code().as_str()), (503, "inference_failed"));
    }
    let health = eventually(seconds(4.0), "bad health", || {
        let health = oracle.get("/health").json();
        (health["status"] == "error").then_some(health)
    });
    assert_eq!(
        health["detail"],
        json!("one pass of the model after the other fails")
    );
    assert_eq!(oracle.get("/ready").status, 503);
    assert_eq!(oracle.wait(seconds(30.0)).code(), Some(70));
}
