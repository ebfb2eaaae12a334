//! The scout: a process that holds a slot of the scouts' pool, and drafts for
//! an oracle with a model of its own.
//!
//! It keeps its slot while the oracle is away, and leaves the oracle at once
//! when its slot is not surely its own any more.

mod desk;
mod dial;
mod runner;
mod session;

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use rustls::ClientConfig;
use shardman_core::PoolId;
use shardman_core::wire::ShardState;
use shardman_lease::{jittered, tls};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{self, ScoutArgs};
use crate::draft::frame::Closing;
use crate::engine::Model;
use crate::serve::{self, Failed, Signals};
use crate::slot::{Holder, Lease, Place, SlotError};
use dial::dial;
use runner::Runner;
use session::{End, Session};

/// The pool of a scout that was started by hand.
const USUAL_POOL: &str = "scouts";
/// Between two tries to reach the oracle: it may be back any second.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_CAP: Duration = Duration::from_secs(5);
/// A connection that lasted so long was no failure.
const STABLE: Duration = Duration::from_secs(10);

/// Who is drafted for, and how the scout shows who it is.
pub struct Oracle {
    pub url: Uri,
    /// The `Authorization` header that the manager takes.
    pub secret: HeaderValue,
    /// Whom to take for the oracle where its URL says `https`.
    pub tls: Arc<ClientConfig>,
}

/// Why a scout ends that was not asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoutError {
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error("{0}")]
    Model(String),
    #[error("the oracle has a model with another vocabulary: give both models of one family")]
    OtherVocabulary,
    #[error("the engine has stopped")]
    Broken,
}

impl ScoutError {
    /// The exit code of the process, by `sysexits.h`.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Slot(error) => error.exit_code(),
            Self::Broken => config::INTERNAL,
            Self::Model(_) | Self::OtherVocabulary => config::CONFIG,
        }
    }
}

/// Runs the process until it is asked to stop.
///
/// # Errors
///
/// If a setting cannot be used, or it makes no sense to go on.
pub fn main(args: ScoutArgs) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::internal(format!("no runtime can be started: {error}")))?;
    let ended = runtime.block_on(until_asked(args));
    // What is still blocked does not hold up the exit.
    runtime.shutdown_background();
    ended
}

async fn until_asked(args: ScoutArgs) -> Result<(), Failed> {
    let mut signals = Signals::new()?;
    let usual = || PoolId::from_str(USUAL_POOL).map_err(|error| Failed::internal(error.to_string()));
    let place = Place {
        manager: Arc::new(args.manager.client()?),
        pool: args.manager.shardman_pool.clone().map_or_else(usual, Ok)?,
        is_child: args.manager.is_child(),
    };
    let oracle = Oracle {
        url: args.oracle_url,
        secret: args.manager.header()?,
        tls: Arc::new(tls().map_err(|error| Failed::internal(error.to_string()))?),
    };
    if is_in_the_clear(&oracle.url) {
        warn!(
            "the secret goes to {} unencrypted, and to whoever listens there: use https beyond a private network",
            oracle.url
        );
    }
    let (source, threads) = (args.model, args.threads as usize);
    let load = move || serve::model(&source, threads).map_err(|failed| failed.message);
    let stop = CancellationToken::new();
    let mut drafting = std::pin::pin!(run(place, oracle, load, stop.clone()));
    let drafted = tokio::select! {
        drafted = drafting.as_mut() => drafted,
        () = signals.asked_to_stop() => {
            stop.cancel();
            tokio::select! {
                drafted = drafting => drafted,
                () = signals.asked_to_stop() => Ok(()),
            }
        }
    };
    drafted.map_err(|error| Failed::new(error.exit_code(), error.to_string()))
}

/// Whether what is sent there can be read on the way: plain HTTP, and not to this
/// host alone.
fn is_in_the_clear(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
    url.scheme_str() != Some("https") && !is_here
}

/// Drafts until `stop`. The model is loaded while the slot is taken.
///
/// # Errors
///
/// If it makes no sense to go on.
pub async fn run(
    place: Place,
    oracle: Oracle,
    load: impl FnOnce() -> Result<Model, String> + Send + 'static,
    stop: CancellationToken,
) -> Result<(), ScoutError> {
    let (state, told) = watch::channel(ShardState::Starting);
    let (held, lease) = watch::channel(None);
    let (runner, engine) = watch::channel(None);
    let healthy = || engine.borrow().as_ref().is_none_or(Runner::is_well);
    // The slot is given back last, when nothing is drafted any more.
    let release = CancellationToken::new();
    let holding = Holder::new(&place, told, healthy, &held).run(&release);
    let drafting = async {
        let drafted = draft(&oracle, load, &runner, lease, &state, &stop).await;
        state.send_replace(ShardState::Stopping);
        release.cancel();
        drafted
    };
    let mut holding = std::pin::pin!(holding);
    let mut drafting = std::pin::pin!(drafting);
    tokio::select! {
        biased;
        // The slot cannot be held any more: what was drafted for it ends with it.
        lost = holding.as_mut() => lost.map_err(ScoutError::from),
        drafted = drafting.as_mut() => {
            holding.await?;
            drafted
        }
    }
}

async fn draft(
    oracle: &Oracle,
    load: impl FnOnce() -> Result<Model, String> + Send + 'static,
    runner: &watch::Sender<Option<Runner>>,
    mut held: watch::Receiver<Option<Arc<Lease>>>,
    state: &watch::Sender<ShardState>,
    stop: &CancellationToken,
) -> Result<(), ScoutError> {
    let engine = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        engine = start(load) => engine?,
    };
    runner.send_replace(Some(engine.clone()));
    state.send_replace(ShardState::Waiting);
    let mut failures = 0;
    let mut told = None;
    while !stop.is_cancelled() {
        let lease = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            lease = held.wait_for(Option::is_some) => lease.ok().and_then(|lease| lease.clone()),
        };
        let Some(lease) = lease else { return Ok(()) };
        let begun = tokio::time::Instant::now();
        let dialled = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            dialled = dial(oracle) => dialled,
        };
        let end = match dialled {
            Ok(socket) => {
                let session = Session {
                    lease,
                    held: held.clone(),
                    runner: &engine,
                    stop,
                };
                let welcomed = || {
                    info!("drafting for {}", oracle.url);
                    state.send_replace(ShardState::Ready);
                };
                let end = session.run(socket, welcomed).await;
                state.send_if_modified(|state| {
                    std::mem::replace(state, ShardState::Waiting) == ShardState::Ready
                });
                end
            }
            Err(error) => End::Broken(error.to_string()),
        };
        if !engine.is_well() {
            return Err(ScoutError::Broken);
        }
        let (why, reason) = match end {
            End::Stopped => return Ok(()),
            End::Closed(Some(Closing::OtherVocabulary)) => return Err(ScoutError::OtherVocabulary),
            End::LeaseLost => {
                info!("left the oracle with the slot");
                continue;
            }
            End::Closed(Some(closing)) => (closing.as_str().to_owned(), "the oracle closed the connection"),
            End::Closed(None) => (String::new(), "the oracle is gone"),
            End::Broken(why) => (why, "no connection to the oracle"),
        };
        if begun.elapsed() >= STABLE {
            (failures, told) = (0, None);
        }
        if told.as_ref() != Some(&why) {
            warn!("{reason}; trying again: {why}");
            told = Some(why);
        }
        failures += 1;
        let wait = jittered(RETRY, RETRY_CAP, failures, fastrand::f64()).max(RETRY / 4);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
    Ok(())
}

/// Loads the model on a thread of its own, and starts the engine's.
async fn start(load: impl FnOnce() -> Result<Model, String> + Send + 'static) -> Result<Runner, ScoutError> {
    let (sender, loaded) = oneshot::channel();
    let loading = move || {
        let runner = load().and_then(|model| Runner::start(model).map_err(|error| error.to_string()));
        // Nobody waits for it after a stop.
        drop(sender.send(runner));
    };
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(loading)
        .map_err(|error| ScoutError::Model(error.to_string()))?;
    match loaded.await {
        Ok(runner) => runner.map_err(ScoutError::Model),
        Err(_) => {
            error!("the model could not be loaded");
            Err(ScoutError::Model("loading the model failed".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_the_clear_on_plain_http_to_another_host() {
        for (url, is_clear) in [
            ("http://10.0.0.1:8000", true),
            ("http://oracle.example", true),
            ("http://[2001:db8::1]:8000", true),
            ("http://localhost.example", true),
            ("https://oracle.example", false),
            ("http://127.0.0.1:8000", false),
            ("http://127.3.2.1", false),
            ("http://LOCALHOST:8000", false),
            ("http://[::1]:8000", false),
        ] {
            assert_eq!(is_in_the_clear(&url.parse().unwrap()), is_clear, "{url}");
        }
    }
}
