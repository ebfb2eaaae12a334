//! Runs the oracle: loads the model, starts the scheduler, listens, and stops
//! in order when it is asked to, or when the model is broken.

use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{self, ConfigError, ModelSource, ServeArgs, Speculation};
use crate::draft::Drafter;
use crate::draft::ngram::NgramDrafter;
use crate::engine::{self, Model, fake};
use crate::http::{self, Api, Ending, Parts};
use crate::scheduler::{self, Handle, Speculate};
use crate::scouts::Scouts;
use crate::slot::SlotError;

mod hold;
mod hopeless;

use hold::Hold;
use hopeless::Hopeless;

/// Threads that serve HTTP. The model has threads of its own.
const HTTP_THREADS: usize = 2;

/// How often it is looked whether the model still computes.
const LOOK: Duration = Duration::from_millis(500);

/// The same, while it is being measured, which usually takes a moment.
const LOOK_WHILE_MEASURED: Duration = Duration::from_millis(10);

/// How long a hopeless oracle still tells everybody why, before it ends so that
/// it is started anew.
const BROKEN_TIME: Duration = Duration::from_secs(5);

/// After the grace: the time to tell readers that their answer is broken off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a run ended badly.
#[derive(Debug)]
pub struct Failed {
    pub code: u8,
    /// One line.
    pub message: String,
}

impl Failed {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(config::INTERNAL, message)
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self::new(config::CONFIG, error.to_string())
    }
}

impl From<SlotError> for Failed {
    fn from(error: SlotError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

/// Runs until it is asked to stop.
///
/// # Errors
///
/// If a setting cannot be used, or something fails.
pub fn run(args: ServeArgs) -> Result<(), Failed> {
    shardman_serve::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failed::internal(format!("no runtime can be started: {error}")))?;
    let ended = runtime.block_on(serve(args));
    // What is still blocked does not hold up the exit.
    runtime.shutdown_background();
    ended
}

async fn serve(args: ServeArgs) -> Result<(), Failed> {
    // Before the model, which takes long: who cannot listen, or has no secret for
    // the manager, need not load it, and who asks meanwhile is told.
    let listener = listen(args.listen).await?;
    let listens = listener
        .local_addr()
        .map_err(|error| Failed::internal(format!("the listener has no address: {error}")))?;
    let mut signals = Signals::new()?;
    let registry = Registry::new();
    let gone = CancellationToken::new();
    let scouts = scouts(&args, &registry, &gone)?;
    let ending = Ending::default();
    let ended = CancellationToken::new();
    let network = Arc::new(scouts.clone());
    let loading = http::loading_router(&args.cors_origins.0, network, registry.clone());
    let (router, current) = watch::channel(loading);
    let serving = tokio::spawn({
        let (_, grace) = watch::channel(args.stop_seconds + LAST_WORDS);
        let draining = ending.draining.clone();
        let ended = ended.clone().drop_guard();
        async move {
            let _ended = ended;
            shardman_serve::serve_current(listener, current, draining, grace).await
        }
    });
    let mut hold = Hold::begin(&args.manager)?;
    let oracle = Oracle {
        args,
        listens,
        registry,
        scouts,
        ending,
        ended: ended.clone(),
    };
    let outcome = oracle.run(&router, &mut signals, &mut hold).await;
    gone.cancel();
    // However it ended, the next one need not wait until the slot's lease is over.
    hold.release().await;
    if !ended.is_cancelled() {
        // Readers that take nothing do not hold up the end.
        serving.abort();
    }
    match serving.await {
        Ok(Ok(())) => outcome,
        Ok(Err(error)) => Err(Failed::internal(format!("nobody can connect any more: {error}"))),
        Err(error) if error.is_cancelled() => outcome,
        Err(error) => Err(Failed::internal(format!("the server failed: {error}"))),
    }
}

/// What there is before the model.
struct Oracle {
    args: ServeArgs,
    listens: SocketAddr,
    registry: Registry,
    scouts: Scouts,
    ending: Ending,
    /// No request is open any more.
    ended: CancellationToken,
}

impl Oracle {
    /// Loads the model, and answers until the end.
    async fn run(
        self,
        router: &watch::Sender<Router>,
        signals: &mut Signals,
        hold: &mut Hold,
    ) -> Result<(), Failed> {
        let Self {
            args,
            listens,
            registry,
            scouts,
            ending,
            ended,
        } = self;
        let model = tokio::select! {
            model = load(&args) => model?,
            () = signals.asked_to_stop() => return Ok(()),
            error = hold.lost() => return Err(error.into()),
        };
        let facts = model.engine.facts().clone();
        let text = Arc::clone(&model.text);
        let settings = scheduler_settings(&args);
        scouts.admit(&facts);
        let scheduler = scheduler::start(model, drafters(&scouts), settings, &registry);
        hold.watch(&scheduler);
        tokio::select! {
            () = measured(&scheduler) => {}
            () = signals.asked_to_stop() => {
                scheduler.stop();
                return Ok(());
            }
            error = hold.lost() => return Err(error.into()),
            why = hopeless(&scheduler) => return Err(Failed::internal(why.to_string())),
        }
        tokio::spawn(scouts.clone().run());
        let parts = Parts {
            scheduler: scheduler.clone(),
            facts,
            text,
            network: Arc::new(scouts.clone()),
            listens,
            registry,
        };
        let is_open = args.keys.is_empty();
        if args.keys.short() > 0 {
            warn!(
                "{} of the keys in SHARD_API_KEYS can be guessed: give them at least 8 characters",
                args.keys.short()
            );
        }
        let settings = http::Settings {
            keys: args.keys,
            requests_per_minute: args.rate_limit_per_minute,
            max_prompt_chars: args.max_prompt_chars as usize,
            cors_origins: args.cors_origins.0,
        };
        let api = Api::new(parts, settings, ending.clone())
            .map_err(|error| Failed::internal(format!("a metric cannot be registered: {error}")))?;
        drop(router.send_replace(http::router(api, scouts.router())));
        if is_open && !listens.ip().is_loopback() {
            warn!("everybody who reaches {listens} may ask: set SHARD_API_KEYS");
        }
        say(listens);
        hold.ready();
        end(signals, &scheduler, hold, &ending, args.stop_seconds, &ended).await
    }
}

/// Waits for the end, and brings it about in order. `ended` is cancelled once
/// no request is open any more.
async fn end(
    signals: &mut Signals,
    scheduler: &Handle,
    hold: &mut Hold,
    ending: &Ending,
    grace: Duration,
    ended: &CancellationToken,
) -> Result<(), Failed> {
    let outcome = tokio::select! {
        () = signals.asked_to_stop() => Ok(()),
        () = ended.cancelled() => Ok(()),
        error = hold.lost() => Err(error.into()),
        why = hopeless(scheduler) => Err(Failed::internal(why.to_string())),
    };
    info!("stopping: open answers have {} seconds", grace.as_secs_f32());
    hold.stopping();
    ending.draining.cancel();
    scheduler.stop();
    tokio::select! {
        () = ended.cancelled() => {}
        () = tokio::time::sleep(grace) => warn!("answers are broken off: the grace time is over"),
        () = signals.asked_to_stop() => warn!("answers are broken off: a second signal came"),
    }
    ending.cutoff.cancel();
    tokio::select! {
        () = ended.cancelled() => {}
        () = tokio::time::sleep(LAST_WORDS) => {}
    }
    info!("stopped");
    outcome
}

/// Returns when it is known how long passes take.
async fn measured(scheduler: &Handle) {
    while !scheduler.standing().measured {
        tokio::time::sleep(LOOK_WHILE_MEASURED).await;
    }
}

/// Returns when the model has been hopeless for a while.
async fn hopeless(scheduler: &Handle) -> Hopeless {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(why) = Hopeless::of(&scheduler.standing()) else {
            continue;
        };
        error!("{why}; the oracle ends in {} seconds", BROKEN_TIME.as_secs());
        tokio::time::sleep(BROKEN_TIME).await;
        if let Some(why) = Hopeless::of(&scheduler.standing()) {
            return why;
        }
        info!("the model computes again");
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failed> {
    TcpListener::bind(address).await.map_err(|error| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => "stop the other program, or choose another port",
            ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "choose an address of this machine",
        };
        Failed::new(
            config::CONFIG,
            format!("ORACLE_LISTEN is '{address}': {error}; {remedy}"),
        )
    })
}

/// Loads the model on a thread that may block.
async fn load(args: &ServeArgs) -> Result<Model, Failed> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (source, threads) = (args.model.clone(), args.threads_of(cores));
    tokio::task::spawn_blocking(move || model(&source, threads))
        .await
        .map_err(|error| Failed::internal(format!("the model cannot be loaded: {error}")))?
}

/// The model that a setting names.
pub(crate) fn model(source: &ModelSource, threads: usize) -> Result<Model, Failed> {
    match source {
        ModelSource::Fake(per_pass) => Ok(fake::model(fake::FakeSettings {
            per_pass: *per_pass,
            ..fake::FakeSettings::default()
        })),
        ModelSource::File(path) => engine::load(path, threads)
            .map_err(|error| Failed::new(config::CONFIG, format!("ORACLE_MODEL cannot be used: {error}"))),
    }
}

/// The scouts that a manager leases, if one is named.
fn scouts(args: &ServeArgs, registry: &Registry, gone: &CancellationToken) -> Result<Scouts, Failed> {
    let limit = scheduler_settings(args).draft_limit;
    let manager = match &args.manager.shardman_url {
        Some(_) => Some((args.manager.client()?, args.scouts.clone())),
        None => None,
    };
    Scouts::new(manager, limit, registry, gone.clone())
        .map_err(|error| Failed::internal(format!("a metric cannot be registered: {error}")))
}

/// Whoever guesses what follows.
fn drafters(scouts: &Scouts) -> Vec<Box<dyn Drafter>> {
    vec![Box::new(NgramDrafter::new()), Box::new(scouts.drafter())]
}

fn scheduler_settings(args: &ServeArgs) -> scheduler::Settings {
    scheduler::Settings {
        queue: args.queue as usize,
        queue_wait: args.queue_seconds,
        answers: args.answers as usize,
        kv_budget: args.kv_memory,
        speculate: match args.speculate {
            Speculation::Auto => Speculate::Auto,
            Speculation::Always => Speculate::Always,
            Speculation::Never => Speculate::Never,
        },
        ..scheduler::Settings::default()
    }
}

/// Where it listens, and how to try it. Standard output may be closed.
fn say(address: SocketAddr) {
    let request = format!(
        r#"{{"model":"{}","messages":[{{"role":"user","content":"Hello!"}}]}}"#,
        http::MODEL_ID
    );
    drop(writeln!(
        std::io::stdout(),
        "The oracle listens on http://{address}; try: curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' -d '{request}'"
    ));
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failed> {
        let on = |kind| {
            signal(kind).map_err(|error| Failed::internal(format!("signals cannot be received: {error}")))
        };
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
