//! Whether drafts make answers come faster, as it turns out. What they cost
//! elsewhere, such as the core that a scout takes from the model, is in no
//! calibration; so passes with drafts and passes without take turns for a
//! moment, and the faster ones go on for long.

use std::collections::BTreeMap;

/// Passes of each kind that are compared.
const COMPARED: u32 = 24;
/// Passes before those that count: scouts must first read what they missed, and
/// what they still compute must end.
const SETTLE_DRAFTING: u32 = 24;
const SETTLE_PLAIN: u32 = 6;
/// How many passes a result holds, at first and at most. It doubles with each
/// trial that says the same.
const STAY: u32 = 256;
const STAY_MOST: u32 = 8192;
/// Drafts must spare at least this part of a token's time.
const WORTH: f64 = 0.02;

/// One trial for about as many answers at once.
#[derive(Clone, Copy, Debug)]
struct Arms {
    phase: Phase,
    /// Passes of this phase so far.
    passes: u32,
    seconds: f64,
    tokens: u64,
    /// Seconds for a token with drafts, of the trial that is under way.
    drafting: f64,
    /// What the last trial said.
    won: Option<bool>,
    stay: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Drafting,
    Plain,
    /// After a trial that drafts won, or lost.
    Stay(bool),
}

/// The trials, by the number of answers at once to the next power of two.
#[derive(Clone, Debug, Default)]
pub(super) struct Trial(BTreeMap<usize, Arms>);

impl Trial {
    /// Whether the next pass may have drafts.
    pub(super) fn drafts(&self, answers: usize) -> bool {
        let phase = self.0.get(&answers.next_power_of_two()).map(|arms| arms.phase);
        phase.is_none_or(|phase| matches!(phase, Phase::Drafting | Phase::Stay(true)))
    }

    /// What a pass for so many answers took, with all that belongs to it, and
    /// how many tokens it brought.
    pub(super) fn note(&mut self, answers: usize, seconds: f64, tokens: u64) {
        let arms = self.0.entry(answers.next_power_of_two()).or_insert(Arms {
            phase: Phase::Drafting,
            passes: 0,
            seconds: 0.0,
            tokens: 0,
            drafting: 0.0,
            won: None,
            stay: STAY,
        });
        arms.note(seconds, tokens);
    }
}

impl Arms {
    fn note(&mut self, seconds: f64, tokens: u64) {
        self.passes += 1;
        let (settle, end) = match self.phase {
            Phase::Drafting => (SETTLE_DRAFTING, SETTLE_DRAFTING + COMPARED),
            Phase::Plain => (SETTLE_PLAIN, SETTLE_PLAIN + COMPARED),
            Phase::Stay(_) => (u32::MAX, self.stay),
        };
        if self.passes > settle {
            self.seconds += seconds;
            self.tokens += tokens;
        }
        if self.passes < end {
            return;
        }
        let cost = self.seconds / self.tokens.max(1) as f64;
        let next = match self.phase {
            Phase::Drafting => {
                self.drafting = cost;
                Phase::Plain
            }
            Phase::Plain => {
                let wins = self.drafting < cost * (1.0 - WORTH);
                self.stay = match self.won.replace(wins) == Some(wins) {
                    true => self.stay.saturating_mul(2).min(STAY_MOST),
                    false => STAY,
                };
                Phase::Stay(wins)
            }
            Phase::Stay(_) => Phase::Drafting,
        };
        self.phase = next;
        self.passes = 0;
        self.seconds = 0.0;
        self.tokens = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes with and without drafts, of this many, where a pass brings so many
    /// tokens in so many seconds with drafts, and one in one without.
    fn run(trial: &mut Trial, answers: usize, passes: u32, tokens: u64, seconds: f64) -> (u32, u32) {
        let mut counts = (0, 0);
        for _ in 0..passes {
            if trial.drafts(answers) {
                counts.0 += 1;
                trial.note(answers, seconds, tokens);
            } else {
                counts.1 += 1;
                trial.note(answers, 1.0, 1);
            }
        }
        counts
    }

    #[test]
    fn drafts_that_pay_go_on_and_those_that_cost_are_left() {
        let (drafting, plain) = run(&mut Trial::default(), 1, 20_000, 3, 2.0);
        assert!(drafting > 19_500, "{drafting}, {plain}");
        let (drafting, plain) = run(&mut Trial::default(), 1, 20_000, 1, 1.4);
        assert!(plain > 19_000 && drafting > 100, "{drafting}, {plain}");
        // No gain is no reason.
        let (_, plain) = run(&mut Trial::default(), 1, 20_000, 1, 1.0);
        assert!(plain > 19_000, "{plain}");
    }

    #[test]
    fn a_change_is_noticed_and_trials_are_often_again_then() {
        let mut trial = Trial::default();
        run(&mut trial, 1, 50_000, 1, 1.4);
        let (drafting, _) = run(&mut trial, 1, 3 * STAY_MOST, 4, 2.0);
        assert!(drafting > STAY_MOST, "{drafting}");
        let (drafting, plain) = run(&mut trial, 1, 3 * STAY_MOST, 1, 1.4);
        assert!(plain > STAY_MOST, "{drafting}, {plain}");
    }

    #[test]
    fn answers_alone_and_many_are_judged_apart() {
        let mut trial = Trial::default();
        run(&mut trial, 1, 500, 3, 2.0);
        run(&mut trial, 7, 500, 1, 2.0);
        assert!(trial.drafts(1) && !trial.drafts(8) && trial.drafts(9));
    }
}
