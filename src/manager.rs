//! The single owner of the fleet's state.
//!
//! Requests come in batches; one synchronous turn decides about all of them;
//! what it decided is made durable in one commit, then answered, then acted
//! upon. Beats alone do not pass through here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardman_core::timeline::Kind;
use shardman_core::{PoolId, Tick};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

mod alert;
mod command;
mod effects;
mod fleet;
mod handle;
mod held;
mod keys;
mod live;
mod log;
mod metrics;
mod pools;
mod progress;
mod reload;
mod request;
mod restarts;
mod series;
mod settings;
mod stop;
mod timeline;
mod tokens;
mod view;
#[cfg(test)]
mod world_tests;

pub use alert::{Alert, AlertKind};
pub use command::{WorkerRegister, names_shards};
pub use handle::{
    BeatError, BeatReport, Caller, ConnectError, ConnectRequest, Connection, DisconnectError, IdentifyError,
    IdentifyOutcome, IdentifyPlan, ManagerHandle, RescaleError,
};
pub use live::{MAX_VIEWERS, News, Viewer};
pub use log::LogSpan;
pub use progress::Progress;
pub use reload::{ReloadCall, ReloadError};
pub use request::DiscordNews;
pub use restarts::{RestartError, RestartRequest};
pub use series::Chart;
pub use settings::{
    Count, PoolSettings, Register, RescaleMode, RestartRule, Settings, StartTerms, WorkerProgram,
};
pub use timeline::MAX_READERS;
pub use tokens::{Credential, MAX_SHARE_DAYS, Role, Session, SignInError, SignedIn};
pub use view::Summary;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{LeaseStore, Saved, StoreError};
use crate::supervisor::{Host, Supervisor, WorkerEvent, memory, pressure};
use effects::Effects;
use fleet::{Dice, Effect, Fleet, LOOK_EVERY, Turn};
use handle::Shared;
use keys::Keys;
use pools::Pools;
use request::Request;
use timeline::History;

/// Requests that may wait: as many as connections are served at once, so that
/// a full queue is a burst, not a backlog.
const REQUESTS: usize = 4096;

/// Requests decided in one turn and made durable in one commit.
const BATCH: usize = 1024;

/// The owner wakes at least this often, to notice when it could not.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// The owner was held up by the host when it wakes this much late.
const STALL: Duration = Duration::from_millis(500);

/// How often the kernel counts the pressure on the host anew (Linux, "PSI").
const LOOK_AT_HOST: Duration = Duration::from_secs(2);

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
    /// When the host is.
    look_at_host: Tick,
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
        let mut saved = store.load().await?;
        let clock = Clock::start();
        let settings = Arc::new(settings);
        let leases = |saved: &Saved| saved.leases.len();
        let kept = leases(&saved) + saved.pools.values().map(leases).sum::<usize>();
        if kept > 0 {
            info!("{kept} leases of the last run are kept, each with its full time");
        }
        let metrics = Arc::new(Metrics::new());
        let history = History::open(&settings.events(), Arc::clone(&metrics));
        history.tell(
            Kind::ManagerStarted,
            &format!("the manager started, leases of the last run: {kept}"),
        );
        let (events, worker_events) = mpsc::channel(1024);
        let supervisor =
            Supervisor::new(settings.logs.clone(), settings.limits, events).map_err(StartError::Logs)?;
        let pools = Pools::restore(&settings, clock, std::mem::take(&mut saved.pools));
        let fleet = Fleet::restore(settings, clock, Dice::System, &Host, saved);
        let shared = Arc::new(Shared {
            fleet: Mutex::new(fleet),
            pools,
            logs: supervisor.logs(),
            means: supervisor.means(),
            keys: Keys::new(&secrets.shared, secrets.operator.as_deref()),
            clock,
            wake: Notify::new(),
            summary: watch::Sender::new(Summary::default()),
            history,
            live: live::Live::default(),
            seen: series::Seen::default(),
            metrics,
            turns: AtomicU64::new(0),
            stop_asked: CancellationToken::new(),
            reloads: std::sync::OnceLock::new(),
        });
        let (sender, requests) = mpsc::channel(REQUESTS);
        let handle = ManagerHandle {
            shared: Arc::clone(&shared),
            requests: sender,
        };
        let effects = Effects {
            shared: Arc::clone(&shared),
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
            look_at_host: clock.now(),
        };
        // The children of the last run are known before anyone is served.
        manager.turn(Vec::new()).await;
        Ok((manager, handle))
    }

    /// Serves until `shutdown`, which must come after the fleet has stopped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::new();
        let shared = Arc::clone(&self.shared);
        let _looks = AbortOnDropHandle::new(tokio::spawn(series::watch(Arc::clone(&shared))));
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
                self.forgive(late, "the host held the manager up for");
            }
            self.measure();
            shared.turns.fetch_add(1, Ordering::Relaxed);
            let began = shared.clock.now();
            self.turn(std::mem::take(&mut batch)).await;
            let took = shared.clock.now().since(began);
            if took > STALL {
                self.forgive(took, "the disk held the manager up, most likely, for");
            }
        }
        self.turn(Vec::new()).await;
        shared.history.close().await;
    }

    /// No lease pays for the time in which nobody could be heard.
    fn forgive(&self, stall: Duration, whose: &str) {
        let text = format!(
            "{whose} {:.1} s; every lease gets them added",
            stall.as_secs_f64()
        );
        warn!("{text}");
        self.shared.history.tell(Kind::ManagerStalled, &text);
        for pool in self.shared.every_pool() {
            let now = self.shared.clock.now();
            self.shared.of_pool(pool.as_str()).forgive(stall, now);
        }
    }

    /// Notes how the host is and what a shard's memory is, for decisions that
    /// need no operator.
    fn measure(&mut self) {
        let now = self.shared.clock.now();
        if now >= self.look_at_host {
            self.look_at_host = now + LOOK_AT_HOST;
            let signs = pressure::read();
            for pool in self.shared.every_pool() {
                self.shared.of_pool(pool.as_str()).set_host_signs(signs);
            }
        }
        if now >= self.measure_at {
            self.measure_at = now + LOOK_EVERY;
            let holding = view::holding(&self.shared.fleet());
            let memory = memory::of(&holding);
            self.shared.fleet().counting.memory = memory;
        }
    }

    fn due(&self, now: Tick) -> Tick {
        // While the disk takes nothing, what is due waits for the next try.
        let of_pools = || {
            let of_discord = self.shared.fleet().poll_timeout(now);
            let others = self.shared.pools.iter();
            let others = others.filter_map(|(_, fleet)| fleet.poll_timeout(now));
            others.chain(of_discord).min()
        };
        let next = self.retry_writes_at.or_else(of_pools);
        next.map_or(now + HEARTBEAT, |next| next.min(now + HEARTBEAT))
    }

    /// Every pool decides, and all of it becomes durable in one commit.
    async fn turn(&mut self, requests: Vec<Request>) {
        let clock = self.shared.clock;
        if self.retry_writes_at.is_some_and(|at| at > clock.now()) && requests.is_empty() {
            return;
        }
        let (requests, mut others) = self.shared.pools.sort(requests);
        let deciding = self.shared.metrics.turn.start_timer();
        // The time is read under each lock: no beat is later than it.
        let decided = {
            let mut fleet = self.shared.fleet();
            fleet.turn(requests, clock.now())
        };
        let mut turns = vec![(PoolId::discord(), decided)];
        for (pool, mut fleet) in self.shared.pools.iter() {
            let requests = others.remove(pool).unwrap_or_default();
            turns.push((pool.clone(), fleet.turn(requests, clock.now())));
        }
        deciding.observe_duration();
        let writes = turns
            .iter()
            .flat_map(|(pool, turn)| pools::writes_of(pool, &turn.writes));
        let writes: Vec<_> = writes.collect();
        let written = if writes.is_empty() {
            Ok(())
        } else {
            let _timed = self.shared.metrics.commit.start_timer();
            self.store.commit(writes).await
        };
        match written {
            Ok(()) => self.act(turns),
            Err(error) => self.not_written(turns, &error),
        }
        let summary = pools::summary(&self.shared);
        self.shared.summary.send_if_modified(|old| {
            let changed = *old != summary;
            *old = summary;
            changed
        });
    }

    fn act(&mut self, turns: Vec<(PoolId, Turn)>) {
        self.retry_writes_at = None;
        if turns.iter().any(|(_, turn)| !turn.writes.is_empty()) && self.set_store_trouble(None) {
            info!("the disk takes writes again");
            self.shared
                .history
                .tell(Kind::DiskBack, "the disk takes writes again");
        }
        for (_, turn) in turns {
            self.shared.history.publish(turn.notes);
            turn.answers.into_iter().for_each(request::Answer::send);
            turn.effects
                .into_iter()
                .for_each(|effect| self.effects.run(effect));
        }
    }

    fn not_written(&mut self, turns: Vec<(PoolId, Turn)>, error: &StoreError) {
        self.shared.metrics.commit_failures.inc();
        let reason = error.to_string();
        if !self.set_store_trouble(Some(&reason)) {
            error!("nothing can be leased: {reason}");
            self.shared
                .history
                .tell(Kind::DiskTrouble, &format!("nothing can be leased: {reason}"));
            let wall = self.shared.clock.wall_ms();
            let alert = Alert::new(AlertKind::Disk, format!("nothing can be leased: {reason}"), wall);
            self.effects.run(Effect::Alert(alert));
        }
        let now = self.shared.clock.now();
        for (pool, mut turn) in turns {
            let mut fleet = self.shared.of_pool(pool.as_str());
            let notes = fleet.still_true(&mut turn);
            let effects = fleet.undo(turn, &reason, now);
            drop(fleet);
            self.shared.history.publish(notes);
            effects.into_iter().for_each(|effect| self.effects.run(effect));
        }
        self.retry_writes_at = Some(now + RETRY_WRITES);
    }

    /// Tells every pool how the disk is. Whether there was trouble before.
    fn set_store_trouble(&self, trouble: Option<&str>) -> bool {
        let mut before = false;
        for pool in self.shared.every_pool() {
            let mut fleet = self.shared.of_pool(pool.as_str());
            before |= fleet.store_trouble.is_some();
            fleet.store_trouble = trouble.map(str::to_owned);
        }
        before
    }
}
