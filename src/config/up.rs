//! The settings of the manager: the flags and variables of `shardman up`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use shardman_core::PoolId;
use shardman_core::plan::MAX_SHARDS;

use super::ConfigError;
use super::parse::{self, DiscordApi, Workers};
use super::reload::Source;
use super::{oracle, pools};
use crate::manager::{RescaleMode, WorkerRegister, names_shards};

/// Settings of the manager.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Address and port of the manager's HTTP API.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:7878", value_name = "ADDR", value_parser = parse::address)]
    pub listen: SocketAddr,

    /// Seconds without a beat after which a shard is handed to somebody else.
    #[arg(long, env = "MAX_SECONDS", default_value = "60", value_name = "SECONDS", value_parser = parse::max_seconds)]
    pub max_seconds: Duration,

    /// How many shards to run; unset to run as many as Discord recommends.
    #[arg(long, env = "MAX_SHARDS", value_name = "N", value_parser = parse::count::<1, MAX_SHARDS>)]
    pub max_shards: Option<u32>,

    /// When Discord or the guilds ask for another number of shards: `off` ignores it, `propose` says so, `auto` does it.
    #[arg(
        long,
        env = "RESCALE",
        default_value = "propose",
        value_name = "MODE",
        value_enum
    )]
    pub rescale: RescaleMode,

    /// The most workers to start: a number, `0` for none, or `auto` for as many as the shards need.
    #[arg(long, env = "WORKERS", default_value = "auto", value_name = "N", value_parser = parse::workers)]
    pub workers: Workers,

    /// The most shards for one worker; unset to spread them over the cores (your own command: one).
    #[arg(long, env = "SHARDS_PER_WORKER", value_name = "N", value_parser = parse::count::<1, 256>)]
    pub shards_per_worker: Option<u32>,

    /// Your own worker, such as `node bot.js`; unset for the bundled gateway worker.
    #[arg(long, env = "WORKER_COMMAND", alias = "worker", value_name = "COMMAND")]
    pub worker_command: Option<String>,

    /// How your own worker gets its shards: `connect` asks for them, `assigned` is given them, `auto` is `assigned` where the command has `{shards}`.
    #[arg(
        long,
        env = "WORKER_REGISTER",
        default_value = "auto",
        value_name = "MODE",
        value_enum
    )]
    pub worker_register: WorkerRegister,

    /// Seconds that a worker which asks for its shards may run without holding any.
    #[arg(long, env = "REGISTER_SECONDS", default_value = "60", value_name = "SECONDS", value_parser = parse::register_seconds)]
    pub register_seconds: Duration,

    /// The most memory that one worker may take with all it starts, such as `512M`; unset for no limit.
    #[arg(long, env = "WORKER_MEMORY", value_name = "BYTES", value_parser = parse::bytes)]
    pub worker_memory: Option<u64>,

    /// The most files and connections that a worker may have open; unset for as many as the host allows.
    #[arg(long, env = "WORKER_OPEN_FILES", value_name = "N", value_parser = parse::open_files)]
    pub worker_open_files: Option<u64>,

    /// Seconds that a worker which is given its shards may need from its start to its first IDENTIFY.
    #[arg(long, env = "LOGIN_SECONDS", default_value = "10", value_name = "SECONDS", value_parser = parse::login_seconds)]
    pub login_seconds: Duration,

    /// Percent of Discord's daily session starts that are kept for `shardman start --spend-reserve`.
    #[arg(long, env = "BUDGET_RESERVE", default_value = "10", value_name = "PERCENT", value_parser = parse::count::<0, 90>)]
    pub budget_reserve: u32,

    /// Percent of Discord's daily session starts that one worker may use in 24 hours.
    #[arg(long, env = "WORKER_STARTS", default_value = "25", value_name = "PERCENT", value_parser = parse::count::<1, 100>)]
    pub worker_starts: u32,

    /// Seconds that a worker may take to stop before it is killed.
    #[arg(long, env = "STOP_SECONDS", default_value = "10", value_name = "SECONDS", value_parser = parse::stop_seconds)]
    pub stop_seconds: Duration,

    /// The most workers of one pool that may be away at once because they were killed for their silence; unset for 4, or a tenth of them.
    #[arg(long, env = "KILLS_AT_ONCE", value_name = "N", value_parser = parse::count::<1, 10_000>)]
    pub kills_at_once: Option<u32>,

    /// Seconds without a gateway event after which a busy shard counts as deaf at the earliest; 0 judges none.
    #[arg(long, env = "DEAF_SECONDS", default_value = "120", value_name = "SECONDS", value_parser = parse::deaf_seconds)]
    pub deaf_seconds: Duration,

    /// Folder for leases, events, workers' logs and a generated secret.
    #[arg(long, env = "DATA_DIR", default_value = "data", value_name = "FOLDER")]
    pub data_dir: PathBuf,

    /// Where Discord's REST API is: Discord itself, a proxy, or the simulator.
    #[arg(long, env = "DISCORD_API_URL", default_value = "https://discord.com", value_name = "URL", value_parser = parse::discord_api)]
    pub discord_api_url: DiscordApi,

    /// Further pools of processes to keep running, such as `web,jobs`; POOL_WEB_COMMAND and the like say what each is.
    #[arg(long, env = "POOLS", value_name = "NAMES", value_delimiter = ',', value_parser = pools::name)]
    pub pools: Vec<PoolId>,

    /// A GGUF file: run the inference oracle of `shardman-oracle` with it, beside the bot; or `fake` for answers without a model.
    #[arg(long, env = "ORACLE", value_name = "MODEL", value_parser = oracle::model)]
    pub oracle: Option<String>,

    /// With ORACLE: address and port of its OpenAI-compatible API.
    #[arg(long, env = "ORACLE_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDR", value_parser = parse::address)]
    pub oracle_listen: SocketAddr,

    /// With ORACLE: how many scouts draft for it on this host.
    #[arg(long, env = "SCOUTS", default_value = "2", value_name = "N", value_parser = parse::count::<0, 64>)]
    pub scouts: u32,

    /// With ORACLE: what the scouts guess with, a smaller model of the same family; unset for the oracle's own.
    #[arg(long, env = "SCOUT_MODEL", value_name = "MODEL", value_parser = oracle::model)]
    pub scout_model: Option<String>,

    /// Origins of web pages that may call the API, separated by commas.
    #[arg(long, env = "CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Let everybody read `GET /status`, without a secret.
    #[arg(long, env = "PUBLIC_STATUS", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = parse::boolean)]
    pub public_status: bool,

    /// Text that goes with every webhook alert, such as a mention.
    #[arg(long, env = "WEBHOOK_CONTENT", value_name = "TEXT")]
    pub webhook_content: Option<String>,

    /// Run a simulated Discord of so many shards in this process, and a fleet on it.
    #[arg(long, value_name = "SHARDS", value_parser = parse::count::<1, 1024>)]
    pub sim: Option<u32>,

    /// With `--sim`: how many shards may identify at once.
    #[arg(long, value_name = "M", default_value = "2", requires = "sim", value_parser = parse::count::<1, 1024>)]
    pub sim_max_concurrency: u32,

    /// Whether `LISTEN` is set, or has its default.
    #[arg(skip)]
    pub listens_by_choice: bool,

    /// Where these settings come from, to read them again.
    #[arg(skip)]
    pub source: Source,
}

impl UpArgs {
    /// Whether children are given their shards.
    pub fn assigns(&self) -> Result<bool, ConfigError> {
        let refused = |text: &str| Err(ConfigError(text.to_owned()));
        let named = self.worker_command.as_deref().map(names_shards);
        match (self.worker_register, named) {
            (WorkerRegister::Auto | WorkerRegister::Connect, None) => Ok(false),
            (WorkerRegister::Assigned, None) => refused(
                "WORKER_REGISTER is 'assigned': the bundled worker asks for its shards; unset it, or set WORKER_COMMAND",
            ),
            (WorkerRegister::Connect, Some(true)) => refused(
                "WORKER_REGISTER is 'connect': a command that asks for its shards cannot be told them; take the {…} out of WORKER_COMMAND, or unset WORKER_REGISTER",
            ),
            (WorkerRegister::Auto, Some(named)) => Ok(named),
            (WorkerRegister::Assigned, Some(_)) => Ok(true),
            (WorkerRegister::Connect, Some(false)) => Ok(false),
        }
    }
}
