//! Who computes next: one thread owns the model, and requests wait in line for
//! a place on it.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::engine::Token;
use crate::sampling::Sampling;

/// What is asked of the model.
#[derive(Clone, Debug)]
pub struct Job {
    pub prompt: Vec<Token>,
    pub sampling: Sampling,
    /// The most tokens of each answer.
    pub max_tokens: usize,
    /// An answer ends before the first of these that it would hold.
    pub stop: Vec<String>,
    /// How many answers, 1 to 4.
    pub choices: u32,
    /// Probabilities of the chosen tokens, and of so many others.
    pub logprobs: Option<u8>,
}

/// What becomes of a job, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More of an answer's text: whole characters that no stop can take back.
    Text {
        choice: u32,
        text: String,
        logprobs: Vec<Logprob>,
    },
    /// An answer is whole.
    Finished {
        choice: u32,
        finish: Finish,
        tokens: usize,
    },
    /// The model failed; nothing follows.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop did.
    Stop,
    /// It has `max_tokens`, or the model's context is full.
    Length,
}

/// How probable a token was, by the model's own logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    pub token: Token,
    pub logprob: f32,
    /// The most probable ones, in order.
    pub top: Vec<(Token, f32)>,
}

/// A job in hand. Dropping it frees its rows before the next pass.
#[derive(Debug)]
pub struct Ticket {
    pub events: mpsc::Receiver<Event>,
}

/// Why a job is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the prompt has {prompt} tokens, and with {answer} more it would exceed the model's context of {context}"
    )]
    ContextExceeded {
        prompt: usize,
        answer: usize,
        context: usize,
    },
    #[error("{needed} bytes of memory for one request, and there are {budget} in all")]
    MemoryExceeded { needed: usize, budget: usize },
    #[error("too many requests wait already")]
    Full { retry_after: Duration },
    #[error("the server is stopping")]
    Stopping,
    #[error("the model has stopped computing")]
    Broken,
}
