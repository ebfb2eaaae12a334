//! How long to wait before the next gateway connection. Pure: the caller
//! brings the count, the uptime and the chance.
//!
//! Discord resets a bot's token when the daily identify budget is spent, and a
//! peer that accepts and then closes would spend it in seconds. So every kind
//! of reconnect waits here, without exception.

use std::time::Duration;

use shardman_lease::jittered;

/// The mean of the first wait is half of this.
const BASE: Duration = Duration::from_secs(1);
/// No wait is longer.
const CAP: Duration = Duration::from_secs(120);
/// No wait after a short connection is shorter, whatever the dice say.
const FLOOR: Duration = Duration::from_millis(250);
/// A session that was active for this long earned a fresh start.
const STABLE: Duration = Duration::from_secs(60);

/// A session that was active for this long may be resumed at once when Discord
/// asks for that: at worst, one RESUME in this time.
const WORKED: Duration = Duration::from_secs(5);

/// What to do after a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The number of short connections in a row, to pass in next time.
    pub(crate) attempts: u32,
    pub(crate) delay: Duration,
}

/// The wait after a connection that was active for `uptime`, when `attempts`
/// short ones came before it. `random` is uniform in `0.0..1.0`: full jitter,
/// so that a fleet that was cut off together does not come back in step.
pub(crate) fn after(attempts: u32, uptime: Duration, random: f64) -> Wait {
    if uptime >= STABLE {
        return Wait {
            attempts: 0,
            delay: BASE.mul_f64(random / 2.0),
        };
    }
    Wait {
        attempts: attempts.saturating_add(1),
        delay: jittered(BASE, CAP, attempts, random).max(FLOOR),
    }
}

/// The wait when Discord asks for another connection (op 7), which is no
/// failure: half a second at most, so that a fleet does not come in step. A
/// connection that did not even last [`WORKED`] is treated as any other.
pub(crate) fn after_reconnect(attempts: u32, uptime: Duration, random: f64) -> Wait {
    if uptime < WORKED {
        return after(attempts, uptime, random);
    }
    Wait {
        attempts: if uptime >= STABLE { 0 } else { attempts },
        delay: BASE.mul_f64(random / 2.0),
    }
}

/// Discord wants one to five seconds between an invalidated session (op 9,
/// not resumable) and the next IDENTIFY.
pub(crate) fn after_invalid_session(random: f64) -> Duration {
    Duration::from_secs(1) + Duration::from_secs(4).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections in a minute against a peer that closes at once.
    fn connections_in_a_minute(random: impl Fn() -> f64) -> u32 {
        let (mut attempts, mut elapsed, mut connections) = (0, Duration::ZERO, 0);
        while elapsed < Duration::from_secs(60) {
            connections += 1;
            let wait = after(attempts, Duration::ZERO, random());
            attempts = wait.attempts;
            elapsed += wait.delay;
        }
        connections
    }

    #[test]
    fn a_peer_that_keeps_closing_sees_few_connections_in_a_minute() {
        assert_eq!(connections_in_a_minute(|| 0.999_999), 6);
        assert_eq!(connections_in_a_minute(|| 0.5), 7);
        for seed in 0..200 {
            let dice = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
            let connections = connections_in_a_minute(|| dice.borrow_mut().f64());
            assert!(connections <= 20, "seed {seed}: {connections} connections");
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<_> = (0..9)
            .map(|n| after(n, Duration::ZERO, 1.0).delay.as_secs())
            .collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(after(u32::MAX, Duration::ZERO, 1.0).delay, CAP);
        assert_eq!(after(u32::MAX, Duration::ZERO, 1.0).attempts, u32::MAX);
    }

    #[test]
    fn bad_luck_never_makes_a_reconnect_immediate() {
        assert_eq!(after(0, Duration::ZERO, 0.0).delay, FLOOR);
        assert_eq!(after(9, Duration::from_secs(59), 0.0).delay, FLOOR);
    }

    #[test]
    fn a_long_active_session_comes_back_within_a_second_and_starts_afresh() {
        let wait = after(30, Duration::from_secs(60), 0.999);
        assert!(wait.delay < Duration::from_secs(1));
        assert_eq!(wait.attempts, 0);
        assert_eq!(after(30, Duration::from_secs(59), 1.0).attempts, 31);
    }

    #[test]
    fn a_reconnect_that_discord_asks_for_is_quick_and_no_failure() {
        let wait = after_reconnect(3, Duration::from_secs(5), 1.0);
        assert_eq!((wait.attempts, wait.delay), (3, Duration::from_millis(500)));
        assert_eq!(after_reconnect(3, Duration::from_secs(60), 0.5).attempts, 0);
        let (short, failure) = (Duration::from_secs(1), after(3, Duration::from_secs(1), 0.9));
        assert_eq!(
            after_reconnect(3, short, 0.9),
            failure,
            "op 7 at every start is stormed by nobody"
        );
    }

    #[test]
    fn an_invalidated_session_waits_one_to_five_seconds() {
        assert_eq!(after_invalid_session(0.0), Duration::from_secs(1));
        assert_eq!(after_invalid_session(1.0), Duration::from_secs(5));
    }
}
