//! Models of the llama family, from GGUF files, computed on the processor.
//!
//! Whatever the file's own precision, the weights are held in eight bits. A
//! file that is damaged, or that would be computed or read wrongly, is refused
//! with what is wrong and what to do.

mod attention;
mod check;
mod gguf;
mod kernel;
mod keys;
mod kv;
mod matrix;
mod pass;
mod pool;
mod template;
mod text;
mod tokenizer;
mod weights;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Engine, EngineError, Facts, Feed, Logits, Model, SequenceId, Want};
use gguf::Gguf;
use kernel::Level;
use kv::Cache;
use pass::{Pass, Row};
use pool::Pool;
use weights::{Shape, Weights};

/// Part of a fingerprint: changes whenever the same weights would give other bits.
const ARITHMETIC: &str = "q8-1";
/// Another part: sines, powers and logarithms are the platform's own.
const TARGET: [&str; 3] = [
    std::env::consts::ARCH,
    std::env::consts::OS,
    if cfg!(target_env = "musl") { "musl" } else { "" },
];
/// Rows that are computed at once; a longer feed is cut, which changes no bit.
const MAX_ROWS: usize = 256;

/// Why a model file is not used.
#[derive(Debug, thiserror::Error)]
#[error("the model file {} {}: {}", path.display(), refusal.what, refusal.remedy)]
pub struct LoadError {
    path: PathBuf,
    refusal: Refusal,
}

/// What is wrong with a file, and what to do.
#[derive(Clone, Debug)]
struct Refusal {
    what: String,
    remedy: &'static str,
}

impl Refusal {
    fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            what: what.into(),
            remedy,
        }
    }

    fn damaged(what: impl Into<String>) -> Self {
        let what = what.into();
        Self::new(
            format!("is damaged ({what})"),
            "fetch it again, and compare its checksum",
        )
    }

    fn truncated() -> Self {
        Self::damaged("it ends in the middle")
    }

    fn unsupported(what: impl Into<String>) -> Self {
        Self::new(
            what,
            "use a GGUF file of a llama-family model, such as SmolLM2-135M-Instruct",
        )
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
    fn unreadable(error: io::Error) -> Self {
        Self::new(
            format!("cannot be read ({error})"),
            "name a file that exists and may be read",
        )
    }
}

/// Loads a model, and checks that it computes the same whoever shares a pass.
/// It never has more than `threads` threads.
///
/// # Errors
///
/// If the file cannot be read, is damaged, or is not one that is computed and
/// tokenised right here.
pub fn load(path: &Path, threads: usize) -> Result<Model, LoadError> {
    let refuse = |refusal| LoadError {
        path: path.to_owned(),
        refusal,
    };
    let file = Gguf::open(path).map_err(refuse)?;
    let (engine, text) = read(&file, threads).map_err(refuse)?;
    Ok(Model {
        engine: Box::new(engine),
        text: Arc::new(text),
    })
}

fn read(file: &Gguf, threads: usize) -> Result<(Llama, text::LlamaText), Refusal> {
    let shape = Shape::read(file)?;
    let text = text::LlamaText::read(file)?;
    let pool = Pool::new(threads).map_err(|error| {
        Refusal::new(
            format!("got no threads ({error})"),
            "allow the process more threads",
        )
    })?;
    let weights = Weights::read(file, &shape, &pool)?;
    let facts = Facts {
        name: file.text("general.name")?.unwrap_or("unnamed").to_owned(),
        fingerprint: fingerprint(file.file(), TARGET).map_err(Refusal::unreadable)?,
        vocabulary_hash: text.vocabulary_hash(),
        vocabulary: shape.vocabulary,
        context_tokens: shape.context,
        kv_bytes_per_token: shape.kv_bytes_per_token(),
        kv_block_tokens: kv::BLOCK,
        row_exact: false,
    };
    let mut engine = Llama {
        facts,
        shape,
        weights,
        pool,
        level: Level::detect(),
        sequences: BTreeMap::new(),
        opened: 0,
    };
    if !check::tells_tokens_apart(&mut engine) {
        return Err(Refusal::damaged(
            "what it computes are no numbers, or the same for every token",
        ));
    }
    engine.facts.row_exact = check::row_exact(&mut engine);
    Ok((engine, text))
}

/// Names the file's every bit, and what it is computed by.
fn fingerprint(mut file: impl Read + Seek, target: [&str; 3]) -> io::Result<String> {
    let mut hash = Sha256::new_with_prefix(ARITHMETIC);
    for part in target {
        hash.update([0]);
        hash.update(part);
    }
    hash.update([0]);
    let mut buffer = vec![0; 1 << 20];
    file.rewind()?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("fp_{}", hex(&hash.finalize()))),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Enough of a hash to name something by.
fn hex(hash: &[u8]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A model in memory, and its sequences.
struct Llama {
    facts: Facts,
    shape: Shape,
    weights: Weights,
    pool: Pool,
    level: Level,
    sequences: BTreeMap<SequenceId, Cache>,
    opened: u32,
}

impl Llama {
    fn insert(&mut self, cache: Cache) -> SequenceId {
        while self.sequences.contains_key(&SequenceId(self.opened)) {
            self.opened = self.opened.wrapping_add(1);
        }
        let id = SequenceId(self.opened);
        // A number is not given again soon: a caller that mixes them up is told.
        self.opened = self.opened.wrapping_add(1);
        self.sequences.insert(id, cache);
        id
    }

    fn check(&self, feeds: &[Feed<'_>]) -> Result<(), EngineError> {
        let mut fed = Vec::with_capacity(feeds.len());
        for feed in feeds {
            let cache = self
                .sequences
                .get(&feed.sequence)
                .ok_or_else(|| EngineError(format!("{:?} is not open", feed.sequence)))?;
            if fed.contains(&feed.sequence) {
                return Err(EngineError(format!("{:?} is fed twice in a pass", feed.sequence)));
            }
            fed.push(feed.sequence);
            let tokens = cache.length() + feed.tokens.len();
            if tokens > self.shape.context {
                return Err(EngineError(format!(
                    "{tokens} tokens in a context of {}",
                    self.shape.context
                )));
            }
            let strange = feed
                .tokens
                .iter()
                .find(|token| **token as usize >= self.shape.vocabulary);
            if let Some(token) = strange {
                return Err(EngineError(format!("there is no token {token}")));
            }
        }
        Ok(())
    }
}

impl Engine for Llama {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn open(&mut self) -> SequenceId {
        self.insert(Cache::new(
            self.shape.layers,
            self.shape.kv_heads,
            self.shape.head,
        ))
    }

    fn fork(&mut self, sequence: SequenceId) -> SequenceId {
        match self.sequences.get(&sequence) {
            Some(cache) => self.insert(cache.clone()),
            None => self.open(),
        }
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) {
        if let Some(cache) = self.sequences.get_mut(&sequence)
            && tokens < cache.length()
        {
            cache.resize(tokens);
        }
    }

    fn forward(&mut self, feeds: &[Feed<'_>]) -> Result<Logits, EngineError> {
        self.check(feeds)?;
        let mut rows = Vec::new();
        for feed in feeds {
            let cache = self.sequences.get_mut(&feed.sequence).expect("it was checked");
            let first = cache.length();
            cache.resize(first + feed.tokens.len());
            rows.extend(feed.tokens.iter().enumerate().map(|(index, token)| Row {
                sequence: feed.sequence,
                token: *token,
                position: first + index,
                wanted: match feed.want {
                    Want::Nothing => false,
                    Want::Last => index + 1 == feed.tokens.len(),
                    Want::All => true,
                },
            }));
        }
        let wanted = rows.iter().filter(|row| row.wanted).count();
        let mut values = vec![0.0; wanted * self.shape.vocabulary];
        let mut rest = values.as_mut_slice();
        for rows in rows.chunks(MAX_ROWS) {
            let wanted = rows.iter().filter(|row| row.wanted).count();
            let (logits, others) = rest.split_at_mut(wanted * self.shape.vocabulary);
            rest = others;
            let mut pass = Pass {
                shape: &self.shape,
                weights: &self.weights,
                pool: &self.pool,
                level: self.level,
                sequences: &mut self.sequences,
            };
            self.pool.install(|| pass.run(rows, logits));
        }
        Ok(Logits {
            values,
            vocabulary: self.shape.vocabulary,
        })
    }
}

#[cfg(test)]
mod tests;
