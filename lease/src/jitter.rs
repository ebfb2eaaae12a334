//! How long to wait before a call is made again.

use std::time::Duration;

/// Full jitter under an exponential ceiling.
pub fn jittered(base: Duration, cap: Duration, attempts: u32, random: f64) -> Duration {
    let ceiling = base.saturating_mul(1 << attempts.min(16)).min(cap);
    ceiling.mul_f64(random)
}
