//! The simulator as a server: what its tasks share, the clock that drives the
//! rules, and the door for those who start it.

mod orders;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::serve::ListenerExt as _;
use shardman_core::tick::Tick;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::faults::{Fault, Standing};
use crate::report::Report;
use crate::rules::{ConnId, Limits, Rules};
use crate::{gateway, rest};
pub(crate) use orders::{Line, Order};

/// How often load is generated and time-outs are looked at.
const BEAT: Duration = Duration::from_millis(20);
/// Load events of one beat at most, so that a stalled host does not get a flood.
const BURST: f64 = 10_000.0;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The recommended number of shards, as `GET /gateway/bot` says.
    pub shards: u32,
    pub max_concurrency: u32,
    /// Guilds that the bot is in.
    pub guilds: u32,
    /// What the total of an IDENTIFY has to be a multiple of.
    pub large_bot_multiple: u32,
    /// MESSAGE_CREATEs a second, over all guilds.
    pub events_per_second: f64,
    /// IDENTIFYs a day.
    pub budget_total: u32,
    /// How many of them are left; all, if `None`.
    pub budget_remaining: Option<u32>,
    pub heartbeat_interval_ms: u64,
    /// How long a session stays resumable after its connection is gone.
    pub resume_window_ms: u64,
    /// The bot's token. `None` takes any but the empty one and `invalid`.
    pub token: Option<String>,
    /// One IDENTIFY per bucket in this time.
    pub identify_window_ms: u64,
    /// The same seed gives the same sessions and messages.
    pub seed: u64,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            shards: 1,
            max_concurrency: 1,
            guilds: 10,
            large_bot_multiple: 1,
            events_per_second: 10.0,
            budget_total: 1000,
            budget_remaining: None,
            heartbeat_interval_ms: 41_250,
            resume_window_ms: 90_000,
            token: None,
            identify_window_ms: 5_000,
            seed: 1,
        }
    }
}

impl SimConfig {
    fn limits(&self) -> Limits {
        let epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Limits {
            max_concurrency: self.max_concurrency.max(1),
            identify_window_ms: self.identify_window_ms,
            budget_total: self.budget_total,
            budget_remaining: self.budget_remaining.unwrap_or(self.budget_total),
            resume_window_ms: self.resume_window_ms,
            heartbeat_interval_ms: self.heartbeat_interval_ms.max(1),
            guilds: self.guilds,
            token: self.token.clone(),
            seed: self.seed,
            epoch_ms: u64::try_from(epoch.as_millis()).unwrap_or(0),
        }
    }
}

/// A running simulator. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Sim {
    shared: Arc<Shared>,
}

impl Sim {
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    pub fn report(&self) -> Report {
        let now = self.shared.now();
        self.shared.lock().rules.report(now)
    }

    pub fn reset_report(&self) {
        let now = self.shared.now();
        self.shared.lock().rules.reset_report(now);
    }

    /// Makes a fault happen. Answers with how many connections it hit at once,
    /// or with what is wrong with the fault.
    pub fn fault(&self, fault: &Fault) -> Result<usize, String> {
        self.shared.fault(fault)
    }

    pub fn clear_faults(&self) {
        self.shared.clear_faults();
    }

    pub fn set_events_per_second(&self, events_per_second: f64) {
        self.shared.lock().events_per_second = events_per_second;
    }
}

/// Serves until `shutdown` is done.
pub async fn serve(
    listener: TcpListener,
    config: SimConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (_, serving) = start(listener, config, shutdown)?;
    serving.await
}

/// Like [`serve`], with a handle. Nothing happens unless the future is awaited
/// or spawned.
#[expect(clippy::needless_pass_by_value, reason = "taken as `serve` takes it")]
pub fn start(
    listener: TcpListener,
    config: SimConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<(Sim, impl Future<Output = io::Result<()>> + Send + 'static)> {
    let shared = Arc::new(Shared::new(listener.local_addr()?, &config));
    let sim = Sim {
        shared: Arc::clone(&shared),
    };
    let serving = async move {
        let routes = Router::new().merge(gateway::routes()).merge(rest::routes());
        let app = routes.with_state(Arc::clone(&shared));
        let listener = listener.tap_io(|io| {
            // Latency only; without it the simulator still works.
            let _ = io.set_nodelay(true);
        });
        let stopping = shared.stopping.clone();
        let stopped = async move {
            shutdown.await;
            stopping.cancel();
        };
        let clockwork = tokio::spawn(clockwork(Arc::clone(&shared)));
        let served = axum::serve(listener, app).with_graceful_shutdown(stopped).await;
        shared.stopping.cancel();
        clockwork.await.map_err(io::Error::other)?;
        served
    };
    Ok((sim, serving))
}

/// Generates load and lets time pass for the rules.
async fn clockwork(shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut due = 0.0;
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            _ = beat.tick() => {}
        }
        let elapsed = last.elapsed();
        last += elapsed;
        let now = shared.now();
        let mut state = shared.lock();
        due = (due + state.events_per_second * elapsed.as_secs_f64()).clamp(0.0, BURST);
        while due >= 1.0 {
            due -= 1.0;
            for conn in state.rules.message(now) {
                state.wake(conn);
            }
        }
        for conn in state.rules.handle_timeout(now) {
            state.close(conn, 4009, now);
        }
    }
}

/// What all tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) addr: SocketAddr,
    /// The number of shards that REST recommends.
    pub(crate) shards: u32,
    pub(crate) stopping: CancellationToken,
    started: Instant,
    state: Mutex<State>,
}

/// What is behind the one lock. It is never held across an await.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) rules: Rules,
    pub(crate) standing: Standing,
    pub(crate) events_per_second: f64,
    lines: BTreeMap<ConnId, Line>,
}

impl Shared {
    fn new(addr: SocketAddr, config: &SimConfig) -> Self {
        let mut rules = Rules::new(config.limits());
        rules.require_multiple(config.large_bot_multiple);
        let state = State {
            rules,
            standing: Standing::default(),
            events_per_second: config.events_per_second,
            lines: BTreeMap::new(),
        };
        Self {
            addr,
            shards: config.shards.max(1),
            stopping: CancellationToken::new(),
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        Tick::default() + self.started.elapsed()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no task panics while it holds the state")
    }
}
