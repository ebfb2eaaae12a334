//! The same with async-openai.

use std::collections::HashSet;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiErrorResponse, OpenAIError};
use async_openai::types::chat::{
    CreateChatCompletionRequest, CreateChatCompletionResponse, CreateChatCompletionStreamResponse,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::sdk::{KEY, oracles};
use crate::support::Oracle;

struct Caller {
    client: Client<OpenAIConfig>,
}

impl Caller {
    fn new(oracle: &Oracle, key: &str) -> Self {
        let base = format!("http://{}/v1", oracle.address);
        let config = OpenAIConfig::new().with_api_base(base).with_api_key(key);
        Self {
            client: Client::with_config(config),
        }
    }

    /// A request as a program would build it, from what it says beside a question.
    fn request(fields: &Value) -> CreateChatCompletionRequest {
        let mut body = json!({
            "model": "shard-hybrid",
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "temperature": 0.0,
            "max_tokens": 16,
        });
        let fields = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(body).unwrap()
    }

    async fn ask(&self, fields: Value) -> CreateChatCompletionResponse {
        let answer = self.client.chat().create(Self::request(&fields)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{fields}: {error}"));
        assert_eq!(
            (&*answer.object, &*answer.model),
            ("chat.completion", "shard-hybrid")
        );
        assert!(answer.id.starts_with("chatcmpl-") && answer.created > 1_700_000_000);
        let usage = answer.usage.as_ref().unwrap();
        assert!(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
        assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
        assert!(answer.choices.iter().all(|choice| choice.finish_reason.is_some()));
        answer
    }

    async fn text(&self, fields: Value) -> String {
        text(&self.ask(fields).await)
    }

    async fn stream(&self, mut fields: Value) -> Vec<CreateChatCompletionStreamResponse> {
        fields["stream"] = true.into();
        let stream = self.client.chat().create_stream(Self::request(&fields)).await;
        stream.unwrap().map(Result::unwrap).collect().await
    }

    async fn refused(&self, fields: Value) -> ApiErrorResponse {
        match self.client.chat().create(Self::request(&fields)).await {
            Err(OpenAIError::ApiError(refusal)) => refusal,
            other => panic!("{fields}: {other:?}"),
        }
    }
}

fn text(answer: &CreateChatCompletionResponse) -> String {
    answer.choices[0].message.content.clone().unwrap_or_default()
}

fn streamed(chunks: &[CreateChatCompletionStreamResponse]) -> String {
    let choices = chunks.iter().flat_map(|chunk| &chunk.choices);
    choices
        .filter_map(|choice| choice.delta.content.as_deref())
        .collect()
}

#[tokio::test]
async fn async_openai_makes_every_kind_of_call() {
    for oracle in oracles("async-openai") {
        let caller = Caller::new(&oracle, KEY);
        answers(&caller).await;
        streams(&caller).await;
        choices(&caller).await;
        lists(&caller).await;
        refusals(&caller, &Caller::new(&oracle, "wrong")).await;
    }
}

/// Plain, a system's and a developer's word, parts, fewer tokens, a stop.
async fn answers(caller: &Caller) {
    let plain = caller.text(json!({})).await;
    assert!(plain.len() > 6, "{plain}");
    let brief = |role: &str| {
        json!({"messages": [
            {"role": role, "content": "You are brief."},
            {"role": "user", "content": "Who are you?"},
        ]})
    };
    assert_eq!(
        caller.text(brief("system")).await,
        caller.text(brief("developer")).await
    );
    let parts = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is the capital "},
        {"type": "text", "text": "of France?"},
    ]}]});
    assert_eq!(caller.text(parts).await, plain);
    let few = caller
        .ask(json!({"max_completion_tokens": 2, "max_tokens": null}))
        .await;
    assert_eq!(few.usage.unwrap().completion_tokens, 2);
    let border: String = plain.chars().skip(3).take(3).collect();
    let stopped = caller.text(json!({"stop": [border]})).await;
    assert_eq!(stopped, plain[..plain.find(&border).unwrap()]);
}

async fn streams(caller: &Caller) {
    let plain = caller.text(json!({})).await;
    let chunks = caller.stream(json!({})).await;
    assert_eq!(streamed(&chunks), plain);
    let chunks = caller
        .stream(json!({"stream_options": {"include_usage": true}}))
        .await;
    assert_eq!(streamed(&chunks), plain);
    let last = chunks.last().unwrap();
    assert!(last.choices.is_empty() && last.usage.as_ref().unwrap().completion_tokens > 0);
}

/// Several answers, probabilities, a seed with a nucleus, penalties and a bias.
async fn choices(caller: &Caller) {
    let three = caller.ask(json!({"n": 3, "temperature": 1.5, "seed": 7})).await;
    let texts: HashSet<_> = three
        .choices
        .iter()
        .map(|choice| choice.message.content.clone())
        .collect();
    assert!(three.choices.len() == 3 && texts.len() > 1, "{texts:?}");
    let probable = caller.ask(json!({"logprobs": true, "top_logprobs": 2})).await;
    let tokens = probable.choices[0].logprobs.clone().unwrap().content.unwrap();
    assert!(!tokens.is_empty());
    assert!(
        tokens
            .iter()
            .all(|token| token.logprob <= 0.0 && token.top_logprobs.len() == 2)
    );
    let sampled = || caller.text(json!({"seed": 11, "temperature": 1.2, "top_p": 0.9}));
    assert_eq!(sampled().await, sampled().await);
    caller
        .ask(json!({"presence_penalty": 1.5, "frequency_penalty": -0.5}))
        .await;
    let pushed = json!({"logit_bias": {"40": 100}, "logprobs": true});
    let pushed = caller.ask(pushed).await;
    let tokens = pushed.choices[0].logprobs.clone().unwrap().content.unwrap();
    assert!(tokens.iter().all(|token| token.token == tokens[0].token));
}

async fn lists(caller: &Caller) {
    let models = caller.client.models().list().await.unwrap();
    assert_eq!(models.data.len(), 1);
    let model = caller.client.models().retrieve("shard-hybrid").await.unwrap();
    assert_eq!(model.id, models.data[0].id);
}

async fn refusals(caller: &Caller, stranger: &Caller) {
    let unknown = caller.refused(json!({"model": "gpt-17"})).await;
    assert_eq!(unknown.status_code.as_u16(), 404);
    assert_eq!(unknown.api_error.code.as_deref(), Some("model_not_found"));
    let hot = caller.refused(json!({"temperature": 2.1})).await;
    assert_eq!(hot.status_code.as_u16(), 400);
    assert_eq!(hot.api_error.param.as_deref(), Some("temperature"));
    let format = caller
        .refused(json!({"response_format": {"type": "json_object"}}))
        .await;
    assert_eq!(format.api_error.code.as_deref(), Some("unsupported_parameter"));
    let long = json!({"role": "user", "content": "a".repeat(8000)});
    let large = caller.refused(json!({"messages": [long, long, long]})).await;
    assert_eq!(large.status_code.as_u16(), 413);
    let wrong = stranger.refused(json!({})).await;
    assert_eq!(wrong.status_code.as_u16(), 401);
}
