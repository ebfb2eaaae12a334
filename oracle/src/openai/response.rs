//! What an answer looks like, whole or in chunks.

use serde::Serialize;

use crate::scheduler::Finish;

/// A whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct Completion<'a> {
    pub id: &'a str,
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    pub model: &'a str,
    pub system_fingerprint: &'a str,
    pub choices: Vec<Choice>,
    pub usage: Usage,
    pub shard: Shard,
}

#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    pub index: u32,
    pub message: Answer,
    pub logprobs: Option<Logprobs>,
    pub finish_reason: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub role: &'static str,
    pub content: String,
    /// Always `null`: this server refuses by errors alone.
    pub refusal: Option<String>,
}

/// What was counted, in tokens of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
}

/// What only this server tells.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shard {
    /// The seed that the answer was made with: the same request with it gets
    /// the same answer, as long as the fingerprint is the same.
    pub seed: i64,
}

/// One event of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct Chunk<'a> {
    pub id: &'a str,
    pub object: &'static str,
    /// Seconds since 1970, the same in all chunks of an answer.
    pub created: u64,
    pub model: &'a str,
    pub system_fingerprint: &'a str,
    pub choices: Vec<ChunkChoice>,
    /// Absent unless the usage was asked for, and `null` in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ChunkChoice {
    pub index: u32,
    pub delta: Delta,
    pub logprobs: Option<Logprobs>,
    pub finish_reason: Option<&'static str>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Logprobs {
    pub content: Vec<LogprobContent>,
    pub refusal: Option<Vec<LogprobContent>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LogprobContent {
    #[serde(flatten)]
    pub chosen: TopLogprob,
    pub top_logprobs: Vec<TopLogprob>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TopLogprob {
    pub token: String,
    pub logprob: f32,
    /// Nothing if it stands for no text.
    pub bytes: Option<Vec<u8>>,
}

impl TopLogprob {
    /// A token by its bytes, which need not be whole characters; by its name if
    /// it has none.
    pub fn new(bytes: &[u8], name: impl FnOnce() -> String, logprob: f32) -> Self {
        let is_text = !bytes.is_empty();
        /// As OpenAI has it, since JSON knows no infinity.
        const IMPOSSIBLE: f32 = -9999.0;
        Self {
            token: if is_text {
                String::from_utf8_lossy(bytes).into_owned()
            } else {
                name()
            },
            logprob: if logprob.is_finite() { logprob } else { IMPOSSIBLE },
            bytes: is_text.then(|| bytes.to_vec()),
        }
    }
}

pub const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ModelList<'a> {
    pub object: &'static str,
    pub data: Vec<ModelObject<'a>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ModelObject<'a> {
    pub id: &'a str,
    pub object: &'static str,
    /// Seconds since 1970: when this server loaded it.
    pub created: u64,
    pub owned_by: &'static str,
    /// Nothing; the field is older than its meaning.
    pub permission: [(); 0],
}
