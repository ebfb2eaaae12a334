//! The single owner of the fleet's state.
//!
//! Requests come in batches; one synchronous turn decides about all of them;
//! what it decided is made durable in one commit, then answered, then acted
//! upon. Beats alone do not pass through here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardman_core::Tick;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

mod alert;
mod effects;
mod fleet;
mod handle;
mod keys;
mod log;
mod request;
mod settings;
mod view;
#[cfg(test)]
mod world_tests;

pub use alert::{Alert, AlertKind};
pub use handle::{
    BeatError, BeatReport, Caller, ConnectError, ConnectRequest, Connection, DisconnectError, IdentifyError,
    IdentifyOutcome, IdentifyPlan, ManagerHandle, RescaleError, RestartError,
};
pub use log::LogSpan;
pub use request::DiscordNews;
pub use settings::{Count, RescaleMode, Settings, WorkerProgram};
pub use view::Summary;

use crate::clock::Clock;
use crate::store::{LeaseStore, StoreError};
use crate::supervisor::{Host, Supervisor, WorkerEvent, memory};
use effects::Effects;
use fleet::{Dice, Fleet, LOOK_EVERY, Turn};
use handle::Shared;
use keys::Keys;
use request::Request;

/// Requests that may wait: as many as connections are served at once, so that
/// a full queue is a burst, not a backlog.
const REQUESTS: usize = 4096;

/// Requests decided in one turn and made durable in one commit.
const BATCH: usize = 1024;

/// The owner wakes at least this often, to notice when it could not.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// The owner was held up by the host when it wakes this much late.
const STALL: Duration = Duration::from_millis(500);

/// A write that failed is tried again after this pause.
const RETRY_WRITES: Duration = Duration::from_secs(1);

/// Secrets of those who may speak to the manager.
#[derive(Clone)]
pub struct Secrets {
    pub shared: String,
    pub operator: Option<String>,
}

/// The owner. [`Manager::run`] is its life.
pub struct Manager<S> {
    store: S,
    shared: Arc<Shared>,
    effects: Effects,
    requests: mpsc::Receiver<Request>,
    worker_events: mpsc::Receiver<WorkerEvent>,
    retry_writes_at: Option<Tick>,
    /// When the children's memory is looked at again.
    measure_at: Tick,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no room for the output of workers: {0}")]
    Logs(std::io::Error),
}

impl<S: LeaseStore> Manager<S> {
    /// Takes up the fleet as the store has it. `alerts` gets what somebody may
    /// want to be woken for; what it cannot take is dropped.
    pub async fn start(
        mut store: S,
        settings: Settings,
        secrets: &Secrets,
        alerts: mpsc::Sender<Alert>,
    ) -> Result<(Self, ManagerHandle), StartError> {
        let saved = store.load().await?;
        let clock = Clock::start();
        let settings = Arc::new(settings);
        if !saved.leases.is_empty() {
            info!(
                "{} leases of the last run are kept, each with its full time",
                saved.leases.len()
            );
        }
        let (events, worker_events) = mpsc::channel(1024);
        let supervisor = Supervisor::new(settings.logs.clone(), events).map_err(StartError::Logs)?;
        let fleet = Fleet::restore(Arc::clone(&settings), clock, Dice::System, &Host, saved);
        let shared = Arc::new(Shared {
            fleet: Mutex::new(fleet),
            logs: supervisor.logs(),
            keys: Keys::new(&secrets.shared, secrets.operator.as_deref()),
            clock,
            wake: Notify::new(),
            summary: watch::Sender::new(Summary::default()),
        });
        let (sender, requests) = mpsc::channel(REQUESTS);
        let handle = ManagerHandle {
            shared: Arc::clone(&shared),
            requests: sender,
        };
        let effects = Effects {
            shared: Arc::clone(&shared),
            settings,
            supervisor,
            alerts,
        };
        let mut manager = Self {
            store,
            shared,
            effects,
            requests,
            worker_events,
            retry_writes_at: None,
            measure_at: clock.now(),
        };
        // The children of the last run are known before anyone is served.
        manager.turn(Vec::new()).await;
        Ok((manager, handle))
    }

    /// Serves until `shutdown`, which must come after the fleet has stopped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::new();
        let shared = Arc::clone(&self.shared);
        loop {
            let asleep = shared.clock.now();
            let due = self.due(asleep);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(event) = self.worker_events.recv() => batch.push(Request::Worker(event)),
                n = self.requests.recv_many(&mut batch, BATCH) => if n == 0 { break },
                () = shared.wake.notified() => {}
                () = tokio::time::sleep(due.since(asleep)) => {}
            }
            let late = shared.clock.now().since(due);
            if late > STALL {
                warn!(
                    "the host held the manager up for {:.1} s; every lease gets them added",
                    late.as_secs_f64()
                );
                shared.fleet().forgive(late, shared.clock.now());
            }
            self.measure();
            let began = shared.clock.now();
            self.turn(std::mem::take(&mut batch)).await;
            let took = shared.clock.now().since(began);
            if took > STALL {
                warn!(
                    "a turn took {:.1} s, on the disk most likely; every lease gets them added",
                    took.as_secs_f64()
                );
                shared.fleet().forgive(took, shared.clock.now());
            }
        }
        self.turn(Vec::new()).await;
    }

    /// Notes what a shard's memory is, for decisions that need no operator.
    fn measure(&mut self) {
        let now = self.shared.clock.now();
        if now >= self.measure_at {
            self.measure_at = now + LOOK_EVERY;
            let holding = view::holding(&self.shared.fleet());
            let memory = memory::of(&holding);
            self.shared.fleet().counting.memory = memory;
        }
    }

    fn due(&self, now: Tick) -> Tick {
        // While the disk takes nothing, what is due waits for the next try.
        let next = self
            .retry_writes_at
            .or_else(|| self.shared.fleet().poll_timeout(now));
        next.map_or(now + HEARTBEAT, |next| next.min(now + HEARTBEAT))
    }

    async fn turn(&mut self, requests: Vec<Request>) {
        let turn = {
            let mut fleet = self.shared.fleet();
            let now = self.shared.clock.now();
            if self.retry_writes_at.is_some_and(|at| at > now) && requests.is_empty() {
                return;
            }
            fleet.turn(requests, now)
        };
        let written = if turn.writes.is_empty() {
            Ok(())
        } else {
            self.store.commit(turn.writes.clone()).await
        };
        match written {
            Ok(()) => self.act(turn),
            Err(error) => self.not_written(turn, &error),
        }
        let summary = view::summary(&self.shared.fleet());
        self.shared.summary.send_if_modified(|old| {
            let changed = *old != summary;
            *old = summary;
            changed
        });
    }

    fn act(&mut self, turn: Turn) {
        self.retry_writes_at = None;
        if !turn.writes.is_empty() && self.shared.fleet().store_trouble.take().is_some() {
            info!("the disk takes writes again");
        }
        turn.answers.into_iter().for_each(request::Answer::send);
        turn.effects
            .into_iter()
            .for_each(|effect| self.effects.run(effect));
    }

    fn not_written(&mut self, turn: Turn, error: &StoreError) {
        let reason = error.to_string();
        let mut fleet = self.shared.fleet();
        if fleet.store_trouble.is_none() {
            error!("nothing can be leased: {reason}");
        }
        let now = self.shared.clock.now();
        fleet.store_trouble = Some(reason.clone());
        let effects = fleet.undo(turn, &reason, now);
        drop(fleet);
        effects.into_iter().for_each(|effect| self.effects.run(effect));
        self.retry_writes_at = Some(now + RETRY_WRITES);
    }
}
