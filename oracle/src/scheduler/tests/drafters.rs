//! Drafters of every character.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use crate::draft::{AnswerId, Draft, Drafter, Source};
use crate::engine::fake::{FakeEngine, FakeSettings, VOCABULARY};
use crate::engine::{Engine, Feed, Token, Want};
use crate::sampler::{Counts, Sampler};
use crate::sampling::Sampling;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    /// Says what will follow.
    Honest,
    /// Says what will follow, but for every third token.
    Careless,
    /// Says what will surely not follow.
    Lying,
    /// Says what followed some tokens ago.
    Stale,
    Silent,
    Random,
    /// Keeps to no limit, and says tokens that there are not.
    Unruly,
    /// Panics after a while.
    Faulty,
    /// Has what will follow only when it is waited for.
    Tardy,
    /// Lets everyone wait for nothing.
    Frozen,
}

pub(super) const CHARACTERS: [Character; 10] = [
    Character::Honest,
    Character::Careless,
    Character::Lying,
    Character::Stale,
    Character::Silent,
    Character::Random,
    Character::Unruly,
    Character::Faulty,
    Character::Tardy,
    Character::Frozen,
];

#[derive(Debug)]
struct Known {
    prompt: usize,
    tokens: Vec<Token>,
    sampling: Sampling,
}

#[derive(Debug)]
pub(super) struct TestDrafter {
    character: Character,
    slot: u32,
    fake: FakeSettings,
    known: BTreeMap<AnswerId, Known>,
    random: fastrand::Rng,
    waited_for: BTreeSet<(AnswerId, usize)>,
    /// Answers that were opened and not closed, of all drafters.
    open: Arc<AtomicUsize>,
}

impl TestDrafter {
    pub(super) fn new(character: Character, slot: u32, fake: &FakeSettings, open: &Arc<AtomicUsize>) -> Self {
        let fake = FakeSettings {
            per_pass: std::time::Duration::ZERO,
            per_row: std::time::Duration::ZERO,
            ..fake.clone()
        };
        Self {
            character,
            slot,
            fake,
            known: BTreeMap::new(),
            random: fastrand::Rng::with_seed(u64::from(slot)),
            waited_for: BTreeSet::new(),
            open: Arc::clone(open),
        }
    }

    fn guess(&mut self, answer: AnswerId, limit: usize) -> Vec<Token> {
        let known = &self.known[&answer];
        match self.character {
            Character::Honest => truth(&self.fake, known, limit),
            Character::Careless => {
                let tokens = truth(&self.fake, known, limit).into_iter().enumerate();
                tokens
                    .map(|(index, token)| if index % 3 == 2 { token ^ 1 } else { token })
                    .collect()
            }
            Character::Lying => truth(&self.fake, known, limit)
                .into_iter()
                .map(|token| token ^ 1)
                .collect(),
            Character::Stale => {
                let from = known.tokens.len().saturating_sub(limit + 2).max(1);
                known.tokens[from..].iter().copied().take(limit).collect()
            }
            Character::Tardy if self.waited_for.contains(&(answer, known.tokens.len())) => {
                truth(&self.fake, known, limit)
            }
            Character::Silent | Character::Tardy | Character::Frozen => Vec::new(),
            Character::Random => (0..limit)
                .map(|_| self.random.u32(0..VOCABULARY as u32))
                .collect(),
            Character::Faulty => {
                assert!(self.random.u8(..) > 60, "a drafter panics, which changes nothing");
                truth(&self.fake, known, limit)
            }
            Character::Unruly => {
                let mut tokens = truth(&self.fake, known, 2);
                tokens.extend([VOCABULARY as Token + 7, u32::MAX, 5, 6]);
                if self.random.bool() {
                    vec![70; limit + 40]
                } else {
                    tokens
                }
            }
        }
    }
}

impl Drafter for TestDrafter {
    fn open(&mut self, answer: AnswerId, prompt: &[Token], sampling: &Sampling) {
        let known = Known {
            prompt: prompt.len(),
            tokens: prompt.to_vec(),
            sampling: sampling.clone(),
        };
        assert!(
            self.known.insert(answer, known).is_none(),
            "an id is never used twice"
        );
        self.open.fetch_add(1, Relaxed);
    }

    fn advance(&mut self, answer: AnswerId, base: usize, tokens: &[Token]) {
        let known = self
            .known
            .get_mut(&answer)
            .expect("an answer that is not open does not grow");
        assert_eq!(known.tokens.len(), base, "every token is told, once");
        known.tokens.extend_from_slice(tokens);
    }

    fn close(&mut self, answer: AnswerId) {
        assert!(self.known.remove(&answer).is_some(), "an answer is closed once");
        self.open.fetch_sub(1, Relaxed);
    }

    fn draft(&mut self, answer: AnswerId, base: usize, limit: usize) -> Option<Draft> {
        assert_eq!(
            self.known[&answer].tokens.len(),
            base,
            "drafts are for what is certain"
        );
        assert!(limit > 0);
        let tokens = self.guess(answer, limit);
        Some(Draft {
            source: self.source(),
            tokens,
        })
    }

    fn wait(&mut self, answers: &[(AnswerId, usize)], deadline: Instant) {
        assert!(
            answers
                .iter()
                .all(|(answer, base)| self.known[answer].tokens.len() == *base)
        );
        self.waited_for.extend(answers);
        while self.character == Character::Frozen && Instant::now() < deadline {
            std::thread::park_timeout(deadline - Instant::now());
        }
    }

    fn verdict(&mut self, answer: AnswerId, draft: &Draft, accepted: usize) {
        assert!(self.known.contains_key(&answer));
        assert!(accepted <= draft.tokens.len());
        assert_eq!(draft.source, self.source(), "each has its own verdicts");
    }
}

impl TestDrafter {
    fn source(&self) -> Source {
        Source::Scout {
            slot: self.slot,
            epoch: 1,
        }
    }
}

impl Drop for TestDrafter {
    fn drop(&mut self) {
        if self.character == Character::Faulty {
            self.open.fetch_sub(self.known.len(), Relaxed);
        }
    }
}

fn truth(fake: &FakeSettings, known: &Known, limit: usize) -> Vec<Token> {
    let mut engine = FakeEngine::new(fake.clone());
    let mut sampler = Sampler::new();
    let mut counts = Counts::default();
    known.tokens[known.prompt..]
        .iter()
        .for_each(|&token| counts.add(token));
    let sequence = engine.open();
    let mut fed = known.tokens.clone();
    let mut tokens = Vec::new();
    let room = fake.context_tokens - known.tokens.len();
    for _ in 0..limit.min(room) {
        let Ok(logits) = engine.forward(&[Feed {
            sequence,
            tokens: &fed,
            want: Want::Last,
        }]) else {
            break;
        };
        let at = known.tokens.len() + tokens.len();
        let Some(token) = sampler.choose(logits.row(0), &known.sampling, at, &counts) else {
            break;
        };
        counts.add(token);
        tokens.push(token);
        fed = vec![token];
    }
    tokens
}
