//! Session starts: how many IDENTIFYs Discord takes a day.
//!
//! Discord answers an empty budget by ending every session and resetting the
//! bot's token (Discord, "Gateway", Identifying). So a reserve is kept back:
//! below it nothing starts by itself, only at an operator's word.

use serde::{Deserialize, Serialize};

/// The budget is given anew after so long (Discord, "Gateway", Session Start
/// Limit Object).
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Shares that are worth an alert when so much is used, in percent.
const ALERTS: [u32; 3] = [50, 80, 95];

/// What is left of today's starts, as Discord said and we spent since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub total: u32,
    pub remaining: u32,
    /// Wall clock, milliseconds since 1970.
    pub resets_at_ms: u64,
}

impl Budget {
    /// All that Discord would still take.
    pub fn left(&self, wall_ms: u64) -> u32 {
        if wall_ms >= self.resets_at_ms {
            self.total
        } else {
            self.remaining
        }
    }

    /// What may be used now: all but what is kept.
    pub fn free(&self, wall_ms: u64, kept: u32) -> u32 {
        self.left(wall_ms).saturating_sub(kept)
    }

    /// So many percent of the total, for operators alone.
    pub fn reserve(&self, percent: u32) -> u32 {
        let reserve = u64::from(self.total) * u64::from(percent.min(100)) / 100;
        u32::try_from(reserve).expect("a part of a total fits where the total does")
    }

    /// One IDENTIFY is sent or promised. Says which share is used up by it, if
    /// that is worth an alert.
    pub fn spend(&mut self, wall_ms: u64) -> Option<u32> {
        if wall_ms >= self.resets_at_ms {
            // A new day began since Discord was asked.
            self.remaining = self.total;
            self.resets_at_ms = wall_ms + DAY_MS;
        }
        let before = self.used_percent();
        self.remaining = self.remaining.saturating_sub(1);
        let after = self.used_percent();
        ALERTS
            .into_iter()
            .rev()
            .find(|alert| before < *alert && *alert <= after)
    }

    /// So many promised IDENTIFYs will not be sent.
    pub fn refund(&mut self, starts: u32) {
        self.remaining = self.remaining.saturating_add(starts).min(self.total);
    }

    /// How much of the total is used, in percent, rounded down.
    pub fn used_percent(&self) -> u32 {
        let used = u64::from(self.total.saturating_sub(self.remaining));
        u32::try_from(used * 100 / u64::from(self.total.max(1))).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(remaining: u32) -> Budget {
        Budget {
            total: 1000,
            remaining,
            resets_at_ms: 5_000,
        }
    }

    #[test]
    fn the_reserve_is_for_operators_alone() {
        let reserve = budget(0).reserve(10);
        assert_eq!(reserve, 100);
        assert_eq!(budget(101).free(0, reserve), 1);
        assert_eq!(budget(100).free(0, reserve), 0);
        assert_eq!(budget(100).free(0, 0), 100);
        assert_eq!(budget(0).free(0, 0), 0);
    }

    #[test]
    fn each_share_alerts_once() {
        let mut budget = budget(1000);
        let alerts: Vec<_> = (1..=1200u32)
            .filter_map(|spent| budget.spend(0).map(|share| (spent, share)))
            .collect();
        assert_eq!(alerts, [(500, 50), (800, 80), (950, 95)]);
        assert_eq!(budget.left(0), 0);
    }

    #[test]
    fn a_new_day_begins_with_all_and_is_counted_down_again() {
        let mut budget = budget(3);
        assert_eq!(budget.left(5_000), 1000);
        budget.spend(5_000);
        assert_eq!((budget.left(5_001), budget.resets_at_ms), (999, 5_000 + DAY_MS));
    }

    #[test]
    fn a_promise_that_was_not_kept_is_given_back() {
        let mut budget = budget(10);
        budget.spend(0);
        budget.refund(1);
        assert_eq!(budget.left(0), 10);
        budget.refund(5000);
        assert_eq!(budget.left(0), 1000);
    }
}
