//! What holds whatever a handler does, and whatever a client sends.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::response;
use axum::routing::{get, post};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::engine::fake;
use crate::network::Alone;
use crate::scheduler;

mod prompts;

/// The API on the fake engine.
fn api(requests_per_minute: u32) -> Api {
    api_with(requests_per_minute, None)
}

/// And with this text in front of it.
fn api_with(requests_per_minute: u32, text: Option<Arc<dyn Text>>) -> Api {
    let model = fake::model(fake::FakeSettings::default());
    let registry = Registry::new();
    let facts = model.engine.facts().clone();
    let text = text.unwrap_or_else(|| Arc::clone(&model.text));
    let scheduler = scheduler::start(model, Vec::new(), scheduler::Settings::default(), &registry);
    let parts = Parts {
        scheduler,
        facts,
        text,
        network: Arc::new(Alone),
        listens: ([127, 0, 0, 1], 0).into(),
        registry,
    };
    let settings = Settings {
        keys: Keys::default(),
        requests_per_minute,
        max_prompt_chars: 1000,
        cors_origins: shardman_serve::parse_origins("http://page").unwrap(),
    };
    Api::new(parts, settings, Ending::default()).unwrap()
}

async fn ask(router: Router, request: Request) -> (response::Parts, String) {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_in_the_documented_shape() {
    async fn fails() -> &'static str {
        panic!("a test asked for it")
    }
    let api = api(5);
    let routes = Router::new()
        .route("/fails", get(fails))
        .route(chat::PATH, post(fails));
    let router = router::wrapped(routes, api.clone());
    for (request, failures) in [(Request::get("/fails"), 0), (Request::post(chat::PATH), 1)] {
        let request = request
            .header("origin", "http://page")
            .body(Body::empty())
            .unwrap();
        let (parts, body) = ask(router.clone(), request).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parts.status.as_u16(), 500);
        assert_eq!(body["detail"], "An unexpected error occurred");
        assert_eq!(body["error"]["type"], "server_error");
        assert!(parts.headers.contains_key("x-request-id"));
        assert!(parts.headers.contains_key("x-ratelimit-remaining"));
        // A page may read what went wrong.
        assert_eq!(parts.headers["access-control-allow-origin"], "http://page");
        assert_eq!(api.0.metrics.chat_failures.get(), failures);
    }
}

/// A value that a field of a request may be changed into.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..30_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
        Just(json!(["x", "y"])),
        Just(json!({"3": -1, "include_usage": true})),
        Just(json!([{"role": "user", "content": "x"}])),
    ]
}

#[test]
fn no_request_is_answered_with_a_failure() {
    const FIELDS: [&str; 14] = [
        "messages",
        "temperature",
        "top_p",
        "seed",
        "n",
        "stop",
        "stream",
        "stream_options",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "max_tokens",
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let router = router(api(0), Router::new());
    let change = (prop::sample::select(&FIELDS), any_value());
    let changes = prop::collection::vec(change, 0..4);
    let ruin = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    proptest!(|(changes in changes, ruin in ruin)| {
        let mut body = json!({
            "model": MODEL_ID, "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}],
        });
        for (name, value) in changes {
            body[name] = value;
        }
        let mut bytes = body.to_string().into_bytes();
        if let Some((at, byte)) = ruin {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Body::from(bytes))
            .unwrap();
        let (parts, answer) = runtime.block_on(ask(router.clone(), request));
        let status = parts.status.as_u16();
        prop_assert!(status < 500, "{body}: {status} {answer}");
        if status >= 400 {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            prop_assert_eq!(&answer["error"]["message"], &answer["detail"]);
        } else if parts.headers["content-type"] == "text/event-stream" {
            prop_assert!(answer.ends_with("data: [DONE]\n\n"), "{body}: {answer}");
        } else {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            prop_assert!(answer["choices"][0]["finish_reason"].is_string());
        }
    });
}
