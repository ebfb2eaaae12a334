//! What a beat's body may say, against what the published server took it for.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use shardman_core::wire::ShardState;

use super::body::{self, Beat};
use crate::http::body as request_body;
use crate::http::error::Refusal;
use crate::http::reference::{self, Case};

const SESSION: &str = "6f1c1f0e-9f0a-4d5b-8c11-0123456789ab";

async fn read(headers: &[(String, String)], bytes: Vec<u8>) -> Result<Beat, Refusal> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        // The header's characters stand for single bytes.
        let value: Vec<u8> = value
            .chars()
            .map(|character| u8::try_from(character).unwrap())
            .collect();
        let value = HeaderValue::from_bytes(&value).unwrap();
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    let bytes = request_body::read(&map, Body::from(bytes)).await?;
    body::read(&bytes)
}

async fn shown(refusal: Refusal) -> (u16, String) {
    let response: Response = refusal.into_response();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn beats(cases: &[Case]) -> impl Iterator<Item = &Case> {
    cases
        .iter()
        .filter(|case| case.method == "POST" && case.target == "/beat" && !case.headers.is_empty())
}

#[tokio::test]
async fn beats_are_read_and_refused_as_the_published_server_did() {
    let cases = reference::load();
    let mut differing = Vec::new();
    for case in beats(&cases.same) {
        match (read(&case.headers, case.bytes()).await, &case.read) {
            (Ok(beat), Some(expected)) => {
                let extra: Option<Value> = beat
                    .report
                    .extra
                    .as_ref()
                    .map(|raw| serde_json::from_str(raw.get()).unwrap());
                let is_known = beat.session.is_some_and(|session| session.reveal() == SESSION);
                let is_same = is_known == (case.status == 204)
                    && beat.report.guild_count == expected.guild_count
                    && beat.report.latency.map(f64::to_bits) == expected.latency.map(f64::to_bits)
                    && extra == expected.extra;
                if !is_same {
                    differing.push(format!("{case:?}\n  read as {beat:?}"));
                }
            }
            (Err(refusal), None) => {
                let shown = shown(refusal).await;
                if shown != (case.status, case.answer.clone().unwrap_or_default()) {
                    differing.push(format!("{case:?}\n  refused as {shown:?}"));
                }
            }
            (outcome, _) => differing.push(format!("{case:?}\n  ended as {outcome:?}")),
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
    assert!(beats(&cases.same).count() > 500);
}

#[tokio::test]
async fn what_the_published_server_got_wrong_is_a_422() {
    let cases = reference::load();
    for case in beats(&cases.put_right) {
        let refusal = read(&case.headers, case.bytes())
            .await
            .expect_err(&format!("{case:?}"));
        let (status, answer) = shown(refusal).await;
        assert_eq!(status, 422, "{case:?}\n{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["detail"][0]["loc"][0], "body", "{case:?}");
    }
    assert!(beats(&cases.put_right).count() > 30);
}

async fn check_flaws(body: Value, expected: Value) {
    let refusal = read(&[], body.to_string().into_bytes()).await.unwrap_err();
    let (status, answer) = shown(refusal).await;
    assert_eq!(status, 422);
    assert_eq!(
        serde_json::from_str::<Value>(&answer).unwrap()["detail"],
        expected
    );
}

#[tokio::test]
async fn the_native_fields_are_refused_in_the_same_shape_and_order() {
    check_flaws(
        json!({"loop_lag": -1, "gateway": {"sequence": -1, "resume_url": 5}, "epoch": "x", "session_id": null}),
        json!([
            {"loc": ["body", "session_id"], "msg": "none is not an allowed value", "type": "type_error.none.not_allowed"},
            {"loc": ["body", "epoch"], "msg": "value is not a valid integer", "type": "type_error.integer"},
            {"loc": ["body", "gateway", "session_id"], "msg": "field required", "type": "value_error.missing"},
            {"loc": ["body", "gateway", "sequence"], "msg": "ensure this value is greater than or equal to 0", "type": "value_error.number.not_ge", "ctx": {"limit_value": 0}},
            {"loc": ["body", "loop_lag"], "msg": "ensure this value is greater than or equal to 0", "type": "value_error.number.not_ge", "ctx": {"limit_value": 0}},
        ]),
    )
    .await;
}

#[tokio::test]
async fn an_unknown_state_is_answered_with_the_known_ones() {
    let words = [
        "starting",
        "waiting",
        "identifying",
        "resuming",
        "standing_by",
        "ready",
        "disconnected",
        "stopping",
    ];
    let permitted = words.map(|word| format!("'{word}'")).join(", ");
    check_flaws(
        json!({"session_id": SESSION, "state": "asleep"}),
        json!([{
            "loc": ["body", "state"],
            "msg": format!("value is not a valid enumeration member; permitted: {permitted}"),
            "type": "type_error.enum",
            "ctx": {"enum_values": words},
        }]),
    )
    .await;
}

#[tokio::test]
async fn a_null_is_as_good_as_nothing() {
    let body = json!({"session_id": SESSION, "guild_count": null, "latency": null, "extra": null, "state": null,
        "epoch": null, "gateway": null, "last_event_age": null, "loop_lag": null});
    let beat = read(&[], body.to_string().into_bytes()).await.unwrap();
    assert!(beat.session.is_some());
    assert_eq!(
        format!("{:?}", beat.report),
        format!("{:?}", crate::manager::BeatReport::default())
    );
}

#[tokio::test]
async fn a_body_is_bounded() {
    let of_length = |length: usize| {
        let rest = length - r#"{"session_id":"","pad":""}"#.len() - SESSION.len();
        format!(r#"{{"session_id":"{SESSION}","pad":"{}"}}"#, "x".repeat(rest)).into_bytes()
    };
    let bound = request_body::MAX_BODY_BYTES;
    assert!(read(&[], of_length(bound)).await.is_ok());
    let refusal = read(&[], of_length(bound + 1)).await.unwrap_err();
    assert_eq!(
        shown(refusal).await,
        (413, r#"{"detail":"Body Too Large"}"#.to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let (_sender, body) = http_body_util::channel::Channel::<bytes::Bytes, std::io::Error>::new(1);
    let refusal = request_body::read(&HeaderMap::new(), Body::new(body))
        .await
        .unwrap_err();
    assert_eq!(
        shown(refusal).await,
        (408, r#"{"detail":"Body Too Slow"}"#.to_owned())
    );
}

/// What a beat says, in a form that can be compared; `Debug` hides secrets.
fn said(beat: &Beat) -> String {
    let gateway = beat
        .report
        .gateway
        .as_ref()
        .map(|point| serde_json::to_string(point).unwrap());
    let session = beat.session.map(|session| session.reveal());
    format!("{session:?} {gateway:?} {:?}", beat.report)
}

/// Text that a JSON reader stumbles over.
fn tricky_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\[\\]{}\",:\\\\eE0-9u]{0,12}",
        Just(SESSION.to_owned())
    ]
}

fn tricky_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        tricky_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(tricky_text(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn some_state() -> impl Strategy<Value = ShardState> {
    prop::sample::select(vec![
        ShardState::Starting,
        ShardState::Ready,
        ShardState::Stopping,
    ])
}

prop_compose! {
    fn valid_beat()(
        session in prop_oneof![Just(SESSION.to_owned()), any::<String>()],
        guild_count in any::<Option<i64>>(),
        latency in any::<Option<f64>>(),
        extra in prop::option::of(tricky_json()),
        state in prop::option::of(some_state()),
        epoch in any::<Option<u64>>(),
        gateway in prop::option::of((any::<String>(), any::<u64>(), any::<String>())),
        age in prop::option::of(0.0..1e9),
    ) -> Value {
        let gateway = gateway.map(|(id, sequence, url)| {
            json!({"session_id": id, "sequence": sequence, "resume_url": url})
        });
        let mut beat = json!({"session_id": session, "guild_count": guild_count, "latency": latency,
            "extra": extra, "state": state, "epoch": epoch, "gateway": gateway, "loop_lag": age});
        beat.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        beat
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let refused_right = match body::read(&bytes) {
            Ok(_) | Err(Refusal::UnreadableBody) => true,
            Err(Refusal::Invalid(flaws)) => !flaws.is_empty(),
            Err(_) => false,
        };
        prop_assert!(refused_right);
    }

    #[test]
    fn any_text_of_json_pieces_is_read_or_refused(
        text in "(\\{|\\}|\\[|\\]|:|,|\"session_id\"|\"extra\"|\"latency\"|\"\\\\ud8|\"|-|1e9|0\\.|null|NaN| |é){0,30}",
    ) {
        let is_known = matches!(body::read(text.as_bytes()), Ok(_) | Err(Refusal::Invalid(_)));
        prop_assert!(is_known);
    }

    #[test]
    fn the_quick_and_the_exact_reading_agree(beat in valid_beat(), pretty in any::<bool>()) {
        let text = if pretty { format!("{beat:#}") } else { beat.to_string() };
        let exact = body::read_exactly(text.as_bytes());
        if let Some(plain) = body::read_plain(text.as_bytes()) {
            prop_assert_eq!(said(&plain), said(&exact.unwrap()));
        }
    }

    #[test]
    fn whatever_the_quick_reading_takes_the_exact_one_takes_alike(
        text in "\\{\"session_id\":\"a\"(,\"(guild_count|latency|extra|state|epoch|loop_lag)\":(-?[0-9]{1,21}(\\.[0-9]{1,3})?(e[0-9]{1,3})?|null|\"ready\"|\\[[0-9]{17,20},\\{\\}\\]|true)){0,3}\\}",
    ) {
        if let Some(plain) = body::read_plain(text.as_bytes()) {
            prop_assert_eq!(said(&plain), said(&body::read_exactly(text.as_bytes()).unwrap()));
        }
    }
}

#[test]
fn a_plain_beat_takes_the_quick_reading() {
    for extra in ["5", "[1,2.5,\"x\"]", r#"{"guilds":[123456789012345678]}"#] {
        let text = format!(
            r#"{{"session_id":"{SESSION}","guild_count":100,"latency":0.0421,"extra":{extra},"state":"ready","gateway":{{"session_id":"a","sequence":5,"resume_url":"wss://b"}}}}"#
        );
        assert!(body::read_plain(text.as_bytes()).is_some(), "{text}");
    }
}
