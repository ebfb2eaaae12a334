//! The bundled gateway worker.
//!
//! It leases shards from a manager over the public HTTP API, keeps each one
//! connected to Discord's gateway, and passes the events on to a sink. It has no
//! private door: what it does, any bot can do with the documented calls.
//!
//! One process holds several shards, each with a task and a lease of its own.
//! What must never happen here: a shard used after its lease may have been given
//! away, an IDENTIFY without a permit, a reconnect without a wait, and a secret
//! in a log.

mod backoff;
mod beat;
mod config;
mod exit;
mod gateway;
mod gateway_url;
mod guilds;
mod header;
mod holder;
mod lease;
mod permit;
mod session;
mod sink;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use twilight_gateway::{Config, ConfigBuilder};
use twilight_model::gateway::payload::outgoing::identify::IdentifyProperties;

pub use config::WorkerArgs;
pub use exit::Exit;
pub use shardman_lease::Secret;
pub use sink::SinkKind;

use permit::Gate;
use shardman_lease::Manager;
use sink::Sink;

/// How often an orphan looks whether it is one.
const ORPHAN_CHECK: Duration = Duration::from_millis(250);

/// What the places of one process share.
pub(crate) struct Context {
    manager: Arc<Manager>,
    /// The gateway configuration to vary; sharing it shares the TLS roots.
    gateway: Config<Gate>,
    sink: Sink,
    /// Ends every place.
    stop: CancellationToken,
    /// The manager's `MAX_SECONDS`, in milliseconds.
    lease_time_ms: AtomicU64,
    /// The close code with which Discord refused for good.
    refused: AtomicU16,
}

impl Context {
    fn learn_lease_time(&self, lease_time: Duration) {
        let ms = u64::try_from(lease_time.as_millis()).unwrap_or(u64::MAX);
        self.lease_time_ms.store(ms, Ordering::Relaxed);
    }

    fn lease_time(&self) -> Duration {
        Duration::from_millis(self.lease_time_ms.load(Ordering::Relaxed))
    }
}

/// Runs a worker until `shutdown` is cancelled, or until going on makes no
/// sense. Every session is left resumable.
pub async fn run(args: WorkerArgs, shutdown: CancellationToken) -> Exit {
    if let Some(problem) = args.problem() {
        error!("{problem}");
        return Exit::BadConfig;
    }
    // The only provider in the tree, installed by name all the same: with a
    // second one the gateway client would panic. An error means that there is
    // one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(manager) = Manager::new(&args.shardman_url, &args.secret) else {
        error!("SECRET cannot be sent in a header: use printable ASCII characters");
        return Exit::BadConfig;
    };
    let sink_failed = CancellationToken::new();
    let sink = match Sink::open(args.sink(), &sink_failed) {
        Ok(sink) => sink,
        Err(error) => {
            error!(%error, "cannot open the event sink");
            return Exit::SinkFailed;
        }
    };
    let context = Arc::new(Context {
        manager: Arc::new(manager),
        gateway: gateway_config(&args),
        sink,
        stop: shutdown.child_token(),
        lease_time_ms: AtomicU64::new(0),
        refused: AtomicU16::new(0),
    });
    context.learn_lease_time(lease::DEFAULT_LEASE_TIME);
    info!(shards = args.shardman_shards, "worker started");
    let exit = supervise(&args, &context, &sink_failed).await;
    info!(exit.code = exit.code(), "worker stopped");
    exit
}

/// Runs the places; the first that cannot go on ends them all.
async fn supervise(args: &WorkerArgs, context: &Arc<Context>, sink_failed: &CancellationToken) -> Exit {
    let mut slots: JoinSet<Result<(), Exit>> = (0..args.shardman_shards)
        .map(|_| slot::run(Arc::clone(context)))
        .collect();
    let mut exit = Exit::Stopped;
    loop {
        let failure = tokio::select! {
            biased;
            ended = slots.join_next() => match ended {
                None => return exit,
                Some(Ok(Ok(()))) => continue,
                Some(Ok(Err(failure))) => failure,
                // A defect in one place must not leave the process half alive.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
            () = orphaned(args, context), if exit == Exit::Stopped => {
                error!("no manager was reached for {:?}; stopping", context.lease_time());
                Exit::NoManager
            }
            () = sink_failed.cancelled(), if exit == Exit::Stopped => Exit::SinkFailed,
        };
        if exit == Exit::Stopped {
            exit = failure;
        }
        context.stop.cancel();
    }
}

/// Resolves when a child of a manager has reached none for a whole lease time.
/// A worker that was started by hand keeps trying.
async fn orphaned(args: &WorkerArgs, context: &Context) {
    if !args.is_child() {
        std::future::pending::<()>().await;
    }
    let mut check = tokio::time::interval(ORPHAN_CHECK);
    while context.manager.unreachable_for() < context.lease_time() {
        check.tick().await;
    }
}

fn gateway_config(args: &WorkerArgs) -> Config<Gate> {
    let properties = IdentifyProperties::new("shardman", "shardman", std::env::consts::OS);
    ConfigBuilder::new(args.bot_token.reveal().to_owned(), args.intents)
        .identify_properties(properties)
        .queue(Gate::default())
        .build()
}
