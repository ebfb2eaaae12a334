//! One streamed chat completion, timed: any server of the OpenAI API will do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::json;

/// What one request took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) sent: Instant,
    pub(super) first: Instant,
    pub(super) last: Instant,
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
    /// The longest time between two pieces of text.
    pub(super) longest_gap: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
}

impl Client {
    pub(super) fn new(base: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            // Some servers close a connection in the moment that it is used again.
            pool: Pool::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            base,
        }
    }

    /// Whether the server answers `path` with success.
    pub(super) async fn is_up(&self, path: &str) -> bool {
        let Ok(uri) = format!("{}{path}", self.base).parse() else {
            return false;
        };
        let answer = tokio::time::timeout(Duration::from_secs(2), self.pool.get(uri)).await;
        matches!(answer, Ok(Ok(answer)) if answer.status().is_success())
    }

    /// The text of an answer, such as that of `/metrics`.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.pool.get(format!("{}{path}", self.base).parse()?).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Asks greedily for at most `max_tokens`.
    pub(super) async fn ask(&self, content: &str, max_tokens: u32) -> anyhow::Result<Timed> {
        let body = json!({
            "model": "shard-hybrid",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        let request = Request::post(format!("{}/v1/chat/completions", self.base))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(serde_json::to_vec(&body)?))?;
        let sent = Instant::now();
        let answer = self.pool.request(request).await.context("no answer")?;
        let status = answer.status();
        let mut body = answer.into_body();
        let (mut text, mut seen) = (Vec::new(), 0);
        let (mut first, mut last, mut longest_gap) = (None, sent, Duration::ZERO);
        let mut usage = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the stream broke")?.into_data() else {
                continue;
            };
            text.extend_from_slice(&data);
            let now = Instant::now();
            while let Some(end) = text[seen..].iter().position(|&byte| byte == b'\n') {
                let line = &text[seen..seen + end];
                seen += end + 1;
                let Some(data) = line.strip_prefix(b"data: ").filter(|data| data.starts_with(b"{")) else {
                    continue;
                };
                let chunk: Chunk = serde_json::from_slice(data).context("a chunk makes no sense")?;
                if let Some(error) = chunk.error {
                    bail!("the server gave up: {error}");
                }
                usage = chunk.usage.or(usage);
                let has_text =
                    |choice: &Choice| choice.delta.content.as_ref().is_some_and(|text| !text.is_empty());
                if chunk.choices.iter().any(has_text) {
                    if first.is_some() {
                        longest_gap = longest_gap.max(now - last);
                    }
                    first.get_or_insert(now);
                    last = now;
                }
            }
        }
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&text));
        }
        let usage = usage.context("no usage was told")?;
        Ok(Timed {
            sent,
            first: first.unwrap_or(last),
            last,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            longest_gap,
        })
    }
}
