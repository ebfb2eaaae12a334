//! What a pass computes: first one row for each running answer, then prompts in
//! bounded pieces, then drafts where they pay. Functions of numbers alone.

/// How long a pass of so many rows takes, as it was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Costs {
    /// Rows and seconds, both rising.
    points: Vec<(usize, f64)>,
}

impl Costs {
    /// Of measured (rows, seconds), by rows. More rows never take less time.
    pub(super) fn new(mut points: Vec<(usize, f64)>) -> Self {
        assert!(!points.is_empty(), "a cost was measured");
        points.sort_by_key(|&(rows, _)| rows);
        for index in 1..points.len() {
            points[index].1 = points[index].1.max(points[index - 1].1);
        }
        Self { points }
    }

    /// Seconds for a pass of `rows`: between two measured widths in proportion,
    /// beyond them at the rate of the widest.
    pub(super) fn seconds(&self, rows: usize) -> f64 {
        let (first, last) = (self.points[0], self.points[self.points.len() - 1]);
        if rows <= first.0 {
            return first.1;
        }
        if rows >= last.0 {
            return last.1 * rows as f64 / last.0 as f64;
        }
        let after = self.points.iter().position(|&(width, _)| width >= rows);
        let after = after.expect("rows is below the widest");
        let ((w0, t0), (w1, t1)) = (self.points[after - 1], self.points[after]);
        t0 + (t1 - t0) * (rows - w0) as f64 / (w1 - w0) as f64
    }

    /// The most rows, at least one, beside `rows` others for which a pass takes
    /// at most `seconds`.
    pub(super) fn rows_within(&self, seconds: f64, rows: usize) -> usize {
        let last = self.points[self.points.len() - 1];
        let per_row = (last.1 / last.0 as f64).max(1e-9);
        let within = (seconds / per_row) as usize;
        within.saturating_sub(rows).max(1)
    }
}

/// How many tokens of each waiting prompt a pass takes: the first ones first,
/// `budget` tokens in all.
pub(super) fn prefill(remaining: &[usize], budget: usize) -> Vec<usize> {
    let mut left = budget;
    let shares = remaining.iter().map(|&tokens| {
        let share = tokens.min(left);
        left -= share;
        share
    });
    shares.collect()
}
