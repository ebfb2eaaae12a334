//! Every flag and every variable, declared once.
//!
//! Nothing else reads the environment. Values are parsed into their final
//! types before a port is bound; a bad one is one line that names the
//! variable, the value and the remedy.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use shardman_core::setting::{is_flag_given, remedy};

mod bench;
mod manager;
mod parse;
mod scout;
mod serve;

pub use bench::BenchArgs;
pub(crate) use bench::search_path;
pub use manager::ManagerArgs;
pub use parse::ModelSource;
pub use scout::ScoutArgs;
pub use serve::{SECRET_VARIABLES, ServeArgs, Speculation};

/// An OpenAI-compatible inference API, with scouts that a Shardman manager leases.
#[derive(Debug, Parser)]
#[command(name = "shardman-oracle", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load a model, and answer requests over HTTP
    #[command(after_help = EXIT_CODES)]
    Serve(Box<ServeArgs>),
    /// Lease a slot from the manager, and draft for an oracle
    #[command(after_help = EXIT_CODES)]
    Scout(Box<ScoutArgs>),
    /// Measure what this host computes
    #[command(after_help = EXIT_CODES)]
    Bench(Box<BenchArgs>),
}

/// It is done, or was asked to stop.
pub const OK: u8 = 0;
/// Who is needed cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// Something failed that should not.
pub const INTERNAL: u8 = 70;
/// The manager refuses the secret.
pub const NO_PERMISSION: u8 = 77;
/// A setting is missing or wrong.
pub const CONFIG: u8 = 78;

const EXIT_CODES: &str = "\
Exit codes:
  0   it was asked to stop, or is done
  2   the command line is not understood
  69  started by a manager, it reached none for MAX_SECONDS
  70  something failed while it ran, such as the model
  77  the manager refuses the secret
  78  a setting is missing or wrong";

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

/// The command line with the environment under it.
///
/// # Errors
///
/// If it asks for no run, or for one that cannot be.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = without_empty_variables(Cli::command());
    let matches = command
        .try_get_matches_from_mut(args.clone())
        .map_err(|error| explain(error, &args))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| explain(error, &args))?;
    match &mut cli.command {
        Command::Serve(serve) => serve.read_secrets().map_err(Stop::Config)?,
        Command::Scout(scout) => scout.manager.read_secret(),
        Command::Bench(_) => {}
    }
    Ok(cli)
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

/// A bad value, or one that is missing, becomes one line; all else is clap's own.
fn explain(error: clap::Error, args: &[OsString]) -> Stop {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        Some(_) | None => None,
    };
    let is_missing = error.kind() == ErrorKind::MissingRequiredArgument;
    if !is_missing && ![ErrorKind::ValueValidation, ErrorKind::InvalidValue].contains(&error.kind()) {
        return Stop::Usage(error);
    }
    let Some(arg) = text(ContextKind::InvalidArg) else {
        return Stop::Usage(error);
    };
    let flag = arg
        .split([' ', '=', '['])
        .next()
        .unwrap_or(&arg)
        .trim_start_matches('-');
    let declared = Cli::command();
    // Two commands may have a flag of one name, which reads another variable.
    let argument = args
        .iter()
        .find_map(|given| declared.find_subcommand(given))
        .and_then(|command| command.get_arguments().find(|it| it.get_long() == Some(flag)));
    let variable = argument.and_then(|argument| argument.get_env()?.to_str());
    let name = match variable {
        Some(variable) if !is_flag_given(flag, args) => variable.to_owned(),
        Some(_) | None => format!("--{flag}"),
    };
    if is_missing {
        let help = argument.and_then(clap::Arg::get_help).map(ToString::to_string);
        let help = help.unwrap_or_default();
        return Stop::Config(ConfigError(format!("{name} is not set: give --{flag}: {help}")));
    }
    let Some(value) = text(ContextKind::InvalidValue) else {
        return Stop::Usage(error);
    };
    let choices = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(choices)) => choices.as_slice(),
        Some(_) | None => &[],
    };
    let remedy = remedy(std::error::Error::source(&error), choices);
    Stop::Config(ConfigError(format!("{name} is '{value}'{remedy}")))
}
