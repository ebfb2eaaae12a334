//! How fast a count grows that somebody reports now and then.

use crate::tick::Tick;

/// Reports closer to each other than this tell too little, in milliseconds.
const APART_MS: u64 = 1000;

/// A count that only grows, and how fast it did between the last two reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// The last count that was taken, and when.
    last: Option<(u64, Tick)>,
    per_second: Option<f64>,
}

impl Rate {
    /// The count is `total` at `now`. One that is smaller than before has begun
    /// anew.
    pub fn report(&mut self, total: u64, now: Tick) {
        match self.last {
            Some((last, at)) if total >= last => {
                let ms = now.ms_since(at);
                if ms < APART_MS {
                    return;
                }
                self.per_second = Some((total - last) as f64 * 1000.0 / ms as f64);
            }
            Some(_) | None => self.per_second = None,
        }
        self.last = Some((total, now));
    }

    /// None before there were two reports.
    pub fn per_second(&self) -> Option<f64> {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_came_between_two_reports() {
        let mut rate = Rate::default();
        rate.report(100, Tick(0));
        assert_eq!(rate.per_second(), None);
        rate.report(150, Tick(10_000));
        assert_eq!(rate.per_second(), Some(5.0));
        // Too soon to tell: it counts with the next.
        rate.report(160, Tick(10_100));
        assert_eq!(rate.per_second(), Some(5.0));
        rate.report(170, Tick(20_000));
        assert_eq!(rate.per_second(), Some(2.0));
        // Another process counts from the beginning.
        rate.report(3, Tick(30_000));
        assert_eq!(rate.per_second(), None);
        rate.report(u64::MAX, Tick(31_000));
        assert!(rate.per_second().is_some_and(f64::is_finite));
        rate.report(u64::MAX, Tick(32_000));
        assert_eq!(rate.per_second(), Some(0.0));
    }
}
