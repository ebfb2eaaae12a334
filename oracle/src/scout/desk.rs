//! What a scout has on its desk: the answers that it was told, each with a
//! sequence of the engine that runs ahead of what is certain.
//!
//! A guess is chosen as the oracle chooses, with the same noise, so it is right
//! whenever the logits are the same. Guesses that prove right stay in the
//! engine's memory; from the first wrong one on they are taken back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::draft::AnswerId;
use crate::draft::frame::FromScout;
use crate::engine::{Engine, EngineError, Feed, Model, SequenceId, Text, Token, Want};
use crate::sampler::{Counts, Sampler};
use crate::sampling::Sampling;

/// The most answers that are drafted for; the oldest is put aside then, and the
/// oldest of all is forgotten where more are known.
const ANSWERS_MAX: usize = 32;
const KNOWN_MAX: usize = 256;
/// The most bytes of keys and values of all of them.
const KV_MAX_BYTES: usize = 512 << 20;
/// The most sequences of a pass, and the most tokens of one of them: what was
/// told meanwhile is looked at in between.
const ROWS: usize = 8;
const CHUNK: usize = 64;

struct Work {
    /// Later ones are younger.
    number: u64,
    /// None while it is put aside: there was no room for it.
    sequence: Option<SequenceId>,
    sampling: Sampling,
    prompt: usize,
    /// What is certain, and what is guessed to follow.
    tokens: Vec<Token>,
    certain: usize,
    /// So many tokens the engine was fed.
    fed: usize,
    /// Nothing follows the last guess.
    ended: bool,
}

impl Work {
    fn guesses(&self) -> usize {
        self.tokens.len() - self.certain
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        if self.sampling.presence_penalty != 0.0 || self.sampling.frequency_penalty != 0.0 {
            for token in &self.tokens[self.prompt..] {
                counts.add(*token);
            }
        }
        counts
    }
}

pub(super) struct Desk {
    engine: Box<dyn Engine>,
    text: Arc<dyn Text>,
    sampler: Sampler,
    works: BTreeMap<AnswerId, Work>,
    /// The most guesses for one answer.
    limit: usize,
    number: u64,
}

impl Desk {
    pub(super) fn new(model: Model) -> Self {
        Self {
            engine: model.engine,
            text: model.text,
            sampler: Sampler::new(),
            works: BTreeMap::new(),
            limit: 0,
            number: 0,
        }
    }

    pub(super) fn vocabulary_hash(&self) -> String {
        self.engine.facts().vocabulary_hash.clone()
    }

    /// Begins anew: nothing is known, and so many guesses are wanted.
    pub(super) fn clear(&mut self, limit: usize) {
        for work in std::mem::take(&mut self.works).into_values() {
            if let Some(sequence) = work.sequence {
                self.engine.close(sequence);
            }
        }
        self.limit = limit;
    }

    pub(super) fn open(&mut self, answer: AnswerId, prompt: Vec<Token>, sampling: Sampling) {
        self.close(answer);
        let vocabulary = self.engine.facts().vocabulary;
        let fits = prompt.len() < self.engine.facts().context_tokens;
        if prompt.is_empty() || !fits || !are_tokens(&prompt, vocabulary) {
            return;
        }
        self.number += 1;
        let work = Work {
            number: self.number,
            sequence: Some(self.engine.open()),
            sampling,
            prompt: prompt.len(),
            certain: prompt.len(),
            tokens: prompt,
            fed: 0,
            ended: false,
        };
        self.works.insert(answer, work);
        self.make_room();
    }

    /// These tokens follow the first `base` ones for certain. What was told out
    /// of order is forgotten.
    pub(super) fn advance(&mut self, answer: AnswerId, base: usize, tokens: &[Token]) {
        let (vocabulary, context) = (self.engine.facts().vocabulary, self.engine.facts().context_tokens);
        let Some(work) = self.works.get_mut(&answer) else {
            return;
        };
        let fits = base + tokens.len() < context && are_tokens(tokens, vocabulary);
        if base != work.certain || !fits {
            self.close(answer);
            return;
        }
        let guesses = &work.tokens[base..];
        let right = guesses
            .iter()
            .zip(tokens)
            .take_while(|(guess, token)| guess == token)
            .count();
        work.certain = base + tokens.len();
        if right < tokens.len() {
            work.tokens.truncate(base + right);
            work.tokens.extend_from_slice(&tokens[right..]);
            work.ended = false;
            if work.fed > base + right {
                work.fed = base + right;
                if let Some(sequence) = work.sequence {
                    self.engine.truncate(sequence, work.fed);
                }
            }
        }
        self.make_room();
    }

    /// It is not drafted for any more. Whoever was put aside may have its room.
    pub(super) fn close(&mut self, answer: AnswerId) {
        let work = self.works.remove(&answer);
        if let Some(sequence) = work.and_then(|work| work.sequence) {
            self.engine.close(sequence);
            self.take_up();
        }
    }

    fn take_up(&mut self) {
        let aside = self.works.iter().filter(|(_, work)| work.sequence.is_none());
        let mut aside: Vec<_> = aside.map(|(answer, work)| (work.number, *answer)).collect();
        aside.sort_unstable();
        // The youngest has the longest way to go.
        for (_, answer) in aside.into_iter().rev() {
            let (count, tokens) = self.load();
            let Some(work) = self.works.get_mut(&answer) else {
                continue;
            };
            let more = work.tokens.len() + self.limit;
            if !has_room(self.engine.as_ref(), count + 1, tokens + more) {
                return;
            }
            work.sequence = Some(self.engine.open());
        }
    }

    /// Whether there is anything to guess.
    pub(super) fn has_work(&self) -> bool {
        self.works.values().any(|work| self.is_open(work))
    }

    fn is_open(&self, work: &Work) -> bool {
        work.sequence.is_some()
            && work.guesses() < self.limit
            && !work.ended
            && work.tokens.len() < self.engine.facts().context_tokens
    }

    /// One pass of the engine: those with the fewest guesses come first. Returns
    /// what is guessed by then for each answer that has a new guess.
    ///
    /// # Errors
    ///
    /// If the engine cannot compute. The answers of the pass are forgotten.
    pub(super) fn step(&mut self) -> Result<Vec<FromScout>, EngineError> {
        let mut chosen: Vec<_> = self.works.iter().filter(|(_, work)| self.is_open(work)).collect();
        chosen.sort_by_key(|(_, work)| (work.guesses(), work.number));
        chosen.truncate(ROWS);
        let feed = |work: &Work| work.tokens.len().min(work.fed + CHUNK);
        let feeds: Vec<_> = chosen
            .iter()
            .filter_map(|(_, work)| {
                Some(Feed {
                    sequence: work.sequence?,
                    tokens: &work.tokens[work.fed..feed(work)],
                    want: match feed(work) == work.tokens.len() {
                        true => Want::Last,
                        false => Want::Nothing,
                    },
                })
            })
            .collect();
        let passed = self.engine.forward(&feeds);
        let chosen: Vec<AnswerId> = chosen.iter().map(|(answer, _)| **answer).collect();
        let logits = match passed {
            Ok(logits) => logits,
            Err(error) => {
                for answer in chosen {
                    self.close(answer);
                }
                return Err(error);
            }
        };
        let mut drafts = Vec::new();
        let mut row = 0;
        for answer in chosen {
            let Some(work) = self.works.get_mut(&answer) else {
                continue;
            };
            work.fed = work.tokens.len().min(work.fed + CHUNK);
            if work.fed < work.tokens.len() {
                continue;
            }
            let position = work.tokens.len();
            let guess = self
                .sampler
                .choose(logits.row(row), &work.sampling, position, &work.counts());
            row += 1;
            // Of an answer's end the oracle needs no draft.
            let Some(guess) = guess.filter(|guess| !self.text.is_end(*guess)) else {
                work.ended = true;
                continue;
            };
            work.tokens.push(guess);
            drafts.push(FromScout::Draft {
                answer,
                base: work.certain,
                tokens: work.tokens[work.certain..].to_vec(),
            });
        }
        Ok(drafts)
    }

    /// How many answers are in the engine's memory, and their tokens.
    fn load(&self) -> (usize, usize) {
        let open = self.works.values().filter(|work| work.sequence.is_some());
        open.fold((0, 0), |(count, tokens), work| {
            (count + 1, tokens + work.tokens.len() + self.limit)
        })
    }

    /// Puts the oldest aside where there are too many. What is certain of it is
    /// known still: it is read again when others are whole.
    fn make_room(&mut self) {
        loop {
            let (count, tokens) = self.load();
            if has_room(self.engine.as_ref(), count, tokens) {
                break;
            }
            let open = self.works.values_mut().filter(|work| work.sequence.is_some());
            let Some(oldest) = open.min_by_key(|work| work.number) else {
                break;
            };
            oldest.tokens.truncate(oldest.certain);
            (oldest.fed, oldest.ended) = (0, false);
            if let Some(sequence) = oldest.sequence.take() {
                self.engine.close(sequence);
            }
        }
        while self.works.len() > KNOWN_MAX {
            let oldest = self.works.iter().min_by_key(|(_, work)| work.number);
            let Some(oldest) = oldest.map(|(answer, _)| *answer) else {
                return;
            };
            self.close(oldest);
        }
    }
}

fn has_room(engine: &dyn Engine, answers: usize, tokens: usize) -> bool {
    let per_token = engine.facts().kv_bytes_per_token.max(1);
    answers <= ANSWERS_MAX && tokens.saturating_mul(per_token) <= KV_MAX_BYTES
}

fn are_tokens(tokens: &[Token], vocabulary: usize) -> bool {
    tokens
        .iter()
        .all(|token| usize::try_from(*token).is_ok_and(|token| token < vocabulary))
}

#[cfg(test)]
mod tests;
