//! What an operator may say about the scheduler.

use std::time::Duration;

/// How the model is shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The most requests that wait.
    pub queue: usize,
    /// The longest that a request waits for its turn.
    pub queue_wait: Duration,
    /// The most answers that are written at once. A request with more choices
    /// has its turn alone.
    pub answers: usize,
    /// The bytes that the keys and values of all sequences may have.
    pub kv_budget: usize,
    /// The longest pause in running answers that a new prompt should cause.
    pub pause: Duration,
    pub speculate: Speculate,
    /// The most tokens of a draft.
    pub draft_limit: usize,
    /// The longest that a pass waits for drafts; if not given, a quarter of a
    /// plain pass, and at most 2 ms.
    pub draft_wait: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 64,
            queue_wait: Duration::from_secs(60),
            answers: 8,
            kv_budget: 1 << 30,
            pause: Duration::from_millis(200),
            speculate: Speculate::Auto,
            draft_limit: 7,
            draft_wait: None,
        }
    }
}

/// Whether drafts are checked beside the rows that answers need anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speculate {
    /// Where it pays by what was measured, and only where it cannot change an
    /// answer.
    Auto,
    /// Whatever it costs; for tests.
    Always,
    Never,
}
