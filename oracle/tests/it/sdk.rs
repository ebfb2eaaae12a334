//! Clients that others wrote: Rust's, and the official ones of Python and
//! JavaScript where they are installed.

use std::process::Command;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::CreateChatCompletionRequest;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::support::Oracle;

fn request(content: &str, fields: Value) -> CreateChatCompletionRequest {
    let body = super::support::asking(content, fields);
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_rust_client_gets_whole_answers_streams_and_refusals() {
    let oracle = Oracle::start(&[("SHARD_API_KEYS", "alpha")]);
    let base = format!("http://{}/v1", oracle.address);
    let with_key =
        |key: &str| Client::with_config(OpenAIConfig::new().with_api_base(&base).with_api_key(key));
    let client = with_key("alpha");
    let fields = json!({"max_tokens": 8, "temperature": 0.0});
    let whole = client
        .chat()
        .create(request("Hello!", fields.clone()))
        .await
        .unwrap();
    let text = whole.choices[0].message.content.clone().unwrap();
    assert!(whole.usage.unwrap().completion_tokens > 0);

    let mut streamed = fields.clone();
    streamed["stream"] = true.into();
    let mut stream = client
        .chat()
        .create_stream(request("Hello!", streamed))
        .await
        .unwrap();
    let mut pieces = String::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        let delta = chunk.choices.into_iter().find_map(|choice| choice.delta.content);
        pieces.push_str(&delta.unwrap_or_default());
    }
    assert_eq!(pieces, text);

    let models = client.models().list().await.unwrap();
    assert_eq!(models.data[0].id, "shard-hybrid");
    let refused = client.chat().create(request("Hello!", json!({"n": 9}))).await;
    let Err(OpenAIError::ApiError(refused)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(refused.status_code.as_u16(), 400);
    assert_eq!(refused.api_error.param.as_deref(), Some("n"));
    let refused = with_key("wrong").models().list().await;
    let Err(OpenAIError::ApiError(refused)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(refused.api_error.code.as_deref(), Some("invalid_api_key"));
}

/// Runs a probe with an interpreter that has the SDK. Where they must be there
/// (`SHARDMAN_TEST_ALL`), their absence is a failure.
fn probe(interpreter: &str, check: &[&str], file: &str) {
    let has_sdk = Command::new(interpreter).args(check).output();
    if !has_sdk.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("SHARDMAN_TEST_ALL").is_none(),
            "{interpreter} has no openai"
        );
        eprintln!("\n*** SKIPPED: {file}: {interpreter} has no openai ***\n");
        return;
    }
    let oracle = Oracle::start(&[("SHARD_API_KEYS", "alpha")]);
    let output = Command::new(interpreter)
        .arg(format!("{}/tests/it/clients/{file}", env!("CARGO_MANIFEST_DIR")))
        .args([&format!("http://{}/v1", oracle.address), "alpha"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn the_official_python_client_is_served_and_refused_right() {
    probe("python3", &["-c", "import openai"], "probe.py");
}

#[test]
fn the_official_javascript_client_is_served_and_refused_right() {
    probe("node", &["-e", "require('openai')"], "probe.mjs");
}
