//! The routes with a manager behind them. Each test starts with every shard of
//! a plan of four free.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::reference;
use super::{HttpState, router};
use crate::manager::{Manager, ManagerHandle, Secrets, Settings};
use crate::store::MemoryStore;

const SECRET: &str = "s3cret";
const UNKNOWN_SESSION: &str = "00000000-0000-4000-8000-000000000000";

/// A manager of four shards whose secret is [`SECRET`].
pub(super) fn manager() -> ManagerHandle {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::leases_only(4, Duration::from_secs(60), folder.path().join("logs"));
    let secrets = Secrets {
        shared: SECRET.to_owned(),
        operator: None,
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    // A runtime of its own: the tests' runtimes end with them.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (alerts, _) = tokio::sync::mpsc::channel(1);
            let started = Manager::start(MemoryStore::default(), settings, &secrets, alerts).await;
            let (manager, handle) = started.unwrap();
            sender.send(handle).unwrap();
            manager.run(CancellationToken::new()).await;
            // Until here it writes down what happens.
            drop(folder);
        });
    });
    receiver.recv().unwrap()
}

fn api(public_status: bool) -> Router {
    router(
        HttpState {
            manager: manager(),
            public_status,
        },
        &[],
    )
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

async fn ask(api: &Router, method: &str, target: &str, authorization: Option<&str>, body: Body) -> Answer {
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = target.parse().unwrap();
    if let Some(value) = authorization {
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, value.parse().unwrap());
    }
    let (head, body) = api.clone().oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        text,
    }
}

async fn get(api: &Router, target: &str, authorization: Option<&str>) -> Answer {
    ask(api, "GET", target, authorization, Body::empty()).await
}

async fn beat(api: &Router, body: Value) -> Answer {
    ask(api, "POST", "/beat", Some(SECRET), Body::from(body.to_string())).await
}

#[tokio::test]
async fn a_connect_answers_in_the_callers_version() {
    let api = api(false);
    let current = get(&api, "/connect", Some(SECRET)).await;
    assert_eq!(current.status, 200);
    let lease = current.json();
    assert_eq!((&lease["shard_id"], &lease["max_shards"]), (&json!(0), &json!(4)));
    assert!(lease["session_id"].is_string() && lease["sleep_duration"].is_f64());
    let older = get(&api, "/connect?token=s3cret", None).await;
    assert_eq!(older.status, 200);
    let mut names: Vec<_> = older.json().as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["max_shards", "session_id", "shard"]);
}

#[tokio::test]
async fn the_header_counts_before_the_token() {
    let api = api(false);
    assert_eq!(
        get(&api, "/connect?token=s3cret", Some("wrong")).await.status,
        403
    );
    let current = get(&api, "/connect?token=wrong", Some("Bearer s3cret")).await;
    assert!(current.status == 200 && current.json()["shard_id"].is_u64());
}

#[tokio::test]
async fn a_wrong_secret_is_refused_in_the_same_words_everywhere() {
    let api = api(false);
    let session = format!("/sessions/{UNKNOWN_SESSION}");
    for (method, target) in [
        ("GET", "/connect"),
        ("POST", "/beat"),
        ("GET", "/disconnect"),
        ("DELETE", &session),
        ("GET", "/status"),
        ("POST", "/identify"),
    ] {
        for wrong in [
            "",
            "wrong",
            "Bearer",
            "Bearer wrong",
            "Basic s3cret",
            "s3cret2",
            "s3cre",
            "Bearer s3cret x",
        ] {
            let answer = ask(&api, method, target, Some(wrong), Body::empty()).await;
            let expected = (403, r#"{"detail":"Invalid Token"}"#);
            assert_eq!(
                (answer.status, answer.text.as_str()),
                expected,
                "{method} {target} {wrong}"
            );
        }
    }
    assert_eq!(
        get(&api, "/beat?token=wrong&session_id=x", None).await.status,
        403
    );
}

#[tokio::test]
async fn a_body_is_not_read_before_the_secret_holds() {
    let (_sender, body) = http_body_util::channel::Channel::<bytes::Bytes, std::io::Error>::new(1);
    assert_eq!(
        ask(&api(false), "POST", "/beat", Some("wrong"), Body::new(body))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_plain_beat_gets_no_content_and_one_with_a_state_a_directive() {
    let api = api(false);
    let session = get(&api, "/connect", Some(SECRET)).await.json()["session_id"].clone();
    let plain = beat(
        &api,
        json!({"session_id": session, "guild_count": "12", "latency": 0.5}),
    )
    .await;
    assert_eq!((plain.status, plain.text.as_str()), (204, ""));
    let native = beat(&api, json!({"session_id": session, "state": "ready"})).await;
    assert_eq!(
        (native.status, native.text.as_str()),
        (200, r#"{"directive":"carry_on"}"#)
    );
    let older = get(
        &api,
        &format!("/beat?token=s3cret&session_id={}", session.as_str().unwrap()),
        None,
    )
    .await;
    assert_eq!((older.status, older.text.as_str()), (204, ""));
}

#[tokio::test]
async fn an_unknown_session_is_not_found() {
    let api = api(false);
    let not_found = |answer: &Answer| {
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (404, r#"{"detail":"Session Not Found"}"#)
        );
    };
    for session in [
        json!(UNKNOWN_SESSION),
        json!("x"),
        json!(""),
        json!(12),
        json!(true),
        json!(1.5),
    ] {
        not_found(&beat(&api, json!({"session_id": session})).await);
        let body = Body::from(json!({"session_id": session}).to_string());
        not_found(&ask(&api, "POST", "/identify", Some(SECRET), body).await);
    }
    not_found(&get(&api, "/disconnect?session_id=x", Some(SECRET)).await);
    not_found(&ask(&api, "DELETE", "/sessions/%ff", Some(SECRET), Body::empty()).await);
}

#[tokio::test]
async fn a_lease_is_given_back_by_either_verb() {
    let api = api(false);
    for by_delete in [false, true] {
        let lease = get(&api, "/connect", Some(SECRET)).await.json();
        let session = lease["session_id"].as_str().unwrap();
        let gone = if by_delete {
            ask(
                &api,
                "DELETE",
                &format!("/sessions/{session}"),
                Some(SECRET),
                Body::empty(),
            )
            .await
        } else {
            get(&api, &format!("/disconnect?session_id={session}"), Some(SECRET)).await
        };
        assert_eq!((gone.status, gone.text.as_str()), (204, ""));
        assert_eq!(beat(&api, json!({"session_id": session})).await.status, 404);
    }
}

#[tokio::test]
async fn a_full_plan_is_refused_in_each_versions_words() {
    let api = api(false);
    for _ in 0..4 {
        assert_eq!(get(&api, "/connect", Some(SECRET)).await.status, 200);
    }
    let current = get(&api, "/connect", Some(SECRET)).await;
    assert_eq!(
        (current.status, current.text.as_str()),
        (401, r#"{"detail":"No Shards Available"}"#)
    );
    let older = get(&api, "/connect?token=s3cret", None).await;
    assert_eq!(
        (older.status, older.text.as_str()),
        (401, r#"{"detail":"Too Many Shards"}"#)
    );
}

#[tokio::test]
async fn the_status_lists_shards_by_number_and_shows_extra_as_it_was_sent() {
    let api = api(false);
    for _ in 0..3 {
        let session = get(&api, "/connect", Some(SECRET)).await.json()["session_id"].clone();
        let sent = beat(&api, json!({"session_id": session, "extra": {"a": [1, 2.50]}})).await;
        assert_eq!(sent.status, 204);
    }
    for (target, authorization) in [
        ("/status", Some(SECRET)),
        ("/status?extra=on", Some("Bearer s3cret")),
        ("/status?token=s3cret", None),
    ] {
        let status = get(&api, target, authorization).await.json();
        let numbers: Vec<_> = status["shards"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["shard_id"].clone())
            .collect();
        assert_eq!(
            (numbers, &status["total_shards"]),
            (vec![json!(0), json!(1), json!(2)], &json!(4))
        );
        assert_eq!(status["shards"][0]["extra"], json!({"a": [1, 2.5]}));
    }
    assert_eq!(get(&api, "/status", None).await.status, 422);
}

#[tokio::test]
async fn a_public_status_needs_no_secret() {
    assert_eq!(get(&api(true), "/status", None).await.status, 200);
}

#[tokio::test]
async fn a_ready_manager_is_ready() {
    let ready = get(&api(false), "/ready", None).await;
    assert_eq!(
        (ready.status, ready.text.as_str()),
        (200, r#"{"status":"ready"}"#)
    );
    assert_eq!(ready.headers[header::CONTENT_TYPE], "application/json");
}

#[tokio::test]
async fn what_the_published_server_refused_is_refused_in_the_same_words_with_a_secret_too() {
    let api = api(false);
    let cases = reference::load().same;
    let refused = cases
        .iter()
        .filter(|case| !case.headers.is_empty() && case.status != 204 && case.status != 405);
    for case in refused {
        let mut request = Request::new(Body::from(case.bytes()));
        *request.method_mut() = Method::from_bytes(case.method.as_bytes()).unwrap();
        *request.uri_mut() = case.target.parse().unwrap();
        for (name, value) in &case.headers {
            let value: Vec<u8> = value
                .chars()
                .map(|character| u8::try_from(character).unwrap())
                .collect();
            let name = axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request
                .headers_mut()
                .append(name, axum::http::HeaderValue::from_bytes(&value).unwrap());
        }
        let (head, body) = api.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let expected = case.answer.clone().unwrap_or_default();
        assert_eq!(
            (head.status.as_u16(), &body[..]),
            (case.status, expected.as_bytes()),
            "{case:?}"
        );
    }
}
