//! What a reader of a stream gets, event by event.

use axum::body::to_bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::engine::fake::FakeText;
use crate::scheduler::{Finish, Logprob};

fn teller(choices: u32, include_usage: bool, has_logprobs: bool) -> Teller {
    Teller {
        heading: Heading {
            id: "chatcmpl-1".into(),
            created: 7,
            fingerprint: "fp".into(),
            seed: 5,
            prompt_tokens: 3,
            choices,
            has_logprobs,
        },
        text: Arc::new(FakeText::new()),
        include_usage,
        unfinished: choices,
        completion_tokens: 0,
    }
}

fn said(choice: u32, text: &str) -> Event {
    Event::Text {
        choice,
        text: text.into(),
        logprobs: Vec::new(),
    }
}

fn finished(choice: u32, finish: Finish, tokens: usize) -> Event {
    Event::Finished {
        choice,
        finish,
        tokens,
    }
}

/// All that a reader gets of these events, if nothing else comes.
async fn read(teller: Teller, events: Vec<Event>) -> Vec<String> {
    let (sender, receiver) = mpsc::channel(events.len().max(1));
    for event in events {
        sender.try_send(event).unwrap();
    }
    drop(sender);
    let ticket = Ticket { events: receiver };
    let body = body(ticket, teller, None, CancellationToken::new(), || ());
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.ends_with("\n\n"), "{text}");
    text.trim_end_matches('\n')
        .split("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap().to_owned())
        .collect()
}

fn parsed(event: &str) -> Value {
    serde_json::from_str(event).unwrap()
}

#[tokio::test]
async fn a_stream_begins_with_the_role_and_ends_with_done() {
    let events = vec![said(0, "he"), said(0, "llo"), finished(0, Finish::Stop, 2)];
    let got = read(teller(1, false, false), events).await;
    assert_eq!(
        parsed(&got[0]),
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "shard-hybrid",
            "system_fingerprint": "fp", "shard": {"seed": 5},
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null}],
        })
    );
    let deltas: Vec<Value> = got[1..3]
        .iter()
        .map(|event| parsed(event)["choices"][0]["delta"].clone())
        .collect();
    assert_eq!(deltas, [json!({"content": "he"}), json!({"content": "llo"})]);
    let last = parsed(&got[3]);
    assert_eq!(
        last["choices"][0],
        json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"})
    );
    assert!(
        got.iter()
            .take(4)
            .all(|event| parsed(event).get("usage").is_none())
    );
    assert_eq!(got[4..], ["[DONE]"]);
}

#[tokio::test]
async fn the_usage_comes_last_and_counts_all_choices() {
    let events = vec![
        said(1, "b"),
        finished(1, Finish::Length, 4),
        said(0, "a"),
        finished(0, Finish::Stop, 2),
    ];
    let got = read(teller(2, true, false), events).await;
    let roles: Vec<_> = got[..2]
        .iter()
        .map(|event| parsed(event)["choices"][0]["index"].clone())
        .collect();
    assert_eq!(roles, [0, 1]);
    let (done, usage) = (&got[got.len() - 1], parsed(&got[got.len() - 2]));
    assert_eq!(done, "[DONE]");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        usage["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9})
    );
    assert!(
        got[..got.len() - 2]
            .iter()
            .all(|event| parsed(event)["usage"] == Value::Null && parsed(event).get("usage").is_some())
    );
}

#[tokio::test]
async fn what_fails_midway_is_an_error_and_no_end() {
    for events in [
        vec![said(0, "he"), Event::Failed("no power".into())],
        vec![said(0, "he")],
    ] {
        let got = read(teller(1, true, false), events).await;
        let error = parsed(got.last().unwrap());
        assert_eq!(error["error"]["code"], "inference_failed");
        assert!(
            error["detail"]
                .as_str()
                .unwrap()
                .starts_with("Inference failed: "),
            "{error}"
        );
        assert!(
            !got.iter()
                .any(|event| event == "[DONE]" || event.contains("\"finish_reason\":\""))
        );
    }
}

#[tokio::test]
async fn probabilities_are_finite_numbers_with_their_bytes() {
    let logprob = Logprob {
        token: 104,
        logprob: -0.5,
        top: vec![(104, -0.5), (105, f32::NEG_INFINITY), (0, -3.0)],
    };
    let event = Event::Text {
        choice: 0,
        text: "h".into(),
        logprobs: vec![logprob],
    };
    let got = read(teller(1, false, true), vec![event, finished(0, Finish::Stop, 1)]).await;
    let content = &parsed(&got[1])["choices"][0]["logprobs"]["content"][0];
    assert_eq!(content["logprob"], -0.5);
    assert_eq!(content["top_logprobs"][1]["logprob"], -9999.0);
    // What stands for no text has a name.
    assert_eq!(
        content["top_logprobs"][2],
        json!({"token": "<end>", "logprob": -3.0, "bytes": null})
    );
    let bytes = FakeText::new().bytes(104).to_vec();
    assert_eq!(content["bytes"], json!(bytes));
    assert_eq!(content["token"], json!(String::from_utf8_lossy(&bytes)));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_shown_that_the_server_is_there() {
    let (sender, events) = mpsc::channel(4);
    let body = body(
        Ticket { events },
        teller(1, false, false),
        None,
        CancellationToken::new(),
        || (),
    );
    let mut pieces = body.into_data_stream();
    pieces.next().await.unwrap().unwrap();
    let began = tokio::time::Instant::now();
    for count in 1..4 {
        assert_eq!(pieces.next().await.unwrap().unwrap(), COMMENT);
        assert_eq!(began.elapsed(), KEEP_ALIVE * count);
    }
    sender.try_send(said(0, "x")).unwrap();
    assert!(pieces.next().await.unwrap().unwrap().starts_with(b"data: {"));
    assert!(pieces.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_stream_that_is_broken_off_says_so_and_a_reader_that_leaves_drops_the_ticket() {
    let (sender, events) = mpsc::channel(4);
    let cutoff = CancellationToken::new();
    let broken_off = body(
        Ticket { events },
        teller(1, false, false),
        None,
        cutoff.clone(),
        || (),
    );
    sender.try_send(said(0, "x")).unwrap();
    cutoff.cancel();
    let bytes = to_bytes(broken_off, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(
        text.contains("\"content\":\"x\"") && text.contains("\"code\":\"stopping\""),
        "{text}"
    );
    assert!(!text.contains("[DONE]") && sender.is_closed());

    let (sender, events) = mpsc::channel(4);
    let left = body(
        Ticket { events },
        teller(1, false, false),
        None,
        CancellationToken::new(),
        || (),
    );
    assert!(!sender.is_closed());
    drop(left);
    assert!(sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn the_status_waits_for_the_requests_turn() {
    let refusal = || scheduler::Refusal::Waited {
        retry_after: Duration::from_secs(7),
    };
    // Told too late for a status of its own, and just in time.
    for (after, is_told) in [(TURN_TIME + TURN_TIME / 10, false), (TURN_TIME / 10 * 9, true)] {
        let (sender, events) = mpsc::channel(4);
        let mut ticket = Ticket { events };
        let refused = async {
            tokio::time::sleep_until(Instant::now() + after).await;
            drop(sender.send(Event::Refused(refusal())).await);
        };
        let (first, ()) = tokio::join!(first_of(&mut ticket), refused);
        match first {
            Err(Refusal::NotTaken(told)) => assert!(is_told && told == refusal()),
            Ok(None) => assert!(!is_told),
            other => panic!("{other:?}"),
        }
    }
    // Its turn has come: a first word is waited for, but not for long.
    let (sender, events) = mpsc::channel(4);
    let mut ticket = Ticket { events };
    let began = Instant::now();
    sender.try_send(Event::Begun).unwrap();
    assert!(matches!(first_of(&mut ticket).await, Ok(None)));
    assert_eq!(began.elapsed(), FIRST_TEXT_TIME);
    sender.try_send(said(0, "x")).unwrap();
    assert!(matches!(
        first_of(&mut ticket).await,
        Ok(Some(Event::Text { .. }))
    ));
}

#[tokio::test]
async fn a_stream_that_breaks_while_it_waits_counts_as_a_failure() {
    for (event, expected) in [
        (Event::Refused(scheduler::Refusal::Broken), 1),
        (Event::Failed("no power".into()), 1),
        (Event::Refused(scheduler::Refusal::Stopping), 0),
        (finished(0, Finish::Stop, 0), 0),
    ] {
        let (sender, events) = mpsc::channel(4);
        sender.try_send(event).unwrap();
        let failures = prometheus::IntCounter::new("failures", "failures").unwrap();
        let counted = failures.clone();
        let body = body(
            Ticket { events },
            teller(1, false, false),
            None,
            CancellationToken::new(),
            move || counted.inc(),
        );
        to_bytes(body, usize::MAX).await.unwrap();
        assert_eq!(failures.get(), expected);
    }
}
