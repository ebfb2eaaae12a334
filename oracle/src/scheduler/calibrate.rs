//! How long passes take on this machine now, by trying.

use std::time::{Duration, Instant};

use super::plan::Costs;
use crate::engine::{Engine, EngineError, Feed, SequenceId, Token, Want};

/// Widths that are tried, in rows.
const WIDTHS: [usize; 5] = [1, 2, 4, 8, 16];
/// Each width is tried for so long, or so often, and at least once.
const TIME_PER_WIDTH: Duration = Duration::from_millis(50);
const TRIES: usize = 9;
/// What the sequence holds already: attention costs something too.
const CONTEXT: usize = 32;

/// Measures passes of several widths, and calls `passed` after each.
///
/// # Errors
///
/// If the model cannot compute.
pub(super) fn measure(engine: &mut dyn Engine, passed: &dyn Fn()) -> Result<Costs, EngineError> {
    let sequence = engine.open();
    let costs = try_widths(engine, sequence, passed);
    engine.close(sequence);
    costs
}

fn try_widths(
    engine: &mut dyn Engine,
    sequence: SequenceId,
    passed: &dyn Fn(),
) -> Result<Costs, EngineError> {
    let (vocabulary, room) = (engine.facts().vocabulary, engine.facts().context_tokens);
    let context = CONTEXT.min(room / 2);
    let tokens: Vec<Token> = (0..CONTEXT.max(16))
        .map(|index| (index * 37 % vocabulary) as Token)
        .collect();
    // This also warms what is cold; its time counts for nothing.
    if context > 0 {
        engine.forward(&[Feed {
            sequence,
            tokens: &tokens[..context],
            want: Want::Last,
        }])?;
        passed();
    }
    let mut points = Vec::new();
    for width in WIDTHS.into_iter().filter(|&width| context + width <= room) {
        let began = Instant::now();
        let mut least = Duration::MAX;
        for _ in 0..TRIES {
            let pass = Instant::now();
            engine.forward(&[Feed {
                sequence,
                tokens: &tokens[..width],
                want: Want::All,
            }])?;
            least = least.min(pass.elapsed());
            passed();
            engine.truncate(sequence, context);
            if began.elapsed() > TIME_PER_WIDTH {
                break;
            }
        }
        points.push((width, least.as_secs_f64()));
    }
    Ok(Costs::new(points))
}
