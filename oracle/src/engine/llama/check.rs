//! Whether rows are exact on this machine: looked at, not believed.

use crate::engine::{Engine, EngineError, Feed, SequenceId, Token, Want};

/// Crosses a block of keys, and two groups of a kernel's rows.
const TOKENS: u32 = 19;

/// Whether logits are the same bits one by one, in a pass of many, and beside
/// other sequences.
pub(super) fn row_exact(engine: &mut dyn Engine) -> bool {
    let opened = [engine.open(), engine.open(), engine.open()];
    let exact = compare(engine, opened).unwrap_or(false);
    for sequence in opened {
        engine.close(sequence);
    }
    exact
}

fn compare(engine: &mut dyn Engine, [alone, together, other]: [SequenceId; 3]) -> Result<bool, EngineError> {
    let facts = engine.facts();
    let count = TOKENS.min(facts.context_tokens as u32);
    let size = facts.vocabulary as u32;
    let tokens: Vec<Token> = (0..count)
        .map(|index| index.wrapping_mul(2_654_435_761) % size)
        .collect();
    let feed = |sequence, tokens, want| Feed {
        sequence,
        tokens,
        want,
    };
    let mut one_by_one = Vec::new();
    for token in tokens.chunks(1) {
        one_by_one.extend(engine.forward(&[feed(alone, token, Want::Last)])?.values);
    }
    let (first, rest) = tokens.split_at(tokens.len() / 3);
    let mut shared = engine
        .forward(&[feed(other, rest, Want::Nothing), feed(together, first, Want::All)])?
        .values;
    shared.extend(
        engine
            .forward(&[feed(together, rest, Want::All), feed(other, first, Want::Nothing)])?
            .values,
    );
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    Ok(bits(&one_by_one) == bits(&shared))
}
