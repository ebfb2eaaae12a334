//! An engine without a model: its logits are a hash of the last tokens, so its
//! answers are known to no one and always the same. It tells protocol tests
//! what they ask for, and panics where its caller breaks the engine's contract.
//!
//! A prompt may ask for trouble (with this engine alone):
//!
//! - `!fail-after=5!`: the first pass that begins when the answer has at least
//!   five tokens fails; with 0 the prompt itself does.
//! - `!panic-after=5!`: as above, but the engine panics.
//! - `!nan-after=5!`: as above, but the logits are no numbers.
//! - `!slow=20ms!`: every pass with this sequence takes so much longer.
//! - `!long!`: the answer never ends by itself.
//! - `!short!`: the answer ends soon.

mod ask;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use self::ask::Ask;
use super::{Engine, EngineError, Facts, Feed, Logits, Model, SequenceId, Token, Want};

pub use text::{ASSISTANT, END, FakeText, VOCABULARY};

/// How the fake engine behaves.
#[derive(Clone, Debug)]
pub struct FakeSettings {
    /// The time that any pass takes.
    pub per_pass: Duration,
    /// And for each row of it.
    pub per_row: Duration,
    pub context_tokens: usize,
    pub kv_bytes_per_token: usize,
    pub kv_block_tokens: usize,
    /// Logits are a hash of so many last tokens. With few of them answers soon
    /// go in circles, which n-grams can guess.
    pub memory: usize,
    /// If not, the width of a pass shows in its logits.
    pub row_exact: bool,
    /// Tells models apart.
    pub salt: u64,
    /// Every pass fails.
    pub fails: bool,
}

impl Default for FakeSettings {
    fn default() -> Self {
        Self {
            per_pass: Duration::ZERO,
            per_row: Duration::ZERO,
            context_tokens: 4096,
            kv_bytes_per_token: 1024,
            kv_block_tokens: 1,
            memory: 2,
            row_exact: true,
            salt: 0,
            fails: false,
        }
    }
}

/// What a test may see of the engine while another thread owns it.
#[derive(Debug, Default)]
pub struct FakeWatch {
    pub open_sequences: AtomicUsize,
    /// Tokens that the open sequences hold.
    pub held_tokens: AtomicUsize,
    pub most_held_tokens: AtomicUsize,
    pub passes: AtomicUsize,
    pub rows: AtomicUsize,
    pub most_rows: AtomicUsize,
}

/// A fake model, ready for the scheduler.
pub fn model(settings: FakeSettings) -> Model {
    watched(settings).0
}

/// A fake model, and what shows what becomes of it.
pub fn watched(settings: FakeSettings) -> (Model, Arc<FakeWatch>) {
    let engine = FakeEngine::new(settings);
    let watch = Arc::clone(&engine.watch);
    let model = Model {
        engine: Box::new(engine),
        text: Arc::new(FakeText::new()),
    };
    (model, watch)
}

#[derive(Clone, Debug, Default)]
struct Sequence {
    tokens: Vec<Token>,
    /// What the prompt asks for, and where its answer begins.
    ask: Option<(usize, Ask)>,
}

#[derive(Debug)]
pub struct FakeEngine {
    facts: Facts,
    settings: FakeSettings,
    text: FakeText,
    sequences: BTreeMap<SequenceId, Sequence>,
    /// Those that took part in a failed pass: they can only be closed.
    spoiled: Vec<SequenceId>,
    next: u32,
    watch: Arc<FakeWatch>,
}

impl FakeEngine {
    pub fn new(settings: FakeSettings) -> Self {
        let inexact = if settings.row_exact { "" } else { "-inexact" };
        Self {
            facts: Facts {
                name: "fake".into(),
                fingerprint: format!("fake-{}-{}{inexact}", settings.salt, settings.memory),
                vocabulary_hash: "fake".into(),
                vocabulary: VOCABULARY,
                context_tokens: settings.context_tokens,
                kv_bytes_per_token: settings.kv_bytes_per_token,
                kv_block_tokens: settings.kv_block_tokens,
                row_exact: settings.row_exact,
            },
            settings,
            text: FakeText::new(),
            sequences: BTreeMap::new(),
            spoiled: Vec::new(),
            next: 0,
            watch: Arc::default(),
        }
    }

    fn add(&mut self, sequence: Sequence) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        self.sequences.insert(id, sequence);
        self.tell();
        id
    }

    fn tell(&self) {
        let held = self
            .sequences
            .values()
            .map(|sequence| sequence.tokens.len())
            .sum();
        self.watch.open_sequences.store(self.sequences.len(), Relaxed);
        self.watch.held_tokens.store(held, Relaxed);
        self.watch.most_held_tokens.fetch_max(held, Relaxed);
    }

    fn append(
        &mut self,
        feed: &Feed<'_>,
        width: usize,
        logits: &mut Vec<f32>,
    ) -> Result<Duration, EngineError> {
        let sequence = self
            .sequences
            .get_mut(&feed.sequence)
            .expect("a feed is for an open sequence");
        assert!(!feed.tokens.is_empty(), "a feed has tokens");
        assert!(
            sequence.tokens.len() + feed.tokens.len() <= self.facts.context_tokens,
            "a sequence stays within the context"
        );
        let before = sequence.tokens.len();
        for (index, &token) in feed.tokens.iter().enumerate() {
            assert!(
                (token as usize) < VOCABULARY,
                "token {token} is in the vocabulary"
            );
            sequence.tokens.push(token);
            if token == ASSISTANT {
                let ask = Ask::of(&self.text, &sequence.tokens);
                sequence.ask = Some((sequence.tokens.len(), ask));
            }
            let wanted = match feed.want {
                Want::Nothing => false,
                Want::Last => index + 1 == feed.tokens.len(),
                Want::All => true,
            };
            if wanted {
                let from = sequence.tokens.len().saturating_sub(self.settings.memory);
                let noise = if self.settings.row_exact { 0 } else { width as u64 };
                let seed = hash(&sequence.tokens[from..], self.settings.salt);
                let written = sequence
                    .ask
                    .as_ref()
                    .map(|&(begin, ref ask)| (sequence.tokens.len() - begin, ask));
                text::logits(seed, noise, written, logits);
            }
        }
        match &sequence.ask {
            Some((begin, ask)) => ask.strike(before, *begin).map(|()| ask.slow),
            None => Ok(Duration::ZERO),
        }
    }
}

impl Engine for FakeEngine {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn open(&mut self) -> SequenceId {
        self.add(Sequence::default())
    }

    fn fork(&mut self, sequence: SequenceId) -> SequenceId {
        assert!(
            !self.spoiled.contains(&sequence),
            "a failed pass leaves nothing to fork"
        );
        let copy = self
            .sequences
            .get(&sequence)
            .expect("an open sequence is forked")
            .clone();
        self.add(copy)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
        self.spoiled.retain(|&spoiled| spoiled != sequence);
        self.tell();
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) {
        assert!(
            !self.spoiled.contains(&sequence),
            "a failed pass leaves nothing to take back"
        );
        let sequence = self
            .sequences
            .get_mut(&sequence)
            .expect("an open sequence is truncated");
        assert!(
            tokens <= sequence.tokens.len(),
            "a sequence is not truncated past its end"
        );
        sequence.tokens.truncate(tokens);
        let begin = sequence
            .tokens
            .iter()
            .rposition(|&token| token == ASSISTANT)
            .map(|at| at + 1);
        sequence.ask = begin.map(|begin| (begin, Ask::of(&self.text, &sequence.tokens[..begin])));
        self.tell();
    }

    fn forward(&mut self, feeds: &[Feed<'_>]) -> Result<Logits, EngineError> {
        assert!(!feeds.is_empty(), "a pass has feeds");
        for (index, feed) in feeds.iter().enumerate() {
            let again = feeds[..index].iter().any(|other| other.sequence == feed.sequence);
            assert!(!again, "no sequence is fed twice in a pass");
            assert!(
                !self.spoiled.contains(&feed.sequence),
                "what failed is not fed again"
            );
        }
        let rows: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        let mut time = self.settings.per_pass + self.settings.per_row * rows as u32;
        let mut values = Vec::new();
        let mut outcome = if self.settings.fails {
            Err(EngineError("every pass fails".into()))
        } else {
            Ok(())
        };
        for feed in feeds {
            match self.append(feed, rows, &mut values) {
                Ok(slow) => time += slow,
                Err(error) => outcome = Err(error),
            }
        }
        self.watch.passes.fetch_add(1, Relaxed);
        self.watch.rows.fetch_add(rows, Relaxed);
        self.watch.most_rows.fetch_max(rows, Relaxed);
        self.tell();
        if !time.is_zero() {
            std::thread::sleep(time);
        }
        if let Err(error) = outcome {
            self.spoiled.extend(feeds.iter().map(|feed| feed.sequence));
            return Err(error);
        }
        Ok(Logits {
            values,
            vocabulary: VOCABULARY,
        })
    }
}

fn hash(tokens: &[Token], salt: u64) -> u64 {
    tokens
        .iter()
        .fold(mix(salt), |state, &token| mix(state ^ u64::from(token)))
}

fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
