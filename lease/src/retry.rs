//! How long to wait before a lease is asked for again.

use std::time::Duration;

use hyper::StatusCode;

use crate::jitter::jittered;
use crate::manager::CallError;

/// The longest wait of a spare worker between two looks for a free shard: a
/// shard that becomes free is not to wait for it.
const FREE_CAP: Duration = Duration::from_secs(2);
/// The longest wait for a manager that refuses for another reason.
const SPARE_CAP: Duration = Duration::from_secs(30);
/// The longest wait for a manager that is away: it may be back any second.
const AWAY_CAP: Duration = Duration::from_secs(5);

/// How long to wait after a `/connect` that granted nothing.
pub fn wait_after(error: &CallError, attempts: u32, random: f64) -> Duration {
    const SECOND: Duration = Duration::from_secs(1);
    const AT_LEAST: Duration = Duration::from_millis(100);
    match error {
        CallError::Refused {
            retry_after: Some(after),
            ..
        } => (*after).min(SPARE_CAP) + SECOND.mul_f64(random),
        CallError::Refused {
            status: StatusCode::UNAUTHORIZED,
            ..
        } => jittered(SECOND, FREE_CAP, attempts, random).max(SECOND / 4),
        CallError::Refused { .. } | CallError::Malformed(_) => {
            jittered(SECOND, SPARE_CAP, attempts, random).max(AT_LEAST)
        }
        CallError::Unreachable(_) => jittered(SECOND / 4, AWAY_CAP, attempts, random).max(AT_LEAST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_worker_looks_for_a_free_shard_every_two_seconds_at_least() {
        let none_free = CallError::Refused {
            status: StatusCode::UNAUTHORIZED,
            retry_after: None,
            detail: String::new(),
        };
        for attempts in 0..40 {
            for random in [0.0, 0.5, 1.0] {
                let wait = wait_after(&none_free, attempts, random).as_secs_f64();
                assert!((0.25..=2.0).contains(&wait), "{wait}");
            }
        }
    }

    #[test]
    fn a_manager_that_asks_to_wait_is_obeyed() {
        let busy = CallError::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(Duration::from_secs(7)),
            detail: String::new(),
        };
        assert_eq!(wait_after(&busy, 0, 0.0), Duration::from_secs(7));
    }
}
