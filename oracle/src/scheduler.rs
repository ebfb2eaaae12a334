//! Who computes next: one thread owns the model, and requests wait in line for
//! a place on it.
//!
//! `plan` and `queue` hold the rules as functions of state and time; `owner` is
//! the thread that applies them; `handle` is what everyone else has.

mod answer;
mod calibrate;
mod handle;
mod metrics;
mod owner;
mod pass;
mod plan;
mod queue;
mod settings;
mod speculate;
mod trial;
mod trust;

use std::time::Duration;

use tokio::sync::mpsc;

use crate::draft::Drafter;
use crate::engine::{Model, Token};
use crate::sampling::Sampling;

pub use handle::{Handle, Standing};
pub use settings::{Settings, Speculate};

/// Starts the engine's thread, which owns the model until the last handle is
/// gone or told to stop, and has finished what it has in hand. It calibrates
/// first; what is submitted meanwhile waits.
///
/// # Panics
///
/// If the system cannot start a thread, or `registry` has these metrics already.
pub fn start(
    model: Model,
    drafters: Vec<Box<dyn Drafter>>,
    settings: Settings,
    registry: &prometheus::Registry,
) -> Handle {
    handle::start(model, drafters, settings, registry)
}

/// What is asked of the model.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whose it is: clients take turns.
    pub client: u64,
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
    /// It has its turn. This comes first.
    Begun,
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
        /// Those of the answer's text, and of a stop's; not the one that ends it.
        tokens: usize,
    },
    /// The model failed; nothing follows.
    Failed(String),
    /// It was never begun, and nothing follows: it waited too long, or the
    /// server stops.
    Refused(Refusal),
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
    #[error("the prompt has no tokens")]
    Empty,
    #[error("too many requests wait already")]
    Full { retry_after: Duration },
    #[error("the request waited too long for its turn")]
    Waited { retry_after: Duration },
    #[error("the server is stopping")]
    Stopping,
    #[error("the model has stopped computing")]
    Broken,
}

#[cfg(test)]
mod tests;
