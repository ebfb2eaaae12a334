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
        let mut costs = Self { points };
        costs.rise();
        costs
    }

    /// Learns from a pass of `rows` that took `seconds`: the measured width next
    /// to it most, and the others a little, as what slows one down, such as long
    /// texts or a busy machine, is likely to slow down all.
    pub(super) fn observe(&mut self, rows: usize, seconds: f64) {
        const WEIGHT: f64 = 0.1;
        const WEIGHT_ELSEWHERE: f64 = 0.01;
        // One pass in which the machine slept says little.
        let ratio = (seconds / self.seconds(rows).max(1e-9)).clamp(0.25, 4.0);
        let widths = self.points.iter().map(|&(width, _)| width.abs_diff(rows));
        let nearest = widths
            .enumerate()
            .min_by_key(|&(_, distance)| distance)
            .map(|(index, _)| index);
        for (index, (_, cost)) in self.points.iter_mut().enumerate() {
            let weight = if Some(index) == nearest {
                WEIGHT
            } else {
                WEIGHT_ELSEWHERE
            };
            *cost *= 1.0 + weight * (ratio - 1.0);
        }
        self.rise();
    }

    fn rise(&mut self) {
        for index in 1..self.points.len() {
            self.points[index].1 = self.points[index].1.max(self.points[index - 1].1);
        }
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

/// How many tokens of each waiting prompt a pass takes, `budget` tokens in all:
/// those with the least left first, but always a quarter for the one that came
/// first, so that a long one ends, too.
pub(super) fn prefill(remaining: &[usize], budget: usize) -> Vec<usize> {
    let mut shares = vec![0; remaining.len()];
    let mut left = budget;
    if let Some(&first) = remaining.first() {
        shares[0] = first.min(budget.div_ceil(4));
        left -= shares[0];
    }
    let mut order: Vec<usize> = (0..remaining.len()).collect();
    order.sort_by_key(|&index| remaining[index]);
    for index in order {
        let more = (remaining[index] - shares[index]).min(left);
        shares[index] += more;
        left -= more;
    }
    shares
}

/// How many tokens of prompts a pass may take beside `rows` other rows. Running
/// answers should not pause for longer than `pause`; with none running, only a
/// reader that goes away has to wait.
pub(super) fn prefill_budget(costs: &Costs, rows: usize, pause: f64) -> usize {
    const IDLE_PAUSES: f64 = 4.0;
    const MOST: usize = 512;
    let seconds = if rows == 0 { pause * IDLE_PAUSES } else { pause };
    costs.rows_within(seconds, rows).min(MOST)
}

/// A draft that could be checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    /// How probable it is that a token of it follows, if those before it did.
    pub(super) acceptance: f64,
    pub(super) tokens: usize,
}

impl Offer {
    /// How many of its tokens should follow.
    pub(super) fn expected(self) -> f64 {
        (1..=self.tokens as i32)
            .map(|token| self.acceptance.powi(token))
            .sum()
    }
}

/// Less than this is lost in what was not measured.
const LEAST_GAIN: f64 = 1.05;

/// How many tokens of each offer to check in a pass that has `rows` rows
/// anyway, of which `answers` are running answers: those that make the most
/// tokens for the time.
pub(super) fn draft_rows(costs: &Costs, rows: usize, answers: usize, offers: &[Offer]) -> Vec<usize> {
    // The k-th token of a draft follows with acceptance^k. Taking the best first
    // takes each draft from its beginning; the cost is a staircase, so the best
    // width may lie behind one that does not pay.
    let mut gains: Vec<(f64, usize)> = Vec::new();
    for (index, offer) in offers.iter().enumerate() {
        let tokens = 1..=offer.tokens as i32;
        gains.extend(tokens.map(|token| (offer.acceptance.clamp(0.0, 1.0).powi(token), index)));
    }
    gains.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut made, mut width) = (answers as f64, 0);
    let mut best = LEAST_GAIN * made / costs.seconds(rows).max(1e-9);
    for (index, &(gain, _)) in gains.iter().enumerate() {
        made += gain;
        let rate = made / costs.seconds(rows + index + 1).max(1e-9);
        if rate > best {
            (best, width) = (rate, index + 1);
        }
    }
    let mut counts = vec![0; offers.len()];
    for &(_, index) in &gains[..width] {
        counts[index] += 1;
    }
    counts
}

/// Whether checking drafts could pay in such a pass if all of them followed:
/// where it cannot, nobody needs to draft.
pub(super) fn could_pay(costs: &Costs, rows: usize, answers: usize, limit: usize) -> bool {
    let perfect = Offer {
        acceptance: 1.0,
        tokens: limit,
    };
    draft_rows(costs, rows, answers, &vec![perfect; answers])
        .into_iter()
        .any(|count| count > 0)
}

/// Whether to wait for `seconds` for drafts that come with this probability: a
/// token that follows spares a pass of its own.
pub(super) fn wait_pays(costs: &Costs, seconds: f64, comes: f64, acceptance: f64) -> bool {
    comes * acceptance * costs.seconds(1) > seconds
}

#[cfg(test)]
mod tests;
