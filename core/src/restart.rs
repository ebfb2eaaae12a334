//! When a child that ended may be started again.

use std::time::Duration;

use crate::tick::Tick;

/// Exit code of a process whose configuration is wrong (sysexits.h). Starting
/// it again cannot help.
pub const EX_CONFIG: i32 = 78;

/// Exponential back-off with jitter that forgets after a stable run.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// The pause after the second exit in a row; the first costs none.
    pub base: Duration,
    /// No pause is longer.
    pub cap: Duration,
    /// A run at least this long forgets the exits before it.
    pub stable: Duration,
    /// This many exits in a row are a crash loop.
    pub loop_exits: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(300),
            stable: Duration::from_secs(60),
            loop_exits: 5,
        }
    }
}

/// What to do about a child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartStep {
    StartAt(Tick),
    /// Its configuration is wrong: wait for an operator.
    Halt,
}

/// The exits of one place in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestartRecord {
    pub exits: u32,
}

impl RestartRecord {
    /// Counts an exit after a run of `uptime` and says what to do. `chance` is
    /// uniform in 0..1 and takes up to half off the pause, so that a fleet
    /// does not come back in lock-step.
    pub fn on_exit(
        &mut self,
        policy: &RestartPolicy,
        code: Option<i32>,
        uptime: Duration,
        chance: f64,
        now: Tick,
    ) -> RestartStep {
        if uptime >= policy.stable {
            self.exits = 0;
        }
        self.exits = self.exits.saturating_add(1);
        if code == Some(EX_CONFIG) {
            return RestartStep::Halt;
        }
        RestartStep::StartAt(now + pause(policy, self.exits, chance))
    }

    /// Whether so many exits in a row are a verdict.
    pub fn crash_looping(&self, policy: &RestartPolicy) -> bool {
        self.exits >= policy.loop_exits
    }
}

fn pause(policy: &RestartPolicy, exits: u32, chance: f64) -> Duration {
    let Some(doublings) = exits.checked_sub(2) else {
        return Duration::ZERO;
    };
    let full = policy
        .base
        .saturating_mul(2u32.saturating_pow(doublings.min(30)))
        .min(policy.cap);
    full.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(uptime: Duration, chance: f64) -> Vec<u64> {
        let policy = RestartPolicy::default();
        let mut record = RestartRecord::default();
        (0..12)
            .map(
                |_| match record.on_exit(&policy, Some(1), uptime, chance, Tick(0)) {
                    RestartStep::StartAt(at) => at.0,
                    RestartStep::Halt => panic!("exit 1 halts nothing"),
                },
            )
            .collect()
    }

    #[test]
    fn the_first_exit_costs_no_pause_and_each_next_one_doubles_it_up_to_the_cap() {
        let expected = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(|seconds| seconds * 1000);
        assert_eq!(pauses(Duration::from_secs(1), 0.0), expected);
    }

    #[test]
    fn jitter_takes_up_to_half_off() {
        assert_eq!(pauses(Duration::ZERO, 1.0)[..4], [0, 500, 1000, 2000]);
    }

    #[test]
    fn a_stable_run_forgets() {
        assert_eq!(pauses(Duration::from_secs(60), 0.0), [0; 12]);
    }

    #[test]
    fn five_exits_in_a_row_are_a_crash_loop_and_a_stable_run_ends_it() {
        let policy = RestartPolicy::default();
        let mut record = RestartRecord::default();
        for _ in 0..5 {
            assert!(!record.crash_looping(&policy));
            record.on_exit(&policy, None, Duration::ZERO, 0.5, Tick(0));
        }
        assert!(record.crash_looping(&policy));
        record.on_exit(&policy, None, Duration::from_secs(61), 0.5, Tick(0));
        assert!(!record.crash_looping(&policy));
    }

    #[test]
    fn a_wrong_configuration_is_not_tried_again() {
        let mut record = RestartRecord::default();
        let step = record.on_exit(&RestartPolicy::default(), Some(78), Duration::ZERO, 0.5, Tick(0));
        assert_eq!(step, RestartStep::Halt);
    }
}
