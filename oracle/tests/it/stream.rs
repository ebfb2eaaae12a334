//! Streams as a client sees them, and what becomes of a request whose client
//! went away.

use serde_json::{Value, json};

use super::support::{Oracle, asking, eventually, seconds, text_of};

#[test]
fn a_stream_is_told_event_by_event() {
    let oracle = Oracle::start(&[]);
    let mut connection = oracle.connect();
    let fields = json!({"max_tokens": 5, "stream": true, "stream_options": {"include_usage": true}});
    connection.send_post(&asking("!long!", fields));
    let head = connection.read_head();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert!(head.header("x-request-id").is_some());
    let events = connection.events();
    let chunk = |index: usize| serde_json::from_str::<Value>(&events[index]).unwrap();
    assert_eq!(
        chunk(0)["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    let last = events.len() - 1;
    assert_eq!(events[last], "[DONE]");
    assert_eq!(chunk(last - 1)["choices"], json!([]));
    assert_eq!(chunk(last - 1)["usage"]["completion_tokens"], 5);
    assert_eq!(chunk(last - 2)["choices"][0]["finish_reason"], "length");
    let id = chunk(0)["id"].clone();
    for index in 0..last {
        assert_eq!(
            (&chunk(index)["id"], &chunk(index)["object"]),
            (&id, &json!("chat.completion.chunk"))
        );
        assert_eq!(chunk(index)["model"], "shard-hybrid");
    }
    // The connection is good for the next request.
    assert_eq!(
        connection.post(&asking("hi", json!({"max_tokens": 1}))).status,
        200
    );
}

#[test]
fn the_text_comes_while_it_is_written() {
    let oracle = Oracle::start(&[]);
    let mut stream = oracle.stream("!long! !slow=20ms!", json!({"max_tokens": 2000}));
    for _ in 0..4 {
        assert!(stream.event().unwrap().contains("chat.completion.chunk"));
    }
    // A whole answer takes 40 seconds: it is not waited for.
    assert_eq!(oracle.metric("oracle_active_answers"), 1.0);
}

#[test]
fn what_fails_midway_is_an_error_and_no_end() {
    let oracle = Oracle::start(&[]);
    let events = oracle.stream("!long! !fail-after=5!", json!({})).events();
    let (error, before) = events.split_last().unwrap();
    let error: Value = serde_json::from_str(error).unwrap();
    assert_eq!(error["error"]["code"], "inference_failed");
    assert!(
        error["detail"]
            .as_str()
            .unwrap()
            .starts_with("Inference failed: "),
        "{error}"
    );
    assert!(!text_of(before).is_empty());
    assert!(
        !events
            .iter()
            .any(|event| event == "[DONE]" || event.contains("\"finish_reason\":\""))
    );
    // Whole answers, and streams that did not begin, have a status for it.
    for fields in [json!({}), json!({"stream": true})] {
        let failed = oracle.ask("!fail-after=0!", fields);
        assert_eq!((failed.status, failed.code().as_str()), (503, "inference_failed"));
    }
    let failed = oracle.ask("!long! !fail-after=3!", json!({}));
    assert_eq!((failed.status, failed.code().as_str()), (503, "inference_failed"));
    assert_eq!(oracle.metric("shard_chat_failures_total"), 4.0);
    assert_eq!(oracle.ask("hi", json!({"max_tokens": 3})).status, 200);
}

#[test]
fn a_client_that_goes_away_frees_what_its_request_takes() {
    let oracle = Oracle::start(&[("ORACLE_ANSWERS", "4")]);
    let slow = "!long! !slow=20ms!";
    let answers = |count: f64| {
        eventually(seconds(20.0), "answers", || {
            (oracle.metric("oracle_active_answers") == count).then_some(())
        });
    };
    let streams: Vec<_> = (0..2)
        .map(|_| oracle.stream(slow, json!({"max_tokens": 2000})))
        .collect();
    let mut whole = oracle.connect();
    whole.send_post(&asking(slow, json!({"max_tokens": 2000, "n": 2})));
    answers(4.0);
    let mut waiting = oracle.connect();
    waiting.send_post(&asking(slow, json!({"max_tokens": 2000})));
    eventually(seconds(20.0), "one that waits", || {
        (oracle.metric("oracle_queue_requests") == 1.0).then_some(())
    });
    drop(waiting);
    eventually(seconds(20.0), "nobody waits", || {
        (oracle.metric("oracle_queue_requests") == 0.0).then_some(())
    });
    drop(whole);
    answers(2.0);
    drop(streams);
    answers(0.0);
    assert_eq!(oracle.metric("oracle_kv_bytes"), 0.0);
    assert!(oracle.metric("oracle_cancelled_total") >= 3.0);
    assert_eq!(oracle.get("/health").json()["idle"], true);
}
