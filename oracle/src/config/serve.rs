//! The settings of the oracle itself: the flags and variables of
//! `shardman-oracle serve`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use shardman_core::PoolId;

use super::ConfigError;
use super::manager::ManagerArgs;
use super::parse::{self, ModelSource};
use crate::http::Keys;

/// Variables that have no flag, since a command line is seen by everybody: name
/// and meaning of each, as `.env.example` has them.
pub const SECRET_VARIABLES: [(&str, &str); 2] = [
    (
        "SHARD_API_KEYS",
        "Keys of which clients must present one, separated by commas; unset to let everybody ask.",
    ),
    (
        "SECRET",
        "The secret of the manager that leases the scouts. `SECRET_KEY` is accepted too.",
    ),
];

/// Settings of the oracle.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address and port of the oracle's HTTP API.
    #[arg(long, env = "ORACLE_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDR", value_parser = parse::address)]
    pub listen: SocketAddr,

    /// The model: a GGUF file of the llama family, or `fake` for a made-up one that answers nonsense at once.
    #[arg(long, env = "ORACLE_MODEL", value_name = "PATH", value_parser = parse::model)]
    pub model: ModelSource,

    /// Threads that compute; unset for one less than the cores of the host.
    #[arg(long, env = "ORACLE_THREADS", value_name = "N", value_parser = parse::count::<1, 256>)]
    pub threads: Option<u32>,

    /// The most memory that the texts of all running requests may take in the model, such as `512M`.
    #[arg(long, env = "ORACLE_KV_MEMORY", default_value = "1G", value_name = "BYTES", value_parser = parse::bytes)]
    pub kv_memory: usize,

    /// The most requests that wait for their turn.
    #[arg(long, env = "ORACLE_QUEUE", default_value = "64", value_name = "N", value_parser = parse::count::<1, 10_000>)]
    pub queue: u32,

    /// The longest that a request waits for its turn, in seconds.
    #[arg(long, env = "ORACLE_QUEUE_SECONDS", default_value = "60", value_name = "SECONDS", value_parser = parse::queue_seconds)]
    pub queue_seconds: Duration,

    /// The most answers that are written at once.
    #[arg(long, env = "ORACLE_ANSWERS", default_value = "8", value_name = "N", value_parser = parse::count::<1, 1024>)]
    pub answers: u32,

    /// Requests to `/v1` that a key has in a minute, or an address where there are no keys; 0 for no limit.
    #[arg(long, env = "SHARD_RATE_LIMIT_PER_MINUTE", default_value = "60", value_name = "N", value_parser = parse::count::<0, 1_000_000>)]
    pub rate_limit_per_minute: u32,

    /// The most characters of all messages of a request together.
    #[arg(long, env = "SHARD_MAX_PROMPT_CHARS", default_value = "16000", value_name = "N", value_parser = parse::count::<1, 512_000>)]
    pub max_prompt_chars: u32,

    /// Origins of web pages that may call the API, separated by commas; `*` for all.
    #[arg(
        long,
        env = "SHARD_CORS_ORIGINS",
        default_value = "http://localhost:3000,http://127.0.0.1:3000",
        value_name = "ORIGINS",
        value_parser = parse::origins
    )]
    pub cors_origins: Origins,

    /// Seconds that answers may take to be finished when the oracle is asked to stop.
    #[arg(long, env = "ORACLE_STOP_SECONDS", default_value = "10", value_name = "SECONDS", value_parser = parse::stop_seconds)]
    pub stop_seconds: Duration,

    /// Whether guesses of what follows are checked: where that pays, always, or never.
    #[arg(long, env = "ORACLE_SPECULATE", default_value = "auto", value_name = "WHEN")]
    pub speculate: Speculation,

    /// The pool of the manager whose workers are the scouts.
    #[arg(long, env = "ORACLE_SCOUTS", default_value = "scouts", value_name = "POOL")]
    pub scouts: PoolId,

    /// From `SHARD_API_KEYS`.
    #[arg(skip)]
    pub keys: Keys,

    #[command(flatten)]
    pub manager: ManagerArgs,
}

/// When guesses are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Speculation {
    Auto,
    Always,
    Never,
}

/// Web pages that may call the API.
#[derive(Clone, Debug)]
pub struct Origins(pub Vec<HeaderValue>);

impl ServeArgs {
    /// Threads that compute, on a host with so many cores: one is left for all else.
    pub fn threads_of(&self, cores: usize) -> usize {
        self.threads
            .map_or(cores.saturating_sub(1).max(1), |threads| threads as usize)
    }

    /// Reads what has no flag. What is wrong with it is told without showing it.
    pub(super) fn read_secrets(&mut self) -> Result<(), ConfigError> {
        self.manager.read_secret();
        let name = SECRET_VARIABLES[0].0;
        let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
            return Ok(());
        };
        let keys = value.to_str().map_or_else(
            || Err("it is no text".to_owned()),
            |text| Keys::parse(text).map_err(|error| error.to_string()),
        );
        self.keys = keys.map_err(|error| ConfigError(format!("{name} is not usable: {error}")))?;
        Ok(())
    }
}
