//! The wire types of OpenAI's chat completions: what a request may say, and
//! what an answer looks like. Every field is honoured or refused by name;
//! nothing here knows HTTP, the scheduler or a clock.

mod content;
mod error;
mod fields;
mod request;
mod response;

pub use error::{ErrorBody, Invalid, Kind};
pub use request::{ChatRequest, Limits, parse};
pub use response::{
    Answer, Choice, Chunk, ChunkChoice, Completion, Delta, LogprobContent, Logprobs, ModelList, ModelObject,
    Shard, TopLogprob, Usage, finish_reason,
};

#[cfg(test)]
mod tests;
