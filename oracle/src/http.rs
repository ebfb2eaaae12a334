//! The HTTP API: who may ask how often, what is asked of the scheduler, and how
//! the answer is told. It decides nothing about tokens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderValue;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::engine::{Facts, Text};
use crate::network::Network;
use crate::openai::Limits;
use crate::scheduler::Handle;

mod auth;
mod body;
mod chat;
mod cors;
mod envelope;
mod error;
mod guard;
mod health;
mod limit;
mod metrics;
mod models;
mod openapi;
mod request_id;
mod router;
mod stream;
mod system;

pub use auth::{Keys, KeysError};
pub use router::{loading_router, router};

use body::Places;
use limit::{Client, Limiter, Standing};
use metrics::Metrics;

/// The id of the one model, as the published document has it.
pub const MODEL_ID: &str = "shard-hybrid";

/// Wrong keys that an address may present in a minute.
const WRONG_KEYS_PER_MINUTE: u32 = 10;

/// Prompts that are made into tokens at one time; the engine needs the cores.
const PROMPTS_AT_ONCE: usize = 2;

/// Bodies of more than a few kilobytes that arrive at one time: with a MiB each
/// they stay below 64 MiB.
const LARGE_BODIES: usize = 64;

/// And of one address.
const LARGE_BODIES_EACH: usize = 16;

/// What an operator chose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may ask; without any, everybody may.
    pub keys: Keys,
    /// Requests that a client has in a minute; 0 is no limit.
    pub requests_per_minute: u32,
    /// In Unicode code points.
    pub max_prompt_chars: usize,
    /// Web pages that may ask, from [`shardman_serve::parse_origins`].
    pub cors_origins: Vec<HeaderValue>,
}

/// What the API speaks for.
pub struct Parts {
    pub scheduler: Handle,
    pub facts: Facts,
    pub text: Arc<dyn Text>,
    pub network: Arc<dyn Network>,
    /// Where the API itself listens.
    pub listens: std::net::SocketAddr,
    pub registry: Registry,
}

/// The end of the server, in two steps.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// No new work is taken.
    pub draining: CancellationToken,
    /// Answers that are still being written are broken off, and say so.
    pub cutoff: CancellationToken,
}

/// What every handler has.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    parts: Parts,
    settings: Settings,
    ending: Ending,
    metrics: Metrics,
    limiter: Option<Mutex<Limiter>>,
    /// Of wrong keys, by address.
    wrong_keys: Mutex<Limiter>,
    began: Instant,
    /// Seconds since 1970.
    began_at: u64,
    prompts: Arc<Semaphore>,
    large_bodies: Places,
}

impl Api {
    /// # Errors
    ///
    /// If a metric's name is taken.
    pub fn new(parts: Parts, settings: Settings, ending: Ending) -> prometheus::Result<Self> {
        let metrics = Metrics::new(&parts.registry)?;
        let limiter = (settings.requests_per_minute > 0)
            .then(|| Mutex::new(Limiter::new(settings.requests_per_minute)));
        Ok(Self(Arc::new(Shared {
            parts,
            settings,
            ending,
            metrics,
            limiter,
            wrong_keys: Mutex::new(Limiter::new(WRONG_KEYS_PER_MINUTE)),
            began: Instant::now(),
            began_at: seconds_since_1970(),
            prompts: Arc::new(Semaphore::new(PROMPTS_AT_ONCE)),
            large_bodies: Places::new(LARGE_BODIES, LARGE_BODIES_EACH),
        })))
    }

    fn is_draining(&self) -> bool {
        self.0.ending.draining.is_cancelled()
    }

    fn limits(&self) -> Limits<'static> {
        Limits {
            model: MODEL_ID,
            max_prompt_chars: self.0.settings.max_prompt_chars,
            vocabulary: self.0.parts.facts.vocabulary,
        }
    }

    /// What a client has left, without taking of it; nothing if there is no limit.
    fn standing(&self, client: Client) -> Option<Standing> {
        self.with_limiter(|limiter, now| limiter.standing(client, now))
    }

    fn with_limiter<T>(&self, rule: impl FnOnce(&mut Limiter, Duration) -> T) -> Option<T> {
        let limiter = self.0.limiter.as_ref()?;
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        Some(rule(&mut limiter, self.0.began.elapsed()))
    }
}

fn seconds_since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
