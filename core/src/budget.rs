//! Session starts: how many IDENTIFYs Discord takes a day.
//!
//! Discord answers an empty budget by ending every session and resetting the
//! bot's token (Discord, "Gateway", Identifying). So the last tenth is kept
//! back: below it nothing starts by itself, only at an operator's word.

use serde::{Deserialize, Serialize};

/// The budget is given anew after so long (Discord, "Gateway", Session Start
/// Limit Object).
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The share that is kept back, in percent of the total.
const RESERVE_PERCENT: u32 = 10;

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

    /// What may be used now: all, or all but the reserve.
    pub fn free(&self, wall_ms: u64, with_reserve: bool) -> u32 {
        let reserve = if with_reserve { 0 } else { self.reserve() };
        self.left(wall_ms).saturating_sub(reserve)
    }

    /// The part that only an operator may use.
    pub fn reserve(&self) -> u32 {
        self.total.saturating_mul(RESERVE_PERCENT) / 100
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

    fn used_percent(&self) -> u32 {
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
    fn the_last_tenth_is_for_operators_alone() {
        assert_eq!(budget(101).free(0, false), 1);
        assert_eq!(budget(100).free(0, false), 0);
        assert_eq!(budget(100).free(0, true), 100);
        assert_eq!(budget(0).free(0, true), 0);
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
