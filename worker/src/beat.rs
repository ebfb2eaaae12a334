//! Tells the manager how a shard is, and learns whether it is still ours.
//!
//! Beats have a task of their own, so that neither a busy gateway nor a slow
//! sink delays one. Every change of state is told at once and in order: the
//! manager counts an identify permit as used from the `identifying` beat.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use shardman_core::Tick;
use shardman_core::wire::{Beat, Directive, ResumePoint, ShardState};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::{trace, warn};

use crate::lease::Lease;
use crate::sink::Acks;
use shardman_lease::Manager;
use shardman_lease::now;

/// Changes that may wait while a beat is under way. Reconnects are spaced by
/// seconds, so more means that the manager has been silent for long; then the
/// ones that do not fit are only told as part of the next beat.
const CHANGES_MAX: usize = 64;
/// Between a failed beat and the next try.
const RETRY: Duration = Duration::from_millis(500);

/// What the answers to the beats amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No beat was answered yet.
    Unknown,
    CarryOn,
    StandBy,
    GoLive,
    Drain,
    /// Resume on another connection.
    Reconnect,
    /// The lease is no more: lapsed, unknown, or out of the plan.
    Lost,
}

/// A state to be told, with the close code that led to it.
#[derive(Clone, Copy, Debug)]
struct Change {
    state: ShardState,
    close_code: Option<u16>,
}

/// What a beat says besides the state. Written by the gateway's side.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    slow: Mutex<Slow>,
    /// When the last dispatch came in, in milliseconds; 0 for never. Apart from
    /// the rest because it changes with every event.
    last_event_ms: AtomicU64,
    /// Dispatches so far.
    events: AtomicU64,
    /// Beats made so far: their numbers tell the manager which is newer.
    sent: AtomicU64,
}

/// The figures that seldom change.
#[derive(Debug, Default)]
struct Slow {
    guild_count: Option<i64>,
    latency: Option<Duration>,
    session: Option<(String, String, Acks)>,
}

impl Figures {
    pub(crate) fn set_guild_count(&self, count: Option<i64>) {
        self.with(|slow| slow.guild_count = count);
    }

    pub(crate) fn set_latency(&self, latency: Option<Duration>) {
        self.with(|slow| slow.latency = latency);
    }

    /// The gateway session that the resume point names, with its resume URL.
    pub(crate) fn set_session(&self, session: Option<(String, String, Acks)>) {
        self.with(|slow| slow.session = session);
    }

    pub(crate) fn event_received(&self, at: Tick) {
        self.last_event_ms.store(at.0, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    fn with<T>(&self, f: impl FnOnce(&mut Slow) -> T) -> T {
        f(&mut self.slow.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The beat to send at `at`.
    pub(crate) fn beat(&self, lease: &Lease, state: ShardState, close_code: Option<u16>, at: Tick) -> Beat {
        let last_event = self.last_event_ms.load(Ordering::Relaxed);
        self.with(|slow| Beat {
            session_id: lease.session_id.clone(),
            guild_count: slow.guild_count,
            latency: slow.latency.map(|latency| latency.as_secs_f64()),
            state: Some(state),
            epoch: lease.epoch,
            gateway: slow.session.as_ref().and_then(resume_point),
            number: Some(self.sent.fetch_add(1, Ordering::Relaxed) + 1),
            last_event_age: (last_event > 0).then(|| at.since(Tick(last_event)).as_secs_f64()),
            event_count: Some(self.events.load(Ordering::Relaxed)),
            close_code,
            ..Beat::default()
        })
    }
}

/// Nothing acknowledged means that there was no READY yet.
fn resume_point((session_id, resume_url, acks): &(String, String, Acks)) -> Option<ResumePoint> {
    let sequence = acks.last();
    (sequence > 0).then(|| ResumePoint {
        session_id: session_id.clone(),
        sequence,
        resume_url: resume_url.clone(),
        guild_count: None,
    })
}

/// The beats of one lease. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Beats {
    changes: mpsc::Sender<Change>,
    pub(crate) verdict: watch::Receiver<Verdict>,
    pub(crate) figures: Arc<Figures>,
    _task: AbortOnDropHandle<()>,
}

impl Beats {
    /// Begins with a `starting` beat.
    pub(crate) fn start(manager: Arc<Manager>, lease: Arc<Lease>) -> Self {
        let (changes, receiver) = mpsc::channel(CHANGES_MAX);
        let (sender, verdict) = watch::channel(Verdict::Unknown);
        let figures = Arc::new(Figures::default());
        let beater = Beater {
            manager,
            lease,
            figures: Arc::clone(&figures),
            changes: receiver,
            verdict: sender,
            current: Change {
                state: ShardState::Starting,
                close_code: None,
            },
        };
        let task = AbortOnDropHandle::new(tokio::spawn(beater.run()));
        Self {
            changes,
            verdict,
            figures,
            _task: task,
        }
    }

    /// Tells a new state at once.
    pub(crate) fn report(&self, state: ShardState) {
        self.change(Change {
            state,
            close_code: None,
        });
    }

    pub(crate) fn report_disconnected(&self, close_code: Option<u16>) {
        self.change(Change {
            state: ShardState::Disconnected,
            close_code,
        });
    }

    fn change(&self, change: Change) {
        if self.changes.try_send(change).is_err() {
            warn!(state = %change.state, "a change of state waits for the manager");
        }
    }
}

struct Beater {
    manager: Arc<Manager>,
    lease: Arc<Lease>,
    figures: Arc<Figures>,
    changes: mpsc::Receiver<Change>,
    verdict: watch::Sender<Verdict>,
    current: Change,
}

impl Beater {
    async fn run(mut self) {
        let mut due = Instant::now();
        let mut silent = false;
        loop {
            let mut lag = Duration::ZERO;
            tokio::select! {
                biased;
                // What was not answered is told again before anything newer.
                change = self.changes.recv(), if !silent => match change {
                    Some(change) => self.current = change,
                    None => return,
                },
                () = sleep_until(due) => lag = due.elapsed(),
            }
            let begun = Instant::now();
            match self.beat(lag).await {
                Ok((verdict, heartbeat)) => {
                    silent = false;
                    due = begun + heartbeat;
                    self.verdict
                        .send_if_modified(|old| std::mem::replace(old, verdict) != verdict);
                    if verdict == Verdict::Lost {
                        return;
                    }
                }
                Err(error) => {
                    if !silent {
                        warn!(shard.id = %self.lease.shard, %error, "a beat was not answered");
                    }
                    silent = true;
                    // Not a silence: the manager does not know this process.
                    if error.status() == Some(StatusCode::FORBIDDEN) && self.lease.deadline.is_past(now()) {
                        self.verdict.send_replace(Verdict::Lost);
                        return;
                    }
                    due = Instant::now() + RETRY.min(self.lease.heartbeat);
                }
            }
        }
    }

    /// The manager's answer, and when it wants to hear more.
    async fn beat(&self, lag: Duration) -> Result<(Verdict, Duration), shardman_lease::CallError> {
        let sent = now();
        let mut beat = self
            .figures
            .beat(&self.lease, self.current.state, self.current.close_code, sent);
        beat.loop_lag = Some(lag.as_secs_f64());
        trace!(state = %self.current.state, "beat");
        match self.manager.beat(&beat, self.lease.beat_timeout()).await {
            Ok(answer) => {
                self.lease.deadline.answered(sent);
                let verdict = match answer.directive {
                    Directive::CarryOn => Verdict::CarryOn,
                    Directive::StandBy => Verdict::StandBy,
                    Directive::GoLive => Verdict::GoLive,
                    Directive::Drain => Verdict::Drain,
                    Directive::Reconnect => Verdict::Reconnect,
                };
                Ok((verdict, self.lease.heartbeat_after(answer.heartbeat_seconds)))
            }
            Err(error) if error.is_lease_lost() => Ok((Verdict::Lost, self.lease.heartbeat)),
            Err(error) => Err(error),
        }
    }
}
