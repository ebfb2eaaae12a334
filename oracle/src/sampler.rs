//! Which token follows, given a row of logits: the edge between what the model
//! computes and what an answer says.
//!
//! The token at a position is a function of the logits, the request's sampling
//! and the seed alone. Sampling adds Gumbel noise that is keyed by (seed,
//! position, token) and takes the maximum, which draws from the softmax; so a
//! draft can be checked with `==`, and a scout that has the seed draws the same.

mod noise;
mod nucleus;

use std::collections::BTreeMap;

use crate::engine::Token;
use crate::sampling::Sampling;
use crate::scheduler::Logprob;

/// How often an answer has each of its own certain tokens; what penalties see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Token, u32>);

impl Counts {
    pub fn add(&mut self, token: Token) {
        *self.0.entry(token).or_default() += 1;
    }
}

/// Chooses tokens; keeps its scratch space from row to row.
#[derive(Debug, Default)]
pub struct Sampler {
    adjusted: Vec<f32>,
    candidates: Vec<(f64, Token)>,
}

impl Sampler {
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that follows `position` tokens of prompt and answer, of which
    /// the answer has `counts`. None if no logit is a number to go by.
    pub fn choose(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        position: usize,
        counts: &Counts,
    ) -> Option<Token> {
        self.adjust(logits, sampling, counts);
        let (best, highest) = highest(&self.adjusted)?;
        if sampling.temperature <= 0.0 {
            return Some(best);
        }
        let temperature = f64::from(sampling.temperature);
        let noise = noise::At::new(sampling.seed, position);
        let scaled = |value: f32| (f64::from(value) - f64::from(highest)) / temperature;
        if sampling.top_p < 1.0 {
            nucleus::fill(
                &mut self.candidates,
                &self.adjusted,
                scaled,
                f64::from(sampling.top_p),
            );
            return noise.highest(self.candidates.iter().map(|&(score, token)| (token, score)), best);
        }
        let all = self.adjusted.iter().enumerate();
        noise.highest(all.map(|(token, &value)| (token as Token, scaled(value))), best)
    }

    /// How probable `token` was by the model's own logits, and the `top` most
    /// probable ones; ties go to the lowest id.
    pub fn logprob(&mut self, logits: &[f32], token: Token, top: usize) -> Logprob {
        self.adjusted.clear();
        self.adjusted.extend(logits.iter().map(|&value| tame(value)));
        let highest = highest(&self.adjusted).map_or(0.0, |(_, value)| f64::from(value));
        let mass: f64 = self
            .adjusted
            .iter()
            .map(|&value| (f64::from(value) - highest).exp())
            .sum();
        let shift = highest + mass.ln();
        let logprob = |value: f32| (f64::from(value) - shift) as f32;

        self.candidates.clear();
        let all = self.adjusted.iter().enumerate();
        self.candidates
            .extend(all.map(|(token, &value)| (f64::from(value), token as Token)));
        let top = top.min(self.candidates.len());
        if top > 0 {
            self.candidates
                .select_nth_unstable_by(top - 1, nucleus::descending);
            self.candidates[..top].sort_unstable_by(nucleus::descending);
        }
        let best = &self.candidates[..top];
        Logprob {
            token,
            logprob: self
                .adjusted
                .get(token as usize)
                .map_or(f32::NEG_INFINITY, |&value| logprob(value)),
            top: best
                .iter()
                .map(|&(value, token)| (token, logprob(value as f32)))
                .collect(),
        }
    }

    fn adjust(&mut self, logits: &[f32], sampling: &Sampling, counts: &Counts) {
        self.adjusted.clear();
        self.adjusted.extend(logits.iter().map(|&value| tame(value)));
        for (&token, &bias) in &sampling.logit_bias {
            if let Some(value) = self.adjusted.get_mut(token as usize) {
                *value += bias;
            }
        }
        if sampling.presence_penalty != 0.0 || sampling.frequency_penalty != 0.0 {
            for (&token, &count) in &counts.0 {
                if let Some(value) = self.adjusted.get_mut(token as usize) {
                    *value -= sampling.presence_penalty + sampling.frequency_penalty * count as f32;
                }
            }
        }
    }
}

/// What is not a number is never chosen, and nothing is more than all others
/// together could outweigh.
fn tame(value: f32) -> f32 {
    if value.is_nan() {
        f32::NEG_INFINITY
    } else {
        value.min(1e30)
    }
}

fn highest(values: &[f32]) -> Option<(Token, f32)> {
    let mut best = None;
    let mut highest = f32::NEG_INFINITY;
    for (token, &value) in values.iter().enumerate() {
        if value > highest {
            (best, highest) = (Some(token as Token), value);
        }
    }
    best.map(|token| (token, highest))
}

#[cfg(test)]
mod tests;
