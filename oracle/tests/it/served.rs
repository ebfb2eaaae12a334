//! The real engine behind the API, with a model of half a megabyte.

use serde_json::{Value, json};

use super::support::{Oracle, text_of};
use super::tiny;

#[test]
fn a_model_from_a_file_is_served_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    tiny::model(7).write(&path);
    let oracle = Oracle::start(&[("ORACLE_MODEL", path.to_str().unwrap()), ("ORACLE_THREADS", "1")]);
    let fields =
        |temperature: f64| json!({"max_tokens": 24, "temperature": temperature, "seed": 5, "logprobs": true});
    for temperature in [0.0, 1.0] {
        let whole = oracle.ask("Hello!", fields(temperature));
        assert_eq!(whole.status, 200, "{}", whole.body);
        let usage = &whole.json()["usage"];
        let tokens = usage["completion_tokens"].as_u64().unwrap();
        let logprobs = &whole.json()["choices"][0]["logprobs"]["content"];
        assert_eq!(logprobs.as_array().unwrap().len() as u64, tokens);
        // The same beside four others, and streamed.
        let others: Vec<_> = (0..4)
            .map(|_| oracle.stream("Others?", json!({"max_tokens": 60})))
            .collect();
        let events = oracle.stream("Hello!", fields(temperature)).events();
        assert_eq!(text_of(&events), whole.text());
        drop(others);
    }
    let fingerprint = oracle.get("/health").json()["model"]["fingerprint"].clone();
    let answer: Value = oracle.ask("Hello!", fields(0.0)).json();
    assert_eq!(answer["system_fingerprint"], fingerprint);
    let long = oracle.ask(&"word ".repeat(1600), json!({}));
    assert_eq!(
        (long.status, long.code().as_str()),
        (400, "context_length_exceeded"),
        "{}",
        long.body
    );
    assert_eq!(long.json()["error"]["param"], "messages");
}
