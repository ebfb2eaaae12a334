//! The smallest set of most probable tokens whose probability is `top_p`.

use std::cmp::Ordering;

use crate::engine::Token;

/// The most probable first; ties go to the lowest id.
pub(super) fn descending(a: &(f64, Token), b: &(f64, Token)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Fills `candidates` with the set's scores and tokens. `scaled` gives a logit
/// as its distance below the highest, by temperature. The token that reaches
/// `top_p` belongs to the set, so it is never empty.
pub(super) fn fill(
    candidates: &mut Vec<(f64, Token)>,
    logits: &[f32],
    scaled: impl Fn(f32) -> f64,
    top_p: f64,
) {
    let mass: f64 = logits.iter().map(|&value| scaled(value).exp()).sum();
    let wanted = top_p * mass;
    // Few tokens hold most of the mass: sort no more than are needed.
    for floor in [-4.0, -10.0, f64::NEG_INFINITY] {
        candidates.clear();
        let all = logits
            .iter()
            .enumerate()
            .map(|(token, &value)| (scaled(value), token as Token));
        candidates.extend(all.filter(|&(score, _)| score > f64::NEG_INFINITY && score >= floor));
        let held: f64 = candidates.iter().map(|&(score, _)| score.exp()).sum();
        if held > wanted || floor == f64::NEG_INFINITY {
            break;
        }
    }
    candidates.sort_unstable_by(descending);
    let mut reached = 0.0;
    let within = candidates.iter().position(|&(score, _)| {
        reached += score.exp();
        reached >= wanted
    });
    candidates.truncate(within.map_or(candidates.len(), |last| last + 1));
}
