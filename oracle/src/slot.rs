//! Holding one slot of a manager's pool for as long as the process is well.
//!
//! What is held is shown to whoever has to know, and hidden in time: it counts
//! from when the last answered beat was sent. A process that is not well says
//! nothing, so that the manager replaces it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use shardman_core::wire::{Beat, BeatAnswer, Connected, Directive, ShardState};
use shardman_core::{Epoch, PoolId, Tick};
use shardman_lease::{Ask, CallError, Deadline, Manager, jittered, now, wait_after};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config;

/// What a manager that does not say so means by `MAX_SECONDS`.
const DEFAULT_LEASE_TIME: Duration = Duration::from_secs(60);
/// Beats are never further apart, however long the lease time.
const SLOWEST_HEARTBEAT: Duration = Duration::from_secs(10);
const FASTEST_HEARTBEAT: Duration = Duration::from_millis(50);
/// Between a beat that failed and the next try.
const RETRY: Duration = Duration::from_millis(500);
/// How often one looks whether the lease is past its time, nobody answers, or
/// the process is well again.
const CHECK: Duration = Duration::from_millis(250);
/// The longest wait between two leases.
const AGAIN_CAP: Duration = Duration::from_secs(30);
/// A lease that was held for this long was no failure.
const STABLE: Duration = Duration::from_secs(60);

/// Where a slot is to be had.
#[derive(Clone, Debug)]
pub struct Place {
    pub manager: Arc<Manager>,
    pub pool: PoolId,
    /// Whether the manager started this process. A child that reaches no
    /// manager for a whole lease time ends.
    pub is_child: bool,
}

/// One slot, and what proves that it is ours.
pub struct Lease {
    pub slot: u32,
    /// Whoever knows it can keep or release the lease: never logged.
    pub session_id: String,
    pub epoch: Epoch,
    heartbeat: Duration,
    lease_time: Duration,
    deadline: Deadline,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("slot", &self.slot)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// The lease that the answer to a `/connect` sent at `sent` grants.
    fn granted(answer: Connected, sent: Tick) -> Self {
        let seconds = |value: Option<f64>| {
            let value = value.and_then(|value| Duration::try_from_secs_f64(value).ok());
            value.filter(|value| !value.is_zero())
        };
        let lease_time = seconds(answer.max_seconds).unwrap_or(DEFAULT_LEASE_TIME);
        let heartbeat = seconds(answer.heartbeat_seconds).unwrap_or(lease_time / 6);
        Self {
            slot: answer.shard_id,
            session_id: answer.session_id,
            epoch: answer.epoch.unwrap_or_default(),
            heartbeat: heartbeat.clamp(FASTEST_HEARTBEAT, SLOWEST_HEARTBEAT),
            lease_time,
            deadline: Deadline::new(lease_time, sent),
        }
    }

    /// Whether it may have been given to somebody else by now.
    pub fn is_past(&self) -> bool {
        self.deadline.is_past(now())
    }

    /// A beat without an answer for this long is given up and sent again.
    fn beat_timeout(&self) -> Duration {
        (self.lease_time / 4).clamp(Duration::from_millis(300), Duration::from_secs(5))
    }

    fn heartbeat_after(&self, wanted: Option<f64>) -> Duration {
        let wanted = wanted.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        wanted.map_or(self.heartbeat, |wanted| {
            wanted.max(FASTEST_HEARTBEAT).min(self.heartbeat)
        })
    }
}

/// Why no slot can be held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    #[error("no manager was reached for a whole lease time")]
    NoManager,
    #[error("the manager refused the secret: set SECRET to the manager's SECRET")]
    WrongSecret,
}

impl SlotError {
    /// The exit code of the process, by `sysexits.h`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::NoManager => config::UNAVAILABLE,
            Self::WrongSecret => config::NO_PERMISSION,
        }
    }
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped,
    /// The manager asked for the slot back.
    Drained,
    /// The manager gave it away.
    Lost,
}

/// The one who holds it.
pub struct Holder<'a, H> {
    place: &'a Place,
    /// What its beats tell; a change is told at once.
    state: watch::Receiver<ShardState>,
    healthy: H,
    /// The lease, while it is surely ours.
    held: &'a watch::Sender<Option<Arc<Lease>>>,
    lease_time_ms: AtomicU64,
}

impl<'a, H: Fn() -> bool> Holder<'a, H> {
    pub fn new(
        place: &'a Place,
        state: watch::Receiver<ShardState>,
        healthy: H,
        held: &'a watch::Sender<Option<Arc<Lease>>>,
    ) -> Self {
        Self {
            place,
            state,
            healthy,
            held,
            lease_time_ms: AtomicU64::new(millis(DEFAULT_LEASE_TIME)),
        }
    }

    /// Holds a slot until `stop`, one lease after another.
    ///
    /// # Errors
    ///
    /// If it makes no sense to go on: [`SlotError`].
    pub async fn run(self, stop: &CancellationToken) -> Result<(), SlotError> {
        let ended = tokio::select! {
            biased;
            ended = self.keep(stop) => ended,
            () = self.orphaned() => Err(SlotError::NoManager),
        };
        self.held.send_replace(None);
        if let Err(error) = ended {
            error!("{error}; stopping");
        }
        ended
    }

    async fn keep(&self, stop: &CancellationToken) -> Result<(), SlotError> {
        let mut losses = 0;
        loop {
            while !(self.healthy)() {
                if pause(CHECK, stop).await {
                    return Ok(());
                }
            }
            let Some(lease) = self.acquire(stop).await? else {
                return Ok(());
            };
            let begun = now();
            let (slot, epoch) = (lease.slot, lease.epoch);
            info!(
                slot,
                epoch = epoch.0,
                "holding slot {slot} of {}",
                self.place.pool
            );
            self.held.send_replace(Some(Arc::clone(&lease)));
            let end = tokio::select! {
                biased;
                end = self.beat_on(&lease, stop) => end,
                () = self.guard(&lease) => End::Lost,
            };
            self.held.send_replace(None);
            // Also after a loss: whoever gives up what it lost is not killed for it.
            if let Err(error) = self.place.manager.release(&lease.session_id).await
                && end == End::Stopped
            {
                warn!(slot, %error, "slot {slot} could not be given back");
            }
            match end {
                End::Stopped => return Ok(()),
                End::Drained => info!(slot, "the manager wants slot {slot} back"),
                End::Lost => warn!(slot, "slot {slot} is lost"),
            }
            losses = match now().since(begun) >= STABLE {
                true => 0,
                false => losses + 1,
            };
            let wait = jittered(RETRY, AGAIN_CAP, losses, fastrand::f64());
            if pause(wait, stop).await {
                return Ok(());
            }
        }
    }

    /// Asks until there is a lease; `None` when it is to stop.
    async fn acquire(&self, stop: &CancellationToken) -> Result<Option<Arc<Lease>>, SlotError> {
        let ask = Ask::Slot(self.place.pool.clone());
        // One key for the whole series: if an answer gets lost, asking again
        // gets the lease that it granted, not a second one.
        let key = format!("{:032x}", fastrand::u128(..));
        let mut told = None;
        for attempts in 0.. {
            let sent = now();
            let Some(answer) = self.place.manager.connect_until(stop, &ask, &key).await else {
                return Ok(None);
            };
            let error = match answer {
                Ok(answer) => {
                    let lease = Lease::granted(answer, sent);
                    self.lease_time_ms
                        .store(millis(lease.lease_time), Ordering::Relaxed);
                    return Ok(Some(Arc::new(lease)));
                }
                Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => {
                    return Err(SlotError::WrongSecret);
                }
                Err(error) => error,
            };
            if told.replace(error.status()) != Some(error.status()) {
                match error.status() {
                    Some(StatusCode::UNAUTHORIZED) => {
                        info!("no slot of {} is free; waiting", self.place.pool);
                    }
                    _ => warn!(%error, "no slot of {} yet; trying again", self.place.pool),
                }
            }
            if pause(wait_after(&error, attempts, fastrand::f64()), stop).await {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Beats until the lease ends.
    async fn beat_on(&self, lease: &Lease, stop: &CancellationToken) -> End {
        let mut state = self.state.clone();
        let mut due = Instant::now();
        let mut number = 0;
        let mut silent = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = changed(&mut state), if !silent => {}
                () = sleep_until(due) => {}
            }
            if !(self.healthy)() {
                due = Instant::now() + CHECK;
                continue;
            }
            number += 1;
            let beat = Beat {
                session_id: lease.session_id.clone(),
                state: Some(*state.borrow_and_update()),
                epoch: Some(lease.epoch),
                loop_lag: Some(due.elapsed().as_secs_f64()),
                number: Some(number),
                ..Beat::default()
            };
            let begun = Instant::now();
            match self.beat(lease, &beat).await {
                Ok(answer) if answer.directive == Directive::Drain => return End::Drained,
                Ok(answer) => {
                    silent = false;
                    due = begun + lease.heartbeat_after(answer.heartbeat_seconds);
                }
                Err(error) if error.is_lease_lost() => return End::Lost,
                Err(error) => {
                    if !silent {
                        warn!(%error, "a beat was not answered");
                    }
                    silent = true;
                    // Not a silence: the manager does not know this process.
                    if error.status() == Some(StatusCode::FORBIDDEN) && lease.is_past() {
                        return End::Lost;
                    }
                    due = Instant::now() + RETRY.min(lease.heartbeat);
                }
            }
        }
    }

    async fn beat(&self, lease: &Lease, beat: &Beat) -> Result<BeatAnswer, CallError> {
        let sent = now();
        let answer = self.place.manager.beat(beat, lease.beat_timeout()).await?;
        lease.deadline.answered(sent);
        Ok(answer)
    }

    /// Shows the lease while it is surely ours, however long a beat takes.
    async fn guard(&self, lease: &Arc<Lease>) {
        loop {
            sleep(lease.deadline.left(now()).min(CHECK)).await;
            let is_past = lease.is_past();
            let changed = self.held.send_if_modified(|held| {
                let is_shown = held.is_some();
                *held = (!is_past).then(|| Arc::clone(lease));
                is_shown == is_past
            });
            if changed && is_past {
                warn!("the manager is silent: slot {} is left in time", lease.slot);
            } else if changed {
                info!("the manager answers again: slot {} is still ours", lease.slot);
            }
            if is_past {
                sleep(CHECK).await;
            }
        }
    }

    /// Resolves when a child of a manager has reached none for a whole lease
    /// time. Who was started by hand keeps trying.
    async fn orphaned(&self) {
        if !self.place.is_child {
            std::future::pending::<()>().await;
        }
        let lease_time = || Duration::from_millis(self.lease_time_ms.load(Ordering::Relaxed));
        while self.place.manager.unreachable_for() < lease_time() {
            sleep(CHECK).await;
        }
    }
}

/// Another state is to be told; never where nobody tells any more.
async fn changed(state: &mut watch::Receiver<ShardState>) {
    if state.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits; whether it is to stop meanwhile.
async fn pause(wait: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => true,
        () = sleep(wait) => false,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
