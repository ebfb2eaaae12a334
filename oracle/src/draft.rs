//! What may follow, as someone guesses it before the model has said so.
//!
//! A drafter is never trusted: what it says costs time at most, never a token.

pub mod frame;
pub mod guarded;
pub mod ngram;

use std::time::Instant;

use crate::engine::Token;
use crate::sampling::Sampling;

/// One answer that is being written; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct AnswerId(pub u64);

/// Who drafted: the n-grams of the answer itself, or the scout in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Ngram,
    Scout {
        slot: u32,
        /// Of its lease: the next one may be another process with another model.
        epoch: u64,
    },
}

/// Tokens that may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub source: Source,
    pub tokens: Vec<Token>,
}

/// Someone who drafts. It is called by the engine's thread, and must not block
/// but in [`Drafter::wait`].
pub trait Drafter: Send {
    /// An answer begins.
    fn open(&mut self, answer: AnswerId, prompt: &[Token], sampling: &Sampling);

    /// These tokens are certain now; they follow the first `base` ones of
    /// prompt and answer.
    fn advance(&mut self, answer: AnswerId, base: usize, tokens: &[Token]);

    /// An answer is whole, or nobody wants it any more.
    fn close(&mut self, answer: AnswerId);

    /// What may follow the first `base` tokens of prompt and answer, which are
    /// all certain: at most `limit` tokens. A draft for another base is none.
    fn draft(&mut self, answer: AnswerId, base: usize, limit: usize) -> Option<Draft>;

    /// Waits until one of these answers has a draft, at most until `deadline`.
    fn wait(&mut self, answers: &[(AnswerId, usize)], deadline: Instant);

    /// What became of a draft: so many of its tokens were those that followed.
    fn verdict(&mut self, answer: AnswerId, draft: &Draft, accepted: usize);
}
