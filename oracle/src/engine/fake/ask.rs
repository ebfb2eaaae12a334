//! What a prompt asks of the fake engine, such as `!fail-after=5!`.

use std::time::Duration;

use super::FakeText;
use crate::engine::{EngineError, Text, Token};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    fail_after: Option<usize>,
    panic_after: Option<usize>,
    pub(super) nan_after: Option<usize>,
    pub(super) slow: Duration,
    pub(super) long: bool,
    pub(super) short: bool,
}

impl Ask {
    pub(super) fn of(text: &FakeText, prompt: &[Token]) -> Self {
        let bytes: Vec<u8> = prompt
            .iter()
            .flat_map(|&token| text.bytes(token))
            .copied()
            .collect();
        let mut ask = Self::default();
        for word in String::from_utf8_lossy(&bytes).split('!') {
            match word.split_once('=') {
                Some(("fail-after", count)) => ask.fail_after = count.parse().ok(),
                Some(("panic-after", count)) => ask.panic_after = count.parse().ok(),
                Some(("nan-after", count)) => ask.nan_after = count.parse().ok(),
                Some(("slow", time)) => ask.slow = milliseconds(time).unwrap_or_default(),
                Some(_) => {}
                None => {
                    ask.long |= word == "long";
                    ask.short |= word == "short";
                }
            }
        }
        ask
    }

    /// Fails if the answer that begins at `begin` has enough tokens: a sequence
    /// that holds `before` tokens has an answer of one token more.
    pub(super) fn strike(&self, before: usize, begin: usize) -> Result<(), EngineError> {
        let due = |count: Option<usize>| count.is_some_and(|count| count == 0 || before + 1 >= begin + count);
        assert!(!due(self.panic_after), "the prompt asked for a panic");
        if due(self.fail_after) {
            return Err(EngineError("the prompt asked for it".into()));
        }
        Ok(())
    }
}

fn milliseconds(time: &str) -> Option<Duration> {
    Some(Duration::from_millis(time.strip_suffix("ms")?.parse().ok()?))
}
