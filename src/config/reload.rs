//! The configuration read again while the manager runs. Its flags and its
//! environment cannot change, so what is read is `.env`; both count before it,
//! as they did at the start. The process environment stays as it is: what
//! children are to have otherwise is handed to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use shardman_core::reload::{ReloadChange, ReloadEffect};

use super::dotenv::{Dotenv, read, text};
use super::{Cli, Command, ConfigError, SECRET_VARIABLES, SecretSettings, Stop, UpArgs, explain, pools};
use crate::manager::PoolSettings;

/// What a person may see of a value that may be secret.
const HIDDEN: &str = "(hidden)";

/// What is read by rules or tasks that can be told of a change.
const APPLIED: &[&str] = &[
    "ALERT_TOKEN",
    "ALERT_URL",
    "BUDGET_RESERVE",
    "CORS_ORIGINS",
    "LOGIN_SECONDS",
    "MAX_SHARDS",
    "PUBLIC_STATUS",
    "REGISTER_SECONDS",
    "RESCALE",
    "SHARDS_PER_WORKER",
    "STOP_SECONDS",
    "WEBHOOK_CONTENT",
    "WEBHOOK_URL",
    "WORKERS",
    "WORKER_STARTS",
];

/// What a worker is started with.
const OF_WORKERS: &[&str] = &["BOT_TOKEN", "EVENT_SINK", "INTENTS", "RUST_LOG", "WORKER_COMMAND"];

/// What is in force, and where it came from. Hides the file's values from
/// `Debug`.
#[derive(Clone, Default)]
pub struct Source {
    argv: Vec<OsString>,
    /// Variables of arguments that were given as flags.
    flags: BTreeSet<String>,
    /// Names that `.env` brought into the environment when the program began.
    from_file: BTreeSet<String>,
    /// The variables of `.env` that are in force.
    file: BTreeMap<String, String>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

/// What a configuration says.
#[derive(Debug)]
pub struct Written {
    pub args: UpArgs,
    pub secrets: SecretSettings,
    pub pools: Vec<PoolSettings>,
}

/// A configuration that was read again.
#[derive(Debug)]
pub struct Reloaded {
    /// As it stands: what the next manager would start with.
    pub whole: Written,
    /// As far as it can be applied.
    pub applied: Written,
    pub changes: Vec<ReloadChange>,
    /// What children inherit otherwise than this process has it.
    pub inherit: Vec<(String, Option<String>)>,
}

impl Source {
    pub(super) fn new(argv: Vec<OsString>, matches: &ArgMatches, dotenv: &Dotenv) -> Self {
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let flags = variables("up").into_iter();
        Self {
            argv,
            flags: flags
                .filter(|(id, _, _)| given(id))
                .map(|(_, _, variable)| variable)
                .collect(),
            from_file: dotenv.brought.clone(),
            file: dotenv.values.clone(),
        }
    }

    /// Reads `.env` again. What needs a restart of the manager is checked, and
    /// stays as it is.
    pub fn reload(&mut self) -> Result<Reloaded, ConfigError> {
        let new = read(&text()?)?;
        let whole = self.parse(&new)?;
        let changes = self.changes(&new);
        let mut in_force = new;
        let held = changes
            .iter()
            .filter(|change| change.effect == ReloadEffect::ManagerRestart);
        for ReloadChange { variable, .. } in held {
            match self.file.get(variable) {
                Some(value) => drop(in_force.insert(variable.clone(), value.clone())),
                None => drop(in_force.remove(variable)),
            }
        }
        let applied = self.parse(&in_force)?;
        let names: BTreeSet<_> = in_force.keys().chain(&self.from_file).collect();
        let inherit = names
            .into_iter()
            .filter(|name| !self.is_given(name))
            .map(|name| (name.clone(), in_force.get(name).cloned()))
            .collect();
        self.file = in_force;
        Ok(Reloaded {
            whole,
            applied,
            changes,
            inherit,
        })
    }

    /// Whether the environment had it before `.env` was read.
    fn is_given(&self, name: &str) -> bool {
        !self.from_file.contains(name) && std::env::var_os(name).is_some()
    }

    fn value(&self, name: &str, file: &BTreeMap<String, String>) -> Option<OsString> {
        let value = if self.is_given(name) {
            std::env::var_os(name)
        } else {
            file.get(name).map(OsString::from)
        };
        value.filter(|value| !value.is_empty())
    }

    /// The command line as it was, with the variables as flags behind it.
    fn parse(&self, file: &BTreeMap<String, String>) -> Result<Written, ConfigError> {
        let secrets = SecretSettings::from_lookup(|name| self.value(name, file))?;
        let mut argv = self.argv.clone();
        argv.extend(self.as_flags("up", file));
        let Command::Up(args) = parse_flags(argv)? else {
            return Err(ConfigError(
                "only `shardman up` reads its configuration again".to_owned(),
            ));
        };
        if args.starts_bundled_workers() {
            let mut argv: Vec<OsString> = vec!["shardman".into(), "worker".into()];
            argv.extend(self.as_flags("worker", file));
            parse_flags(argv)?;
        }
        let pools = pools::read(&args, self.of_pools(file))?;
        Ok(Written {
            args: *args,
            secrets,
            pools,
        })
    }

    fn of_pools(&self, file: &BTreeMap<String, String>) -> Vec<(String, OsString)> {
        let given = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let names: BTreeSet<_> = given.chain(file.keys().cloned()).collect();
        let of_pools = names.into_iter().filter(|name| name.starts_with(pools::PREFIX));
        of_pools
            .filter_map(|name| Some((name.clone(), self.value(&name, file)?)))
            .collect()
    }

    fn as_flags(&self, command: &str, file: &BTreeMap<String, String>) -> Vec<OsString> {
        let mut flags = Vec::new();
        for (_, long, variable) in variables(command) {
            if let Some(value) = self
                .value(&variable, file)
                .filter(|_| !self.flags.contains(&variable))
            {
                let mut flag = OsString::from(format!("--{long}="));
                flag.push(value);
                flags.push(flag);
            }
        }
        flags
    }

    fn changes(&self, new: &BTreeMap<String, String>) -> Vec<ReloadChange> {
        let declared: BTreeSet<String> = ["up", "worker"]
            .into_iter()
            .flat_map(variables)
            .map(|(_, _, variable)| variable)
            .collect();
        let names: BTreeSet<_> = self.file.keys().chain(new.keys()).collect();
        let change = |name: &String| {
            let set =
                |file: &BTreeMap<String, String>| file.get(name).filter(|value| !value.is_empty()).cloned();
            let (before, now) = (set(&self.file), set(new));
            if before == now {
                return None;
            }
            let effect = if self.flags.contains(name) || self.is_given(name) {
                ReloadEffect::Overruled
            } else if name == "BOT_TOKEN" && (before.is_none() || now.is_none()) {
                // Whether Discord is asked at all is decided at the start.
                ReloadEffect::ManagerRestart
            } else {
                effect(name, declared.contains(name))
            };
            let shown = declared.contains(name) && !is_secret(name);
            let show =
                |value: Option<String>| value.map(|value| if shown { value } else { HIDDEN.to_owned() });
            Some(ReloadChange {
                variable: name.clone(),
                before: show(before),
                now: show(now),
                effect,
            })
        };
        names.into_iter().filter_map(change).collect()
    }
}

/// What is declared and not listed above is read at the start alone; what is
/// not declared is for the workers, which inherit it.
fn effect(name: &str, declared: bool) -> ReloadEffect {
    if APPLIED.contains(&name) {
        ReloadEffect::Applied
    } else if OF_WORKERS.contains(&name) {
        ReloadEffect::NewWorkers
    } else if declared || is_secret(name) || name.starts_with("POOL_") {
        ReloadEffect::ManagerRestart
    } else {
        ReloadEffect::NewWorkers
    }
}

fn is_secret(name: &str) -> bool {
    name == "SECRET_KEY" || SECRET_VARIABLES.iter().any(|(secret, _)| *secret == name)
}

/// Id, flag and variable of each argument of a command that has all three.
fn variables(command: &str) -> Vec<(String, String, String)> {
    let cli = Cli::command();
    let arguments = cli.find_subcommand(command).into_iter();
    arguments
        .flat_map(clap::Command::get_arguments)
        .filter_map(|arg| {
            let variable = arg.get_env()?.to_str()?.to_owned();
            let own = !variable.starts_with("SHARDMAN_");
            own.then(|| Some((arg.get_id().to_string(), arg.get_long()?.to_owned(), variable)))?
        })
        .collect()
}

/// Whether the environment has what the bundled worker can run with.
pub(super) fn check_worker() -> Result<(), ConfigError> {
    let mut argv: Vec<OsString> = vec!["shardman".into(), "worker".into()];
    for (_, flag, variable) in variables("worker") {
        if let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
            let mut flag = OsString::from(format!("--{flag}="));
            flag.push(value);
            argv.push(flag);
        }
    }
    parse_flags(argv).map(drop)
}

/// Parses flags alone.
fn parse_flags(argv: Vec<OsString>) -> Result<Command, ConfigError> {
    let without_env = |arg: clap::Arg| arg.env(None::<&'static str>);
    let command = Cli::command().mut_subcommands(move |subcommand| subcommand.mut_args(without_env));
    let parsed = command
        .try_get_matches_from(argv)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    // What is no flag of this process comes from a variable, and is called so.
    let given: Vec<OsString> = std::env::args_os().collect();
    match parsed.map_err(|error| explain(error, &Cli::command(), &given)) {
        Ok(cli) => Ok(cli.command),
        Err(Stop::Config(error)) => Err(error),
        Err(Stop::Usage(error)) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(ConfigError(first.trim_start_matches("error: ").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_that_is_said_to_be_applied_is_declared() {
        let declared: BTreeSet<String> = ["up", "worker"]
            .into_iter()
            .flat_map(variables)
            .map(|(_, _, variable)| variable)
            .collect();
        for name in APPLIED
            .iter()
            .chain(OF_WORKERS)
            .filter(|name| **name != "RUST_LOG")
        {
            assert!(declared.contains(*name) || is_secret(name), "{name}");
        }
    }

    #[test]
    fn what_nobody_knows_how_to_apply_needs_a_restart() {
        assert_eq!(effect("LISTEN", true), ReloadEffect::ManagerRestart);
        assert_eq!(effect("SECRET_KEY", false), ReloadEffect::ManagerRestart);
        assert_eq!(effect("A_NEW_SETTING", true), ReloadEffect::ManagerRestart);
        assert_eq!(effect("DATABASE_URL", false), ReloadEffect::NewWorkers);
    }

    #[test]
    fn a_flag_counts_before_the_file() {
        let argv = ["shardman", "up", "--max-shards", "3", "--public-status"].map(OsString::from);
        let cli = super::super::parse(argv, &Dotenv::default()).unwrap();
        let Command::Up(up) = cli.command else {
            unreachable!("it says `up`")
        };
        let file = |max_shards: &str, stop_seconds: &str| -> BTreeMap<String, String> {
            [
                ("MAX_SHARDS", max_shards),
                ("STOP_SECONDS", stop_seconds),
                ("PUBLIC_STATUS", "false"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
        };
        let args = up.source.parse(&file("5", "7")).unwrap().args;
        assert_eq!((args.max_shards, args.public_status), (Some(3), true));
        assert_eq!(args.stop_seconds, std::time::Duration::from_secs(7));
        let effects: Vec<_> = up
            .source
            .changes(&file("5", "7"))
            .into_iter()
            .map(|change| change.effect)
            .collect();
        assert_eq!(
            effects,
            [
                ReloadEffect::Overruled,
                ReloadEffect::Overruled,
                ReloadEffect::Applied
            ]
        );
        assert!(
            up.source
                .parse(&file("5", "soon"))
                .unwrap_err()
                .to_string()
                .contains("STOP_SECONDS is 'soon'")
        );
    }
}
