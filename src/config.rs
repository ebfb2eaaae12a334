//! Every flag and every variable, declared once.
//!
//! Nothing else reads the environment. Values are parsed into their final
//! types before a port is bound; a bad one is one line that names the
//! variable, the value and the remedy.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use shardman_core::plan::MAX_SHARDS;
use shardman_sim::cli::SimArgs;
use shardman_worker::WorkerArgs;

use crate::manager::RescaleMode;

mod parse;
mod secrets;

pub use parse::{DiscordApi, Workers};
pub use secrets::{SECRET_VARIABLES, SecretSettings, kept_secret};

/// A shard manager and process supervisor for Discord bots.
#[derive(Debug, Parser)]
#[command(name = "shardman", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the manager: lease shards, start workers, keep them alive
    Up(Box<UpArgs>),
    /// Run the bundled gateway worker, as `up` does by itself
    Worker(Box<WorkerArgs>),
    /// Run a simulated Discord, to rehearse a bot without a token
    Sim(Box<SimArgs>),
    /// Show the fleet of a running manager
    Status(StatusArgs),
    /// Show what a worker printed, and follow it with -f
    Logs(LogsArgs),
    /// Show how many shards run, or what another number would cost
    Plan(PlanArgs),
    /// Change the number of shards while the bot runs, without a gap
    Rescale(RescaleArgs),
    /// Restart workers one at a time, with nothing lost: for a new version of your bot
    #[command(after_help = RESTART_EXIT_CODES)]
    Restart(RestartArgs),
    /// Start a halted fleet again, once the cause is gone
    Resume(ManagerArgs),
    /// Start shards although only the reserve of session starts is left
    Start(StartArgs),
    /// Check the configuration and the token, and start nothing
    Check(Box<UpArgs>),
}

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

    /// Percent of Discord's daily session starts that are kept for `shardman start --spend-reserve`.
    #[arg(long, env = "BUDGET_RESERVE", default_value = "10", value_name = "PERCENT", value_parser = parse::count::<0, 90>)]
    pub budget_reserve: u32,

    /// Percent of Discord's daily session starts that one worker may use in 24 hours.
    #[arg(long, env = "WORKER_STARTS", default_value = "25", value_name = "PERCENT", value_parser = parse::count::<1, 100>)]
    pub worker_starts: u32,

    /// Seconds that a worker may take to stop before it is killed.
    #[arg(long, env = "STOP_SECONDS", default_value = "10", value_name = "SECONDS", value_parser = parse::stop_seconds)]
    pub stop_seconds: Duration,

    /// Folder for leases, workers' logs and a generated secret.
    #[arg(long, env = "DATA_DIR", default_value = "data", value_name = "FOLDER")]
    pub data_dir: PathBuf,

    /// Where Discord's REST API is: Discord itself, a proxy, or the simulator.
    #[arg(long, env = "DISCORD_API_URL", default_value = "https://discord.com", value_name = "URL", value_parser = parse::discord_api)]
    pub discord_api_url: DiscordApi,

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
}

/// What to show of which manager.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Print JSON for scripts.
    #[arg(long)]
    pub json: bool,
}

/// Whose output to show.
#[derive(Args, Clone, Debug)]
pub struct LogsArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// The worker, as `shardman status` names it.
    #[arg(value_name = "WORKER")]
    pub worker: String,

    /// How many of the last lines to show: at most 10,000, and 1 MiB.
    #[arg(short = 'n', long, value_name = "LINES", default_value = "100", value_parser = parse::count::<0, 10_000>)]
    pub lines: u32,

    /// Go on with what the worker prints, also after its restart.
    #[arg(short, long)]
    pub follow: bool,
}

/// Which number of shards to look at.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// The number to look at; without it, what runs.
    #[arg(value_name = "N")]
    pub shards: Option<u32>,

    /// Print JSON for scripts.
    #[arg(long)]
    pub json: bool,
}

/// Which number of shards to run from now on.
#[derive(Args, Clone, Debug)]
pub struct RescaleArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// How many shards to run. While a rescale goes on, the former number takes it back.
    #[arg(value_name = "N")]
    pub shards: u32,

    /// Do not watch until it is done.
    #[arg(long)]
    pub no_wait: bool,
}

/// The ends of `shardman restart`.
const RESTART_EXIT_CODES: &str = "Exit codes: 0 done (or begun, with --no-wait), 1 refused or cancelled, \
2 no worker named, 3 paused because a restarted worker failed";

/// Which workers to restart.
#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Workers to restart, as `shardman status` names them.
    #[arg(value_name = "WORKER")]
    pub workers: Vec<String>,

    /// Restart every worker.
    #[arg(long, conflicts_with = "workers")]
    pub all: bool,

    /// End the restart that is under way: no further worker is stopped.
    #[arg(long, conflicts_with_all = ["workers", "all"])]
    pub cancel: bool,

    /// Ask for it and do not wait for its end.
    #[arg(long)]
    pub no_wait: bool,

    /// Print JSON for scripts: how the restart stands in the end.
    #[arg(long)]
    pub json: bool,
}

/// What to start, and at what price.
#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Use the session starts that are kept in reserve, and let workers exceed their share, until Discord gives new ones. Discord resets the token of a bot that uses up all.
    #[arg(long, required = true)]
    pub spend_reserve: bool,
}

/// Which manager to ask.
#[derive(Args, Clone, Debug)]
pub struct ManagerArgs {
    /// Where the manager's HTTP API is.
    #[arg(
        long,
        env = "SHARDMAN_URL",
        default_value = "http://127.0.0.1:7878",
        value_name = "URL"
    )]
    pub url: String,

    /// The manager's data folder, for the secret it made if none was set.
    #[arg(long, env = "DATA_DIR", default_value = "data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

/// A configuration that cannot be used: one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What the command line asks for instead of a run.
#[derive(Debug)]
pub enum Stop {
    /// `--help`, `--version`, or a command line that is not understood.
    Usage(clap::Error),
    Config(ConfigError),
}

/// Reads `.env` of the working directory into the environment, where it does
/// not override what is set.
pub fn load_dotenv() -> Result<(), ConfigError> {
    match dotenvy::dotenv() {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => Err(ConfigError(format!(
            ".env cannot be read: {error}; write NAME=value, one a line"
        ))),
    }
}

/// The command line with the environment under it.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let mut command = without_empty_variables(Cli::command());
    command
        .try_get_matches_from_mut(args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| explain(error, &command))
}

/// `NAME=` in a file means that the variable is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let unset = |arg: clap::Arg| {
        let empty = arg
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty());
        if empty { arg.env(None::<&'static str>) } else { arg }
    };
    command.mut_subcommands(move |subcommand| subcommand.mut_args(unset))
}

/// A bad value becomes one line; everything else is clap's own.
fn explain(error: clap::Error, command: &clap::Command) -> Stop {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(_) | None => None,
    };
    if error.kind() != ErrorKind::ValueValidation && error.kind() != ErrorKind::InvalidValue {
        return Stop::Usage(error);
    }
    let (Some(arg), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) else {
        return Stop::Usage(error);
    };
    let flag = arg
        .split([' ', '=', '['])
        .next()
        .unwrap_or(&arg)
        .trim_start_matches('-');
    let variable = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .find(|argument| argument.get_long() == Some(flag))
        .and_then(|argument| argument.get_env()?.to_str());
    let from_flag = std::env::args().any(|given| given.starts_with(&format!("--{flag}")));
    let name = match variable {
        Some(variable) if !from_flag => variable.to_owned(),
        Some(_) | None => format!("--{flag}"),
    };
    let remedy = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
    Stop::Config(ConfigError(format!("{name} is '{value}'{remedy}")))
}
