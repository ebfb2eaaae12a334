//! What a request may say, field by field and at each edge.

use serde_json::{Value, json};

use super::*;
use crate::engine::Role;

mod any;

const LIMITS: Limits<'_> = Limits {
    model: "shard-hybrid",
    max_prompt_chars: 16_000,
    vocabulary: 300,
};

fn parsed(body: &Value) -> Result<ChatRequest, Invalid> {
    parse(body.to_string().as_bytes(), &LIMITS)
}

/// A request with these fields beside the required ones.
fn with(fields: Value) -> Result<ChatRequest, Invalid> {
    let mut body = json!({"model": "shard-hybrid", "messages": [{"role": "user", "content": "hi"}]});
    let Value::Object(fields) = fields else {
        panic!("{fields} is no object")
    };
    body.as_object_mut().unwrap().extend(fields);
    parsed(&body)
}

#[track_caller]
fn refused(result: Result<ChatRequest, Invalid>, kind: Kind, param: &str) {
    let invalid = result.expect_err(param);
    assert_eq!(
        (invalid.kind, invalid.param.as_deref().unwrap_or("")),
        (kind, param),
        "{invalid}"
    );
    assert!(invalid.message.chars().count() < 300, "{}", invalid.message);
}

fn saying(messages: impl Into<Value>) -> Result<ChatRequest, Invalid> {
    with(json!({"messages": messages.into()}))
}

#[test]
fn what_is_left_out_has_the_documents_defaults() {
    let request = with(json!({})).unwrap();
    assert_eq!((request.temperature, request.top_p), (0.7, 1.0));
    assert_eq!((request.max_tokens, request.choices), (256, 1));
    assert_eq!((request.seed, request.logprobs), (None, None));
    assert!(!request.stream && !request.include_usage && request.stop.is_empty());
    let nothing: serde_json::Map<_, _> = [
        "temperature",
        "top_p",
        "seed",
        "n",
        "stop",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "user",
        "metadata",
        "tools",
        "tool_choice",
        "response_format",
        "audio",
        "prediction",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), Value::Null))
    .collect();
    assert_eq!(with(Value::Object(nothing)).unwrap(), request);
}

#[test]
fn every_range_holds_at_its_edges() {
    for (name, inside, outside) in [
        (
            "temperature",
            json!([0, 0.0, 2, 2.0]),
            json!([-0.001, 2.001, 1e300]),
        ),
        ("top_p", json!([0.001, 1e-300, 1]), json!([0, -1, 1.001])),
        (
            "presence_penalty",
            json!([-2, 0, 2.0]),
            json!([-2.001, 2.001, 1e300]),
        ),
        ("frequency_penalty", json!([-2, 0, 2.0]), json!([-2.001, 2.001])),
        (
            "max_tokens",
            json!([1, 2048, 256.0]),
            json!([0, 2049, -1, 1.5, 1e300]),
        ),
        (
            "max_completion_tokens",
            json!([1, 2048]),
            json!([0, 2049, u64::MAX]),
        ),
        ("n", json!([1, 4]), json!([0, 5, -1])),
        (
            "seed",
            json!([i64::MIN, -1, 0, i64::MAX]),
            json!([u64::MAX, 0.5, 1e19]),
        ),
    ] {
        for value in inside.as_array().unwrap() {
            with(json!({name: value})).unwrap_or_else(|invalid| panic!("{name} {value}: {invalid}"));
        }
        for value in outside.as_array().unwrap() {
            refused(with(json!({name: value})), Kind::Value, name);
        }
        for value in [json!("1"), json!([1]), json!({}), json!(true)] {
            refused(with(json!({name: value})), Kind::WrongType, name);
        }
    }
    assert!(with(json!({"top_p": 1e-300})).unwrap().top_p > 0.0);
}

#[test]
fn the_newer_name_of_a_limit_wins() {
    let request = with(json!({"max_tokens": 9, "max_completion_tokens": 2})).unwrap();
    assert_eq!(request.max_tokens, 2);
    let flawed = with(json!({"max_tokens": 0, "max_completion_tokens": 2}));
    refused(flawed, Kind::Value, "max_tokens");
}

#[test]
fn messages_are_one_to_sixty_four_of_one_to_eight_thousand_characters() {
    let some = |count| saying(vec![json!({"role": "user", "content": "x"}); count]);
    assert_eq!(some(64).unwrap().messages.len(), 64);
    refused(some(0), Kind::Value, "messages");
    refused(some(65), Kind::Value, "messages");
    // Counted in code points, however many bytes they take.
    for letter in ["x", "é", "語", "🦀"] {
        let long = |count| saying(json!([{"role": "user", "content": letter.repeat(count)}]));
        assert_eq!(
            long(8000).unwrap().messages[0].content.chars().count(),
            8000,
            "{letter}"
        );
        refused(long(8001), Kind::Value, "messages[0].content");
        refused(long(0), Kind::Value, "messages[0].content");
        let whole = |count: usize| {
            let half = json!({"role": "user", "content": letter.repeat(8000)});
            let rest = json!({"role": "user", "content": letter.repeat(count - 8000)});
            saying(json!([half, rest]))
        };
        whole(16_000).unwrap();
        refused(whole(16_001), Kind::PromptTooLarge, "messages");
        refused(long(16_001), Kind::PromptTooLarge, "messages");
    }
    let message = saying(json!([{"role": "user", "content": "x".repeat(16_001)}])).unwrap_err();
    assert_eq!(message.to_string(), "Prompt too large (>16000 chars)");
}

#[test]
fn content_is_text_or_parts_of_text() {
    let parts = json!([{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]);
    let request = saying(json!([
        {"role": "developer", "content": parts},
        {"role": "assistant", "content": "hi", "refusal": null, "tool_calls": null, "annotations": []},
        {"role": "user", "content": "bye"},
    ]))
    .unwrap();
    assert_eq!(request.messages[0].role, Role::System);
    assert_eq!(request.messages[0].content, "hello");
    assert_eq!(request.messages[1].role, Role::Assistant);
    let one = |message: Value| saying(json!([{"role": "user", "content": "x"}, message]));
    for (message, kind, param) in [
        (json!(1), Kind::WrongType, "messages[1]"),
        (json!({"content": "x"}), Kind::Missing, "messages[1].role"),
        (
            json!({"role": 1, "content": "x"}),
            Kind::WrongType,
            "messages[1].role",
        ),
        (
            json!({"role": "bot", "content": "x"}),
            Kind::Value,
            "messages[1].role",
        ),
        (
            json!({"role": "tool", "content": "x"}),
            Kind::Unsupported,
            "messages[1].role",
        ),
        (json!({"role": "user"}), Kind::Missing, "messages[1].content"),
        (
            json!({"role": "user", "content": null}),
            Kind::Missing,
            "messages[1].content",
        ),
        (
            json!({"role": "user", "content": 3}),
            Kind::WrongType,
            "messages[1].content",
        ),
        (
            json!({"role": "user", "content": []}),
            Kind::Value,
            "messages[1].content",
        ),
        (
            json!({"role": "user", "content": ["x"]}),
            Kind::WrongType,
            "messages[1].content[0]",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
            Kind::Unsupported,
            "messages[1].content[0].type",
        ),
        (
            json!({"role": "user", "content": [{"type": "text"}]}),
            Kind::Missing,
            "messages[1].content[0].text",
        ),
        (
            json!({"role": "user", "content": "x", "name": "bob"}),
            Kind::Unsupported,
            "messages[1].name",
        ),
        (
            json!({"role": "user", "content": "x", "tool_calls": [{}]}),
            Kind::Unsupported,
            "messages[1].tool_calls",
        ),
        (
            json!({"role": "user", "content": "x", "colour": 1}),
            Kind::Unknown,
            "messages[1].colour",
        ),
    ] {
        refused(one(message), kind, param);
    }
}

#[test]
fn stops_are_one_string_or_up_to_four() {
    assert_eq!(with(json!({"stop": "x"})).unwrap().stop, ["x"]);
    assert_eq!(with(json!({"stop": ["a", "b", "c", "d"]})).unwrap().stop.len(), 4);
    assert!(with(json!({"stop": []})).unwrap().stop.is_empty());
    for (stop, kind, param) in [
        (json!(["a", "b", "c", "d", "e"]), Kind::Value, "stop"),
        (json!(""), Kind::Value, "stop"),
        (json!(["x".repeat(1001)]), Kind::Value, "stop"),
        (json!(7), Kind::WrongType, "stop"),
        (json!(["a", 7]), Kind::WrongType, "stop[1]"),
    ] {
        refused(with(json!({"stop": stop})), kind, param);
    }
}

#[test]
fn logprobs_and_biases_are_of_known_tokens() {
    assert_eq!(with(json!({"logprobs": true})).unwrap().logprobs, Some(0));
    assert_eq!(with(json!({"logprobs": false})).unwrap().logprobs, None);
    let top = |top| with(json!({"logprobs": true, "top_logprobs": top}));
    assert_eq!(top(20).unwrap().logprobs, Some(20));
    refused(top(21), Kind::Value, "top_logprobs");
    refused(with(json!({"top_logprobs": 0})), Kind::Value, "top_logprobs");
    let biased = |token: &str, bias: Value| with(json!({"logit_bias": {token: bias}}));
    assert_eq!(biased("299", json!(-100)).unwrap().logit_bias[&299], -100.0);
    refused(biased("300", json!(1)), Kind::Value, "logit_bias.300");
    refused(biased("-1", json!(1)), Kind::Value, "logit_bias.-1");
    refused(biased("word", json!(1)), Kind::Value, "logit_bias.word");
    refused(biased("3", json!(100.5)), Kind::Value, "logit_bias.3");
    refused(biased("3", json!("1")), Kind::WrongType, "logit_bias.3");
    refused(with(json!({"logit_bias": []})), Kind::WrongType, "logit_bias");
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    for (name, value) in [
        ("tools", json!([{"type": "function"}])),
        ("tool_choice", json!("required")),
        ("functions", json!([{}])),
        ("function_call", json!({"name": "f"})),
        ("response_format", json!({"type": "json_object"})),
        (
            "response_format",
            json!({"type": "json_schema", "json_schema": {}}),
        ),
        ("store", json!(true)),
        ("service_tier", json!("flex")),
        ("audio", json!({"voice": "alloy"})),
        ("modalities", json!(["text", "audio"])),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("reasoning_effort", json!("high")),
        ("web_search_options", json!({})),
        ("verbosity", json!("low")),
        ("prompt_cache_retention", json!("24h")),
        ("parallel_tool_calls", json!("yes")),
    ] {
        refused(with(json!({name: value})), Kind::Unsupported, name);
    }
    refused(with(json!({"temprature": 1})), Kind::Unknown, "temprature");
    let long = "x".repeat(100_000);
    let invalid = with(json!({ &long: 1 })).unwrap_err();
    assert!(invalid.message.len() < 200, "{}", invalid.message.len());
}

#[test]
fn what_changes_no_answer_is_accepted() {
    with(json!({
        "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "metadata": {"a": "b"},
        "store": false, "service_tier": "auto", "response_format": {"type": "text"}, "modalities": ["text"],
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": true, "reasoning_effort": "none",
    }))
    .unwrap();
    refused(with(json!({"user": 1})), Kind::WrongType, "user");
    refused(with(json!({"metadata": {"a": 1}})), Kind::Value, "metadata");
    refused(with(json!({"metadata": []})), Kind::WrongType, "metadata");
}

#[test]
fn stream_options_belong_to_streams() {
    let options = |stream: bool, options: Value| with(json!({"stream": stream, "stream_options": options}));
    assert!(
        options(true, json!({"include_usage": true}))
            .unwrap()
            .include_usage
    );
    assert!(
        !options(true, json!({"include_obfuscation": false}))
            .unwrap()
            .include_usage
    );
    refused(
        options(true, json!({"include_obfuscation": true})),
        Kind::Unsupported,
        "stream_options.include_obfuscation",
    );
    refused(options(true, json!({"x": 1})), Kind::Unknown, "stream_options.x");
    refused(options(true, json!(true)), Kind::WrongType, "stream_options");
    refused(
        options(false, json!({"include_usage": true})),
        Kind::Value,
        "stream_options",
    );
}

#[test]
fn the_model_is_named_and_known() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    refused(parsed(&json!({"messages": &messages})), Kind::Missing, "model");
    refused(with(json!({"model": null})), Kind::Missing, "model");
    refused(with(json!({"model": 4})), Kind::WrongType, "model");
    refused(with(json!({"model": "gpt-4"})), Kind::ModelNotFound, "model");
    refused(
        parsed(&json!({"model": "shard-hybrid"})),
        Kind::Missing,
        "messages",
    );
}

#[test]
fn what_is_no_json_says_where_it_broke() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{",
        "{\"a\":}",
        "nul",
        "{\"a\":1,}",
        "{'a':1}",
        "\u{feff}{}",
        "{\"a\":1e999}",
        "{\"a\":NaN}",
        "{\"a\":\"\\ud800\"}",
        "{} {}",
        deep.as_str(),
    ] {
        let invalid = parse(body.as_bytes(), &LIMITS).unwrap_err();
        assert_eq!(
            (invalid.kind, &invalid.param),
            (Kind::Syntax, &None),
            "{body:.40}"
        );
        assert!(
            invalid.message.contains("line") && invalid.message.contains("column"),
            "{invalid}"
        );
    }
    assert_eq!(
        parse(b"{\"a\":\"\xff\"}", &LIMITS).unwrap_err().kind,
        Kind::Syntax
    );
    for body in ["[]", "3", "null", "\"x\"", "true"] {
        refused(parse(body.as_bytes(), &LIMITS), Kind::WrongType, "");
    }
}
