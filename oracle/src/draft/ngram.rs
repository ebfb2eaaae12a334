//! Drafts from the answer itself: what followed the last few tokens when they
//! stood in the prompt or the answer before. It is free, and right where a text
//! repeats itself.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{AnswerId, Draft, Drafter, Source};
use crate::engine::Token;
use crate::sampling::Sampling;

/// The longest run of last tokens that is looked for.
const LONGEST: usize = 3;

#[derive(Debug, Default)]
pub struct NgramDrafter {
    /// Prompt and answer, as far as they are certain.
    texts: BTreeMap<AnswerId, Vec<Token>>,
}

impl NgramDrafter {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Drafter for NgramDrafter {
    fn open(&mut self, answer: AnswerId, prompt: &[Token], _: &Sampling) {
        self.texts.insert(answer, prompt.to_vec());
    }

    fn advance(&mut self, answer: AnswerId, base: usize, tokens: &[Token]) {
        if let Some(text) = self.texts.get_mut(&answer).filter(|text| text.len() == base) {
            text.extend_from_slice(tokens);
        }
    }

    fn close(&mut self, answer: AnswerId) {
        self.texts.remove(&answer);
    }

    fn draft(&mut self, answer: AnswerId, base: usize, limit: usize) -> Option<Draft> {
        let text = self.texts.get(&answer).filter(|text| text.len() == base)?;
        let tokens = what_followed(text, limit)?;
        Some(Draft {
            source: Source::Ngram,
            tokens,
        })
    }

    fn wait(&mut self, _: &[(AnswerId, usize)], _: Instant) {}

    fn verdict(&mut self, _: AnswerId, _: &Draft, _: usize) {}
}

/// What followed the longest run of last tokens where it stood last before.
fn what_followed(text: &[Token], limit: usize) -> Option<Vec<Token>> {
    let end = text.len();
    for length in (1..=LONGEST.min(end.saturating_sub(1))).rev() {
        let run = &text[end - length..];
        let at = (0..end - length).rev().find(|&at| &text[at..at + length] == run);
        if let Some(at) = at {
            // What repeats itself goes on doing so, past the end of the text.
            let from = at + length;
            let period = end - from;
            let tokens = (0..limit)
                .map(|index| text[from + index % period])
                .collect::<Vec<_>>();
            return (!tokens.is_empty()).then_some(tokens);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_before_follows_again() {
        assert_eq!(what_followed(&[1, 2, 3, 4, 5, 1, 2, 3], 2), Some(vec![4, 5]));
        assert_eq!(
            what_followed(&[9, 3, 7, 2, 3, 8, 2, 3], 1),
            Some(vec![8]),
            "the longer run counts"
        );
        assert_eq!(
            what_followed(&[5, 6, 5, 7, 5], 1),
            Some(vec![7]),
            "the later one counts"
        );
        assert_eq!(what_followed(&[1, 2, 3], 4), None);
        assert_eq!(what_followed(&[], 4), None);
        assert_eq!(what_followed(&[1, 1], 0), None);
    }

    #[test]
    fn a_circle_goes_on() {
        assert_eq!(what_followed(&[7, 1, 2, 1, 2], 5), Some(vec![1, 2, 1, 2, 1]));
        assert_eq!(what_followed(&[4, 4], 3), Some(vec![4, 4, 4]));
    }

    #[test]
    fn another_base_has_no_draft() {
        let mut drafter = NgramDrafter::new();
        let sampling = crate::sampling::Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
        };
        drafter.open(AnswerId(1), &[1, 2, 1], &sampling);
        assert_eq!(drafter.draft(AnswerId(1), 2, 3), None);
        assert_eq!(drafter.draft(AnswerId(1), 3, 1).unwrap().tokens, [2]);
        drafter.advance(AnswerId(1), 3, &[2]);
        assert_eq!(drafter.draft(AnswerId(1), 4, 1).unwrap().tokens, [1]);
        drafter.close(AnswerId(1));
        assert_eq!(drafter.draft(AnswerId(1), 4, 1), None);
    }
}
