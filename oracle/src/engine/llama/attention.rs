//! How a row finds what came before it in its sequence.

use super::kernel::{self, Attend, Level};
use super::pool::Pool;

/// How far a position turns each pair of a head's values.
pub(super) struct Turn {
    /// Cosine and sine.
    pairs: Vec<(f32, f32)>,
}

impl Turn {
    pub(super) fn new(turns: &[f64], position: usize) -> Self {
        let pairs = turns.iter().map(|turn| {
            let (sine, cosine) = (position as f64 * turn).sin_cos();
            (cosine as f32, sine as f32)
        });
        Self {
            pairs: pairs.collect(),
        }
    }

    /// Turns a query or a key: llama's files have the values of a pair side by side.
    pub(super) fn apply(&self, head: &mut [f32]) {
        for (values, (cosine, sine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(&self.pairs) {
            let [first, second] = *values;
            *values = [first * cosine - second * sine, first * sine + second * cosine];
        }
    }
}

/// Queries, and where to put what they find.
pub(super) struct Task<'a> {
    pub(super) attend: Attend<'a>,
    pub(super) out: &'a mut [f32],
}

pub(super) fn run(tasks: Vec<Task<'_>>, level: Level, pool: &Pool) {
    let per_part = tasks.len().div_ceil(pool.parts(tasks.len()));
    let mut tasks = tasks.into_iter().peekable();
    let mut parts = Vec::new();
    while tasks.peek().is_some() {
        parts.push(tasks.by_ref().take(per_part).collect::<Vec<_>>());
    }
    pool.each(parts, |part| {
        let mut scores = Vec::new();
        for task in part {
            kernel::attend(level, &task.attend, &mut scores, task.out);
        }
    });
}
