//! Getting a lease, and what it says.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use shardman_core::wire::{Connected, ResumePoint};
use shardman_core::{Epoch, ShardId, Tick};
use tracing::{info, warn};

use crate::Context;
use crate::exit::Exit;
use crate::gateway_url::gateway_url;
use shardman_lease::{Ask, CallError};
use shardman_lease::{Deadline, now};
use shardman_lease::{jittered, wait_after};

/// What a manager that does not say so means by `MAX_SECONDS`.
pub(crate) const DEFAULT_LEASE_TIME: Duration = Duration::from_secs(60);
/// Beats are never further apart, however long the lease time.
const SLOWEST_HEARTBEAT: Duration = Duration::from_secs(10);
const FASTEST_HEARTBEAT: Duration = Duration::from_millis(50);
/// The longest wait for a manager whose answer makes no sense.
const SPARE_CAP: Duration = Duration::from_secs(30);

/// One shard, ours until the deadline.
pub(crate) struct Lease {
    pub(crate) shard: ShardId,
    /// Whoever knows it can keep or release the lease: never logged.
    pub(crate) session_id: String,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) heartbeat: Duration,
    pub(crate) lease_time: Duration,
    pub(crate) deadline: Deadline,
    pub(crate) gateway_url: Option<String>,
    pub(crate) resume: Option<ResumePoint>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("shard", &self.shard)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// The lease that the answer to a `/connect` sent at `sent` grants; `None`
    /// when the answer names no shard.
    fn granted(answer: Connected, sent: Tick) -> Option<Self> {
        let seconds = |value: Option<f64>| {
            value
                .and_then(|value| Duration::try_from_secs_f64(value).ok())
                .filter(|value| !value.is_zero())
        };
        let lease_time = seconds(answer.max_seconds).unwrap_or(DEFAULT_LEASE_TIME);
        let heartbeat = seconds(answer.heartbeat_seconds)
            .unwrap_or_else(|| (lease_time / 6).min(SLOWEST_HEARTBEAT))
            .max(FASTEST_HEARTBEAT);
        Some(Self {
            shard: ShardId::new(answer.shard_id, answer.max_shards).ok()?,
            session_id: answer.session_id,
            epoch: answer.epoch,
            heartbeat,
            lease_time,
            deadline: Deadline::new(lease_time, sent),
            gateway_url: answer.gateway_url.as_deref().and_then(gateway_url),
            resume: answer.resume,
        })
    }

    /// The pause before the next beat: the usual one, or a shorter one that the
    /// manager asks for.
    pub(crate) fn heartbeat_after(&self, wanted: Option<f64>) -> Duration {
        wanted
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map_or(self.heartbeat, |wanted| {
                wanted.max(FASTEST_HEARTBEAT).min(self.heartbeat)
            })
    }

    /// A beat without an answer for this long is given up and sent again.
    pub(crate) fn beat_timeout(&self) -> Duration {
        (self.lease_time / 4).clamp(Duration::from_millis(300), Duration::from_secs(5))
    }
}

/// Asks until there is a lease. `None` when the worker is asked to stop.
pub(crate) async fn acquire(context: &Context) -> Result<Option<Lease>, Exit> {
    // One key for the whole series: if an answer gets lost, asking again gets
    // the lease that it granted, not a second one.
    let key = format!("{:032x}", fastrand::u128(..));
    let mut attempts = 0;
    let mut told = None;
    loop {
        let sent = now();
        let asked = context.manager.connect_until(&context.stop, &Ask::Shard, &key);
        let Some(answer) = asked.await else {
            return Ok(None);
        };
        let wait = match answer {
            Ok(answer) => match Lease::granted(answer, sent) {
                Some(lease) => return Ok(Some(lease)),
                None => {
                    warn!("the manager granted a shard that cannot exist");
                    jittered(Duration::from_secs(1), SPARE_CAP, attempts, fastrand::f64())
                }
            },
            Err(error) => {
                if error.status() == Some(StatusCode::FORBIDDEN) {
                    tracing::error!("the manager refused the secret: set SECRET to the manager's SECRET");
                    return Err(Exit::WrongSecret);
                }
                tell_once(&mut told, &error);
                wait_after(&error, attempts, fastrand::f64())
            }
        };
        attempts += 1;
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Says why there is no lease, once for every new reason.
fn tell_once(told: &mut Option<Option<StatusCode>>, error: &CallError) {
    if told.replace(error.status()) == Some(error.status()) {
        return;
    }
    if error.status() == Some(StatusCode::UNAUTHORIZED) {
        info!("no shard is free; waiting as a spare");
    } else {
        warn!(%error, "no lease yet; trying again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(max_seconds: Option<f64>, heartbeat_seconds: Option<f64>) -> Connected {
        Connected {
            shard_id: 0,
            max_shards: 1,
            session_id: String::new(),
            sleep_duration: 0.0,
            epoch: None,
            heartbeat_seconds,
            max_seconds,
            gateway_url: None,
            resume: None,
        }
    }

    #[test]
    fn beats_come_six_times_in_a_lease_time_and_at_least_every_ten_seconds() {
        let heartbeat = |max, beat| Lease::granted(answer(max, beat), Tick(0)).unwrap().heartbeat;
        assert_eq!(heartbeat(Some(30.0), None), Duration::from_secs(5));
        assert_eq!(heartbeat(Some(600.0), None), Duration::from_secs(10));
        assert_eq!(heartbeat(None, None), Duration::from_secs(10));
        assert_eq!(heartbeat(Some(30.0), Some(2.5)), Duration::from_millis(2500));
        assert_eq!(heartbeat(Some(30.0), Some(-1.0)), Duration::from_secs(5));
    }
}
