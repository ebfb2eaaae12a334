//! The engine on a tiny model, against a slow one that is plainly right.

mod arithmetic;
mod reference;
mod refusals;
mod rows;
mod texts;
#[expect(
    unreachable_pub,
    dead_code,
    reason = "the integration tests' own, which use other parts of it"
)]
#[path = "../../../tests/it/tiny.rs"]
mod tiny;

use std::path::PathBuf;

use super::gguf::Gguf;
use super::text::LlamaText;
use super::{Llama, Refusal};
use crate::engine::{Engine, Feed, SequenceId, Token, Want};

/// A model file in a folder of its own.
struct OnDisk {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn on_disk(bytes: &[u8]) -> OnDisk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    OnDisk {
        _folder: folder,
        path,
    }
}

fn read(bytes: &[u8], threads: usize) -> Result<(Llama, LlamaText), Refusal> {
    let file = on_disk(bytes);
    super::read(&Gguf::open(&file.path)?, threads)
}

fn engine(threads: usize) -> Llama {
    read(&tiny::model(1).bytes(), threads).unwrap().0
}

fn text() -> LlamaText {
    read(&tiny::model(1).bytes(), 1).unwrap().1
}

/// Tokens of no meaning.
fn tokens(count: usize, seed: u64) -> Vec<Token> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.u32(0..280)).collect()
}

fn feed(engine: &mut Llama, sequence: SequenceId, tokens: &[Token]) -> Vec<u32> {
    let feed = Feed {
        sequence,
        tokens,
        want: Want::All,
    };
    bits(&engine.forward(&[feed]).unwrap().values)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
