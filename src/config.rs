//! Every flag and every variable, declared once.
//!
//! Nothing else reads the environment. Values are parsed into their final
//! types before a port is bound; a bad one is one line that names the
//! variable, the value and the remedy.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use shardman_core::setting::{is_flag_given, remedy};
use shardman_sim::cli::SimArgs;
use shardman_worker::WorkerArgs;

mod commands;
mod dotenv;
mod exit_codes;
mod oracle;
mod parse;
mod pools;
mod reload;
mod secrets;
mod up;

pub use commands::{
    AskArgs, CheckArgs, CompletionsArgs, EventsArgs, LogsArgs, ManArgs, ManagerArgs, PlanArgs, RescaleArgs,
    RestartArgs, StartArgs, StatusArgs, StopArgs, WhyArgs, reachable,
};
pub use dotenv::{Dotenv, load_dotenv};
pub use parse::{DiscordApi, Workers};
pub use pools::{pool_settings, pool_variables};
pub use reload::{Reloaded, Source, Written};
pub use secrets::{SECRET_VARIABLES, SecretSettings, kept_secret};
pub use up::UpArgs;

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
    #[command(after_help = exit_codes::UP)]
    Up(Box<UpArgs>),
    /// Run the bundled gateway worker, as `up` does by itself
    #[command(after_help = exit_codes::WORKER)]
    Worker(Box<WorkerArgs>),
    /// Run a simulated Discord, to rehearse a bot without a token
    #[command(after_help = exit_codes::SIM)]
    Sim(Box<SimArgs>),
    /// Show the fleet of a running manager
    #[command(after_help = exit_codes::STATUS)]
    Status(StatusArgs),
    /// Show what a worker printed, and follow it with -f
    #[command(after_help = exit_codes::ASK)]
    Logs(LogsArgs),
    /// Explain how a shard or a worker came to be what it is
    #[command(after_help = exit_codes::ASK)]
    Why(WhyArgs),
    /// Show what happened and why, and follow it with -f
    #[command(after_help = exit_codes::ASK)]
    Events(EventsArgs),
    /// Show how many shards run, or what another number would cost
    #[command(after_help = exit_codes::PLAN)]
    Plan(PlanArgs),
    /// Change the number of shards while the bot runs, without a gap
    #[command(after_help = exit_codes::RESCALE)]
    Rescale(RescaleArgs),
    /// Restart workers one at a time, with nothing lost: for a new version of your bot
    #[command(after_help = exit_codes::RESTART)]
    Restart(RestartArgs),
    /// Stop workers until they are started again, or all and the manager
    #[command(after_help = exit_codes::STOP)]
    Stop(StopArgs),
    /// Start workers that were stopped, or shards although only the reserve of session starts is left
    #[command(after_help = exit_codes::ASK)]
    Start(StartArgs),
    /// Read `.env` again, and apply what changed as far as that needs no restart
    #[command(after_help = exit_codes::ASK)]
    Reload(AskArgs),
    /// Start a halted fleet again, once the cause is gone
    #[command(after_help = exit_codes::ASK)]
    Resume(AskArgs),
    /// Check the configuration and the token, and start nothing
    #[command(after_help = exit_codes::CHECK)]
    Check(Box<CheckArgs>),
    /// Print the description of the HTTP API
    #[command(after_help = exit_codes::PRINT)]
    Openapi,
    /// Print what makes a shell complete commands and flags
    #[command(after_help = exit_codes::PRINT)]
    Completions(CompletionsArgs),
    /// Print the manual, or write a page for each command
    #[command(after_help = exit_codes::PRINT)]
    Man(ManArgs),
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

/// The command line with the environment under it, which has `.env` in it.
pub fn parse(args: impl IntoIterator<Item = OsString>, dotenv: &Dotenv) -> Result<Cli, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = commands::ask_where_it_listens(without_empty_variables(Cli::command()));
    let matches = command
        .try_get_matches_from_mut(args.clone())
        .map_err(|error| explain(error, &command, &args))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| explain(error, &command, &args))?;
    if let (Command::Up(up), Some(("up", given))) = (&mut cli.command, matches.subcommand()) {
        up.listens_by_choice = given.value_source("listen") != Some(ValueSource::DefaultValue);
        up.source = Source::new(args, given, dotenv);
    }
    let of_manager = if let Command::Up(up) = &cli.command {
        Some(&**up)
    } else if let Command::Check(check) = &cli.command {
        Some(&check.up)
    } else {
        None
    };
    // The bundled worker has settings of its own, which would halt each of them.
    if of_manager.is_some_and(UpArgs::starts_bundled_workers) {
        reload::check_worker().map_err(Stop::Config)?;
    }
    Ok(cli)
}

/// The command line as it is declared, for manuals and completions.
pub fn command() -> clap::Command {
    Cli::command()
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
fn explain(error: clap::Error, command: &clap::Command, args: &[OsString]) -> Stop {
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
    let name = match variable {
        Some(variable) if !is_flag_given(flag, args) => variable.to_owned(),
        Some(_) | None => format!("--{flag}"),
    };
    let choices = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(choices)) => choices.as_slice(),
        Some(_) | None => &[],
    };
    let remedy = remedy(std::error::Error::source(&error), choices);
    Stop::Config(ConfigError(format!("{name} is '{value}'{remedy}")))
}
