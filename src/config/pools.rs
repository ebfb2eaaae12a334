//! The pools beside `discord`: `POOLS`, and the variables of each.

use std::ffi::OsString;
use std::time::Duration;

use clap::ValueEnum;
use shardman_core::PoolId;

use super::{ConfigError, UpArgs, Workers, oracle, parse};
use crate::manager::{PoolSettings, Register, RestartRule, StartTerms};

/// What the variables of every pool begin with.
pub(super) const PREFIX: &str = "POOL_";

/// What follows a pool's name in them.
const SETTINGS: [&str; 6] = [
    "COMMAND",
    "SIZE",
    "MAX_SECONDS",
    "STOP_SECONDS",
    "REGISTER",
    "RESTART",
];

/// One name of `POOLS`.
pub(super) fn name(text: &str) -> Result<PoolId, String> {
    let pool: PoolId = text
        .trim()
        .parse()
        .map_err(|error: shardman_core::PoolIdError| error.to_string())?;
    if pool.is_discord() {
        return Err("the pool `discord` is there by itself; leave it out".to_owned());
    }
    Ok(pool)
}

impl UpArgs {
    /// Whether shards may be given to workers that come with this program, whose
    /// settings must hold too.
    pub(super) fn starts_bundled_workers(&self) -> bool {
        self.worker_command.is_none() && self.workers != Workers::AtMost(0)
    }

    /// Whether nothing speaks of a bot, and there are pools to run: then they
    /// are all that is run. A command for the bot's workers, or a Discord at
    /// another place, is a bot that lacks its token.
    pub fn is_without_bot(&self, token: Option<&str>) -> bool {
        let of_a_bot = token.is_some()
            || self.max_shards.is_some()
            || self.worker_command.is_some()
            || self.sim.is_some()
            || !self.discord_api_url.is_discord();
        !of_a_bot && (!self.pools.is_empty() || self.oracle.is_some())
    }
}

/// What the environment says of each pool.
///
/// # Errors
///
/// If a value cannot be used, if a name stands twice in `POOLS`, or if a
/// variable looks like that of a pool and is of none.
pub fn pool_settings(args: &UpArgs) -> Result<Vec<PoolSettings>, ConfigError> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        (name.starts_with(PREFIX) && !value.is_empty()).then_some((name, value))
    });
    read(args, ours.collect())
}

/// The names of all variables that these pools may have.
pub fn pool_variables<'a>(pools: impl IntoIterator<Item = &'a PoolId>) -> Vec<String> {
    let of_pool = |pool: &PoolId| SETTINGS.map(|setting| variable(pool, setting));
    pools.into_iter().flat_map(of_pool).collect()
}

/// The same from variables that were read elsewhere, none of them empty.
pub(super) fn read(
    args: &UpArgs,
    mut variables: Vec<(String, OsString)>,
) -> Result<Vec<PoolSettings>, ConfigError> {
    variables.sort();
    let mut pools = Vec::new();
    for (at, pool) in args.pools.iter().enumerate() {
        if args.pools[..at].contains(pool) {
            return Err(ConfigError(format!(
                "POOLS names '{pool}' twice: leave one of them out"
            )));
        }
        pools.push(of_pool(args, pool, &mut variables)?);
    }
    pools.extend(oracle::pools(args)?);
    match variables.iter().find(|(name, _)| is_stray(args, name)) {
        Some((name, _)) => Err(ConfigError(stray(args, name))),
        None => Ok(pools),
    }
}

/// Takes the variables of one pool out of all.
fn of_pool(
    args: &UpArgs,
    pool: &PoolId,
    variables: &mut Vec<(String, OsString)>,
) -> Result<PoolSettings, ConfigError> {
    let mut take = |setting: &str| -> Result<Option<(String, String)>, ConfigError> {
        let name = variable(pool, setting);
        let Some(at) = variables.iter().position(|(known, _)| *known == name) else {
            return Ok(None);
        };
        match variables.remove(at).1.into_string() {
            Ok(value) => Ok(Some((name, value))),
            Err(_) => Err(ConfigError(format!("{name} is no text: write it in UTF-8"))),
        }
    };
    let command = take("COMMAND")?.map(|(_, command)| command);
    let register = parsed(take("REGISTER")?, word::<Register>)?;
    if command.is_none() && register == Some(Register::Process) {
        return Err(ConfigError(format!(
            "{} is 'process', and nothing is started: set {} too",
            variable(pool, "REGISTER"),
            variable(pool, "COMMAND")
        )));
    }
    Ok(PoolSettings {
        pool: pool.clone(),
        command,
        size: parsed(take("SIZE")?, parse::count::<1, 1024>)?.unwrap_or(1),
        max_seconds: parsed(take("MAX_SECONDS")?, parse::max_seconds)?.unwrap_or(args.max_seconds),
        grace: parsed::<Duration>(take("STOP_SECONDS")?, parse::stop_seconds)?.unwrap_or(args.stop_seconds),
        register: register.unwrap_or_default(),
        restart: parsed(take("RESTART")?, word::<RestartRule>)?.unwrap_or_default(),
        start: StartTerms::default(),
    })
}

fn variable(pool: &PoolId, setting: &str) -> String {
    let name = pool.as_str().to_ascii_uppercase().replace('-', "_");
    format!("{PREFIX}{name}_{setting}")
}

fn parsed<T>(
    given: Option<(String, String)>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let Some((name, value)) = given else {
        return Ok(None);
    };
    let parsed = parse(&value).map_err(|remedy| ConfigError(format!("{name} is '{value}': {remedy}")))?;
    Ok(Some(parsed))
}

fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text.trim(), true).map_err(|_| {
        let words = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value);
        let words: Vec<_> = words.map(|word| word.get_name().to_owned()).collect();
        format!("give {}", words.join(" or "))
    })
}

/// Whether a variable that no pool has taken is meant for one. Where there are
/// no pools, other programs may have such names.
fn is_stray(args: &UpArgs, name: &str) -> bool {
    let of_a_pool = |setting: &str| {
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        rest.strip_suffix(setting)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('_'))
    };
    !args.pools.is_empty() || SETTINGS.into_iter().any(of_a_pool)
}

fn stray(args: &UpArgs, name: &str) -> String {
    let pools = &args.pools;
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    if let Some(remedy) = oracle::stray(args, rest) {
        return format!("{name} cannot be set: {remedy}");
    }
    let own = |pool: &&PoolId| rest.starts_with(variable(pool, "").trim_start_matches(PREFIX));
    let remedy = match pools.iter().find(own) {
        Some(pool) => format!("the pool {pool} has {}", SETTINGS.join(", ")),
        None if pools.is_empty() => "POOLS is not set; name its pool there, or leave it out".to_owned(),
        None => {
            let names: Vec<_> = pools.iter().map(ToString::to_string).collect();
            format!(
                "POOLS is '{}'; name its pool there, or leave it out",
                names.join(",")
            )
        }
    };
    format!("{name} is of no pool: {remedy}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    fn args(pools: &str) -> UpArgs {
        let mut line = vec!["up"];
        if !pools.is_empty() {
            line.extend(["--pools", pools]);
        }
        Line::try_parse_from(line).unwrap().up
    }

    fn read_all(pools: &str, variables: &[(&str, &str)]) -> Result<Vec<PoolSettings>, String> {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).into()));
        read(&args(pools), variables.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pool_has_its_variables_and_the_rest_by_default() {
        let pools = read_all(
            "web-2,jobs",
            &[
                ("POOL_WEB_2_COMMAND", "serve"),
                ("POOL_WEB_2_SIZE", "3"),
                ("POOL_JOBS_MAX_SECONDS", "5"),
                ("POOL_JOBS_RESTART", "on-failure"),
            ],
        );
        let [web, jobs] = &pools.unwrap()[..] else {
            panic!("two pools")
        };
        assert_eq!((web.command.as_deref(), web.size), (Some("serve"), 3));
        assert_eq!(
            (web.register, web.restart),
            (Register::Connect, RestartRule::Always)
        );
        assert_eq!(web.max_seconds, Duration::from_secs(60));
        assert_eq!((jobs.command.as_deref(), jobs.size), (None, 1));
        assert_eq!(jobs.max_seconds, Duration::from_secs(5));
        assert_eq!(jobs.restart, RestartRule::OnFailure);
    }

    #[test]
    fn a_variable_of_no_pool_is_named() {
        for (pools, name, words) in [
            ("web", "POOL_WEB_COMAND", "the pool web has COMMAND"),
            ("web", "POOL_WBE_COMMAND", "POOLS is 'web'"),
            ("", "POOL_WEB_COMMAND", "POOLS is not set"),
        ] {
            let error = read_all(pools, &[(name, "x")]).unwrap_err();
            assert!(error.contains(name) && error.contains(words), "{error}");
        }
        // A bot's own, where no pools are.
        assert!(read_all("", &[("POOL_SIZE", "5")]).is_ok());
    }

    #[test]
    fn a_bad_value_names_the_variable_the_value_and_the_remedy() {
        for (name, value, remedy) in [
            ("POOL_WEB_SIZE", "0", "whole number"),
            ("POOL_WEB_RESTART", "sometimes", "on-failure"),
            ("POOL_WEB_REGISTER", "no", "connect or process"),
            ("POOL_WEB_REGISTER", "process", "POOL_WEB_COMMAND"),
            ("POOL_WEB_STOP_SECONDS", "-1", "give seconds"),
        ] {
            let error = read_all("web", &[(name, value)]).unwrap_err();
            assert!(
                error.contains(name) && error.contains(value) && error.contains(remedy),
                "{error}"
            );
        }
        let error = read_all("web,web", &[]).unwrap_err();
        assert!(error.contains("'web' twice"), "{error}");
    }

    #[test]
    fn without_a_bot_the_pools_are_all_that_is_run() {
        assert!(args("web").is_without_bot(None));
        assert!(!args("web").is_without_bot(Some("t")));
        assert!(!args("").is_without_bot(None));
        let mut with_shards = args("web");
        with_shards.max_shards = Some(2);
        assert!(!with_shards.is_without_bot(None));
    }
}
