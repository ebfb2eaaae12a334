//! What a scout's drafts are worth: its acceptance, of late.
//!
//! Nobody is banned: a draft that is wrong costs a row of a pass, and whoever
//! sends many is asked seldom until its drafts are right again.

use std::time::{Duration, Instant};

/// What one verdict weighs against all before it.
const WEIGHT: f64 = 0.1;
/// Before anything is known: better than the floor, so that it is tried.
const UNKNOWN: f64 = 0.6;
/// Below this, drafts cost more than they save with every engine that was
/// measured.
const FLOOR: f64 = 0.3;
/// Of the drafts of a scout below the floor, one in so many is tried.
const PROBE_EVERY: u32 = 32;
/// How long a scout stays out that broke the rules of its connection; twice as
/// long each further time.
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(32);

/// The reputation of one scout. It begins anew with each lease: another process
/// may have another model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reputation {
    acceptance: f64,
    /// Drafts that were held back since the last probe.
    held_back: u32,
    offences: u32,
    rests_until: Option<Instant>,
}

impl Default for Reputation {
    fn default() -> Self {
        Self {
            acceptance: UNKNOWN,
            held_back: 0,
            offences: 0,
            rests_until: None,
        }
    }
}

impl Reputation {
    /// So many tokens of a draft with `drafted` were those that followed. What
    /// came after the first wrong one says nothing more.
    pub(super) fn verdict(&mut self, drafted: usize, accepted: usize) {
        let judged = drafted.min(accepted + 1);
        for index in 0..judged {
            let right = f64::from(u8::from(index < accepted));
            self.acceptance += WEIGHT * (right - self.acceptance);
        }
    }

    /// The probability that a token is right, of late.
    pub(super) fn acceptance(&self) -> f64 {
        self.acceptance
    }

    pub(super) fn is_poor(&self) -> bool {
        self.acceptance < FLOOR
    }

    /// It broke the rules of its connection.
    pub(super) fn offended(&mut self, now: Instant) {
        let rest = REST.saturating_mul(1 << self.offences.min(5)).min(REST_MAX);
        self.offences = self.offences.saturating_add(1);
        self.rests_until = Some(now + rest);
    }

    /// Whether it is to stay out for now.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// Whether a draft that is there is given to the scheduler.
    pub(super) fn admits(&mut self) -> bool {
        if !self.is_poor() {
            return true;
        }
        self.held_back += 1;
        let probe = self.held_back >= PROBE_EVERY;
        if probe {
            self.held_back = 0;
        }
        probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_is_poor_after_a_few_drafts_and_probed_for_ever() {
        let mut liar = Reputation::default();
        let drafts = (1..).find(|_| {
            liar.verdict(4, 0);
            liar.is_poor()
        });
        assert!(drafts.unwrap() <= 10, "{drafts:?}");
        let tried = (0..320).filter(|_| liar.admits()).count();
        assert_eq!(tried, 10);
    }

    #[test]
    fn a_liar_that_turns_honest_is_believed_again() {
        let mut scout = Reputation::default();
        for _ in 0..100 {
            scout.verdict(4, 0);
        }
        assert!(scout.is_poor());
        for _ in 0..4 {
            scout.verdict(4, 4);
        }
        assert!(!scout.is_poor());
        assert!(scout.admits());
    }

    #[test]
    fn who_breaks_the_rules_again_and_again_stays_out_longer() {
        let (mut scout, mut now) = (Reputation::default(), Instant::now());
        assert!(!scout.rests(now));
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            scout.offended(now);
            assert!(scout.rests(now + Duration::from_secs(seconds) - Duration::from_millis(1)));
            now += Duration::from_secs(seconds);
            assert!(!scout.rests(now), "{seconds}");
        }
    }

    #[test]
    fn what_follows_the_first_wrong_token_is_not_counted_against_it() {
        let mut long = Reputation::default();
        let mut short = Reputation::default();
        long.verdict(16, 2);
        short.verdict(3, 2);
        assert_eq!(long, short);
        let before = short.clone();
        short.verdict(0, 0);
        assert_eq!(before, short, "an empty draft says nothing");
    }
}
