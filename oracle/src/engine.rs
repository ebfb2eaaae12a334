//! What the scheduler asks of a model, whatever runs it.
//!
//! An engine computes, and decides nothing: which token follows is the
//! sampler's, what is fed together is the scheduler's. A row's logits must be a
//! function of the tokens before it alone, never of the rows that share its
//! pass; where that holds bit by bit, the engine says so.

pub mod fake;
pub mod llama;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use llama::{LoadError, load};

/// A token's number in the model's vocabulary.
pub type Token = u32;

/// One sequence of an engine: the tokens that were fed to it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u32);

/// A model that computes. It is owned by one thread.
pub trait Engine: Send {
    fn facts(&self) -> &Facts;

    /// A new, empty sequence.
    fn open(&mut self) -> SequenceId;

    /// A new sequence that begins with all that this one was fed.
    fn fork(&mut self, sequence: SequenceId) -> SequenceId;

    /// Forgets a sequence. Closing one that is not open does nothing.
    fn close(&mut self, sequence: SequenceId);

    /// Takes back all but the first `tokens` of a sequence.
    fn truncate(&mut self, sequence: SequenceId, tokens: usize);

    /// One pass: appends each feed to its sequence, and returns the logits of
    /// the rows that were wanted, in the order of the feeds.
    ///
    /// # Errors
    ///
    /// If the model cannot compute. What the sequences of the pass hold then is
    /// not defined; they can only be closed.
    fn forward(&mut self, feeds: &[Feed<'_>]) -> Result<Logits, EngineError>;
}

/// What a pass appends to one sequence. No sequence is fed twice in a pass.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    pub sequence: SequenceId,
    pub tokens: &'a [Token],
    pub want: Want,
}

/// Of which tokens of a feed the logits of what follows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Nothing,
    Last,
    All,
}

/// Logits, one row of the vocabulary's size for each token that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    pub values: Vec<f32>,
    pub vocabulary: usize,
}

impl Logits {
    /// The row at `index`, counted over all feeds of the pass.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.vocabulary..(index + 1) * self.vocabulary]
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.vocabulary
    }
}

/// What does not change about a loaded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it calls itself, such as `SmolLM2 135M Instruct`.
    pub name: String,
    /// Names the weights, the vocabulary and the kernels: what a seed's answer
    /// is relative to. Scouts must have the same `vocabulary_hash`.
    pub fingerprint: String,
    /// Names the vocabulary: token numbers mean the same where it is the same.
    pub vocabulary_hash: String,
    pub vocabulary: usize,
    /// The most tokens that a sequence may have.
    pub context_tokens: usize,
    pub kv_bytes_per_token: usize,
    /// Memory is taken for so many tokens at a time.
    pub kv_block_tokens: usize,
    /// Whether a row's logits are the same bits whoever shares its pass, and
    /// however its sequence was cut into passes.
    pub row_exact: bool,
}

impl Facts {
    /// The most that the keys and values of so many tokens take.
    pub const fn kv_bytes(&self, tokens: usize) -> usize {
        tokens.next_multiple_of(self.kv_block_tokens) * self.kv_bytes_per_token
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the model cannot compute: {0}")]
pub struct EngineError(pub String);

/// A model's text: what a conversation looks like as tokens, and tokens as text.
pub trait Text: Send + Sync {
    /// The tokens of a conversation, up to where the assistant's answer begins.
    ///
    /// # Errors
    ///
    /// If the model's template refuses it.
    fn prompt(&self, messages: &[Message]) -> Result<Vec<Token>, TextError>;

    /// The bytes that a token stands for; none for those that are no text. They
    /// need not be whole characters.
    fn bytes(&self, token: Token) -> &[u8];

    /// What the vocabulary calls a token, such as `<|im_end|>`.
    fn name(&self, token: Token) -> String;

    /// Whether this token ends an answer.
    fn is_end(&self, token: Token) -> bool;
}

#[derive(Debug, thiserror::Error)]
#[error("the model's chat template refuses this conversation: {0}")]
pub struct TextError(pub String);

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A loaded model.
pub struct Model {
    pub engine: Box<dyn Engine>,
    pub text: Arc<dyn Text>,
}
