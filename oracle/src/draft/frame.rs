//! What goes between the oracle and a scout, as JSON text frames of a WebSocket.
//!
//! The scout dials `GET /v1/scouts/draft` of the oracle, and says `hello`. From
//! then on the oracle tells which answers begin, grow and end, and the scout
//! sends what may follow, as tokens of the vocabulary that both have.

use serde::{Deserialize, Serialize};

use super::AnswerId;
use crate::engine::Token;
use crate::sampling::Sampling;

/// What a scout says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromScout {
    /// The first frame: who this is, by its lease.
    Hello {
        /// The slot of the pool that it holds.
        slot: u32,
        session_id: String,
        epoch: u64,
        vocabulary_hash: String,
    },
    /// What may follow the first `base` tokens of an answer's prompt and text.
    Draft {
        answer: AnswerId,
        base: usize,
        tokens: Vec<Token>,
    },
}

/// What the oracle says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromOracle {
    /// The scout is known, and may draft at most `limit` tokens at a time.
    Welcome {
        limit: usize,
    },
    Open {
        answer: AnswerId,
        prompt: Vec<Token>,
        sampling: Sampling,
    },
    Advance {
        answer: AnswerId,
        base: usize,
        tokens: Vec<Token>,
    },
    Close {
        answer: AnswerId,
    },
}
