//! Whatever a client sends is served or refused: never a panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::Kind;
use super::super::parse;
use super::{LIMITS, refused, saying, with};

/// Any JSON at all, with the names that mean something among its own.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("user")),
        Just(json!("text")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "messages",
            "content",
            "role",
            "stop",
            "n",
            "seed",
            "logit_bias",
            "stream",
            "stream_options",
            "text",
            "type",
            "temperature",
            "top_p",
            "max_tokens",
            "logprobs",
            "top_logprobs",
            "metadata",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ]
}

proptest! {
    #[test]
    fn any_field_with_any_value_is_served_or_refused(name in name(), value in any_json()) {
        if let Ok(request) = with(json!({ name: value })) {
            prop_assert!((1..=2048).contains(&request.max_tokens) && (1..=4).contains(&request.choices));
            prop_assert!(request.temperature.is_finite() && request.top_p > 0.0 && request.top_p <= 1.0);
            prop_assert!((1..=64).contains(&request.messages.len()));
        }
    }

    #[test]
    fn a_body_with_bytes_changed_is_served_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut body = json!({
            "model": "shard-hybrid", "stream": true, "stop": ["\n"], "temperature": 0.5, "logit_bias": {"3": 1},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "é🦀\u{0}"}]}],
        }).to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body.truncate(end.index(body.len()) + 1);
        if let Err(invalid) = parse(&body, &LIMITS) {
            prop_assert!(!invalid.message.is_empty());
        }
    }
}

#[test]
fn an_answer_of_ours_may_come_back_whatever_became_of_it() {
    let answer = |count| saying(json!([{"role": "assistant", "content": "x".repeat(count)}]));
    for count in [0, 8001, 16_000] {
        assert_eq!(answer(count).unwrap().messages[0].content.len(), count);
    }
    refused(answer(16_001), Kind::PromptTooLarge, "messages");
}
