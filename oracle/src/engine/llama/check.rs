//! Whether a model computes anything, and rows are exact on this machine: looked
//! at, not believed.

use crate::engine::{Engine, EngineError, Feed, SequenceId, Token, Want};

/// Crosses a block of keys, and two groups of a kernel's rows.
const TOKENS: u32 = 19;

/// Whether the logits of each row are numbers that tell one token from another.
pub(super) fn tells_tokens_apart(engine: &mut dyn Engine) -> bool {
    let tokens = tokens(engine);
    let sequence = engine.open();
    let feed = Feed {
        sequence,
        tokens: &tokens,
        want: Want::All,
    };
    let logits = engine.forward(&[feed]);
    engine.close(sequence);
    let is_sound =
        |row: &[f32]| row.iter().all(|logit| logit.is_finite()) && row.iter().any(|logit| *logit != row[0]);
    logits.is_ok_and(|logits| (0..logits.rows()).all(|row| is_sound(logits.row(row))))
}

fn tokens(engine: &dyn Engine) -> Vec<Token> {
    let facts = engine.facts();
    let count = TOKENS.min(facts.context_tokens as u32);
    let size = facts.vocabulary as u32;
    (0..count)
        .map(|index| index.wrapping_mul(2_654_435_761) % size)
        .collect()
}

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
    let tokens = tokens(engine);
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
