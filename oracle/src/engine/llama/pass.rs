//! One pass of rows through the model.
//!
//! Nothing here mixes rows, but attention, which reads what came before in the
//! row's own sequence, in order: so a row's logits do not depend on its company.

use std::collections::BTreeMap;

use super::attention::{self, Task, Turn};
use super::kernel::{Attend, Level, exp};
use super::kv::Cache;
use super::matrix::{Matrix, Rows};
use super::pool::Pool;
use super::weights::{Layer, Shape, Weights};
use crate::engine::{SequenceId, Token};

/// One token that is fed to its sequence, which has room for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) sequence: SequenceId,
    pub(super) token: Token,
    /// Tokens before it in its sequence.
    pub(super) position: usize,
    /// Whether the logits of what follows it are wanted.
    pub(super) wanted: bool,
}

pub(super) struct Pass<'a> {
    pub(super) shape: &'a Shape,
    pub(super) weights: &'a Weights,
    pub(super) pool: &'a Pool,
    pub(super) level: Level,
    pub(super) sequences: &'a mut BTreeMap<SequenceId, Cache>,
}

impl Pass<'_> {
    /// Feeds these rows, and sets the logits of the wanted ones.
    pub(super) fn run(&mut self, rows: &[Row], logits: &mut [f32]) {
        let width = self.shape.width;
        let mut states = vec![0.0; rows.len() * width];
        for (row, state) in rows.iter().zip(states.chunks_exact_mut(width)) {
            self.weights.embedding.row(row.token as usize, state);
        }
        let turns: Vec<Turn> = rows
            .iter()
            .map(|row| Turn::new(&self.shape.turns, row.position))
            .collect();
        let mut scratch = Scratch::default();
        for (index, layer) in self.weights.layers.iter().enumerate() {
            self.attend(index, layer, rows, &turns, &mut states, &mut scratch);
            self.feed_forward(layer, &mut states, &mut scratch);
        }
        let last: Vec<f32> = rows
            .iter()
            .zip(states.chunks_exact(width))
            .filter(|(row, _)| row.wanted)
            .flat_map(|(_, state)| state)
            .copied()
            .collect();
        if last.is_empty() {
            return;
        }
        scratch.normed(&last, &self.weights.norm, self.shape.epsilon);
        let output = self.weights.output();
        output.multiply(&scratch.rows, logits, self.level, self.pool);
    }

    fn attend(
        &mut self,
        index: usize,
        layer: &Layer,
        rows: &[Row],
        turns: &[Turn],
        states: &mut [f32],
        scratch: &mut Scratch,
    ) {
        scratch.normed(states, &layer.attention_norm, self.shape.epsilon);
        let mut projected = scratch.multiply(&layer.query_key_value, self.level, self.pool);
        let (queries, keys) = (self.shape.query_width(), self.shape.key_width());
        let width = queries + 2 * keys;
        for ((row, turn), projected) in rows.iter().zip(turns).zip(projected.chunks_exact_mut(width)) {
            let (turned, value) = projected.split_at_mut(queries + keys);
            turned
                .chunks_exact_mut(self.shape.head)
                .for_each(|head| turn.apply(head));
            let cache = self
                .sequences
                .get_mut(&row.sequence)
                .expect("a row's sequence is open");
            cache.set(index, row.position, &turned[queries..], value);
        }
        let mut found = vec![0.0; rows.len() * queries];
        let group = queries / self.shape.kv_heads;
        let tasks = rows
            .iter()
            .zip(projected.chunks_exact(width))
            .zip(found.chunks_exact_mut(queries));
        let mut parts = Vec::with_capacity(rows.len() * self.shape.kv_heads);
        for ((row, projected), found) in tasks {
            let cache = &self.sequences[&row.sequence];
            for (head, (queries, out)) in projected[..queries]
                .chunks_exact(group)
                .zip(found.chunks_exact_mut(group))
                .enumerate()
            {
                let attend = Attend {
                    queries,
                    keys: cache.keys(index, head),
                    values: cache.values(index, head),
                    size: self.shape.head,
                    length: row.position + 1,
                };
                parts.push(Task { attend, out });
            }
        }
        attention::run(parts, self.level, self.pool);
        scratch.rows.set(&found, queries);
        let out = scratch.multiply(&layer.attention_out, self.level, self.pool);
        add(states, &out);
        scratch.done(projected);
        scratch.done(out);
    }

    fn feed_forward(&self, layer: &Layer, states: &mut [f32], scratch: &mut Scratch) {
        scratch.normed(states, &layer.feed_forward_norm, self.shape.epsilon);
        let mut gates = scratch.multiply(&layer.gate_up, self.level, self.pool);
        let width = self.shape.feed_forward;
        for row in gates.chunks_exact_mut(2 * width) {
            let (gate, up) = row.split_at_mut(width);
            for (gate, up) in gate.iter_mut().zip(up) {
                // SwiGLU. Beyond 80 the fraction is 1, or as good as 0, anyway.
                *gate = *gate / (1.0 + exp((-*gate).min(80.0))) * *up;
            }
        }
        scratch.rows.set_strided(&gates, width, 2 * width);
        let out = scratch.multiply(&layer.down, self.level, self.pool);
        add(states, &out);
        scratch.done(gates);
        scratch.done(out);
    }
}

/// Memory that is used again and again within a pass.
#[derive(Default)]
struct Scratch {
    rows: Rows,
    normed: Vec<f32>,
    free: Vec<Vec<f32>>,
}

impl Scratch {
    /// Makes ready to multiply these rows, each scaled to a mean square of one,
    /// and by the weights.
    fn normed(&mut self, states: &[f32], weights: &[f32], epsilon: f32) {
        self.normed.clear();
        for state in states.chunks_exact(weights.len()) {
            let square = mean_square(state);
            // An overflow is told by the logits: divided by it, all would be zero.
            let scale = match square.is_finite() {
                true => 1.0 / (square + epsilon).sqrt(),
                false => f32::NAN,
            };
            self.normed.extend(
                state
                    .iter()
                    .zip(weights)
                    .map(|(value, weight)| value * scale * weight),
            );
        }
        self.rows.set(&self.normed, weights.len());
    }

    fn multiply(&mut self, matrix: &Matrix, level: Level, pool: &Pool) -> Vec<f32> {
        let mut out = self.free.pop().unwrap_or_default();
        out.resize(self.rows.len() * matrix.rows(), 0.0);
        matrix.multiply(&self.rows, &mut out, level, pool);
        out
    }

    fn done(&mut self, values: Vec<f32>) {
        self.free.push(values);
    }
}

/// Added up in eight lanes, always in the same order.
fn mean_square(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * value;
        }
    }
    let rest: f32 = rest.iter().map(|value| value * value).sum();
    (sums.into_iter().sum::<f32>() + rest) / values.len() as f32
}

fn add(states: &mut [f32], values: &[f32]) {
    for (state, value) in states.iter_mut().zip(values) {
        *state += value;
    }
}
