//! Whether the model is to be trusted, by what its passes said lately. A
//! function of the passes alone.

/// So many bad passes, one after the other, are more than one bad request.
const BAD_PASSES: u32 = 3;

/// What a pass was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At least one row could be read.
    Good,
    /// It failed, or no row of it could be read.
    Bad,
    /// No row was asked for, as in the midst of a prompt.
    Silent,
}

impl Outcome {
    /// Of a pass that was computed.
    pub(super) const fn of_rows(readable: usize, unreadable: usize) -> Self {
        match (readable, unreadable) {
            (0, 0) => Self::Silent,
            (0, _) => Self::Bad,
            _ => Self::Good,
        }
    }
}

/// Counts bad passes since the last good one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trust {
    bad: u32,
}

impl Trust {
    pub(super) fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Good => self.bad = 0,
            Outcome::Bad => self.bad = self.bad.saturating_add(1),
            Outcome::Silent => {}
        }
    }

    pub(super) const fn is_lost(self) -> bool {
        self.bad >= BAD_PASSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost_after(outcomes: &[Outcome]) -> bool {
        let mut trust = Trust::default();
        outcomes.iter().for_each(|outcome| trust.note(*outcome));
        trust.is_lost()
    }

    #[test]
    fn trust_is_lost_by_three_bad_passes_in_a_row_and_won_by_a_good_row() {
        use Outcome::{Bad, Good, Silent};
        assert!(!lost_after(&[]));
        assert!(!lost_after(&[Bad, Bad]));
        assert!(lost_after(&[Bad, Bad, Bad]));
        assert!(lost_after(&[Bad, Silent, Bad, Silent, Bad, Silent]));
        assert!(!lost_after(&[Bad, Bad, Good, Bad, Bad]));
        assert!(!lost_after(&[Bad, Bad, Bad, Bad, Good]));
    }

    #[test]
    fn one_row_that_can_be_read_makes_a_pass_good() {
        assert_eq!(Outcome::of_rows(0, 0), Outcome::Silent);
        assert_eq!(Outcome::of_rows(0, 3), Outcome::Bad);
        assert_eq!(Outcome::of_rows(1, 3), Outcome::Good);
    }
}
