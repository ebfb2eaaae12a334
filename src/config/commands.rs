//! The flags of the commands that talk to a running manager.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, Command};
use clap_complete::Shell;
use shardman_core::plan::MAX_SHARDS;

use super::{UpArgs, parse};

/// A manager, and how its answer is shown.
#[derive(Args, Clone, Debug)]
pub struct AskArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Print JSON for scripts.
    #[arg(long)]
    pub json: bool,
}

/// What to show of which manager.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Show it again every second, in place, until `q` is typed.
    #[arg(short, long)]
    pub watch: bool,

    /// Show every shard and worker, also where many are alike.
    #[arg(short, long)]
    pub all: bool,

    /// Print JSON for scripts; with --watch one line a second.
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

    /// Print JSON for scripts, an object for each line.
    #[arg(long)]
    pub json: bool,
}

/// What to explain.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// A shard (`3`, or `3/8`) or a worker, as `shardman status` names them.
    #[arg(value_name = "SHARD|WORKER")]
    pub subject: String,

    /// How many of the last events to tell.
    #[arg(short = 'n', long, value_name = "EVENTS", default_value = "12", value_parser = parse::count::<1, 1000>)]
    pub events: u32,

    /// Print JSON for scripts.
    #[arg(long)]
    pub json: bool,
}

/// Which events to show.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Only those of this shard: `3`, or `3/8`.
    #[arg(long, value_name = "SHARD")]
    pub shard: Option<String>,

    /// Only those of this worker.
    #[arg(long, value_name = "WORKER")]
    pub worker: Option<String>,

    /// Only those of this pool; `--shard` then means a slot of it.
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,

    /// Only those of this kind, such as `worker_ended`.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,

    /// How many of the last events to show.
    #[arg(short = 'n', long, value_name = "EVENTS", default_value = "50", value_parser = parse::count::<0, 1000>)]
    pub events: u32,

    /// Go on with what happens, also over restarts of the manager.
    #[arg(short, long)]
    pub follow: bool,

    /// Print JSON for scripts, one event a line.
    #[arg(long)]
    pub json: bool,
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

    /// Print JSON for scripts: the plan, and how it ended.
    #[arg(long)]
    pub json: bool,
}

/// Which workers to restart.
#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Workers to restart, as `shardman status` names them.
    #[arg(value_name = "WORKER")]
    pub workers: Vec<String>,

    /// Restart every worker, of one pool after the other.
    #[arg(long, conflicts_with = "workers")]
    pub all: bool,

    /// Restart the workers of this pool.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["workers", "all"])]
    pub pool: Option<String>,

    /// Restart whoever holds the shard of this number; may be repeated.
    #[arg(long = "shard", value_name = "N", conflicts_with = "all", value_parser = parse::count::<0, { MAX_SHARDS - 1 }>)]
    pub shards: Vec<u32>,

    /// Go on after the first worker only when it has been healthy for so many seconds; if it fails, wait for --continue.
    #[arg(long, value_name = "SECONDS", value_parser = parse::canary_seconds)]
    pub canary: Option<Duration>,

    /// Stop no further worker for now. The one that was stopped comes back.
    #[arg(long, conflicts_with_all = ["workers", "all", "pool", "shards", "canary"])]
    pub pause: bool,

    /// Go on with the restart that was paused.
    #[arg(long = "continue", conflicts_with_all = ["workers", "all", "pool", "shards", "canary", "pause"])]
    pub go_on: bool,

    /// End the restart that is under way: no further worker is stopped.
    #[arg(long, conflicts_with_all = ["workers", "all", "pool", "shards", "canary", "pause", "go_on"])]
    pub cancel: bool,

    /// Ask for it and do not wait for its end.
    #[arg(long)]
    pub no_wait: bool,

    /// Print JSON for scripts: how the restart stands in the end.
    #[arg(long)]
    pub json: bool,
}

/// What to start, or at what price.
#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Workers to start that were stopped, or that wait for their next start.
    #[arg(value_name = "WORKER", required_unless_present = "spend_reserve")]
    pub workers: Vec<String>,

    /// Use the session starts that are kept in reserve, and let workers exceed their share, until Discord gives new ones. Discord resets the token of a bot that uses up all.
    #[arg(long, conflicts_with = "workers")]
    pub spend_reserve: bool,

    /// Print JSON for scripts.
    #[arg(long)]
    pub json: bool,
}

/// What to stop.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    #[command(flatten)]
    pub manager: ManagerArgs,

    /// Workers to stop until `shardman start WORKER`; without one, the manager stops and all workers with it.
    #[arg(value_name = "WORKER")]
    pub workers: Vec<String>,

    /// Ask for it and do not wait for the end.
    #[arg(long)]
    pub no_wait: bool,

    /// Print JSON for scripts.
    #[arg(long)]
    pub json: bool,
}

/// What to check.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    pub up: UpArgs,

    /// Print JSON for scripts, on standard output.
    #[arg(long)]
    pub json: bool,
}

/// For which shell.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell that is to complete the names of commands and flags.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Where to write the manual.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write a page for each command into this folder, instead of the first one to standard output.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Where this host reaches a listener that may listen everywhere.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The address of a manager with this `LISTEN`. What makes no sense there is
/// for `up` to refuse, and a port that is any free one tells nothing.
fn url_of(listen: &str) -> Option<String> {
    let address = reachable(parse::address(listen).ok()?);
    (address.port() != 0).then(|| format!("http://{address}"))
}

/// Commands that find `LISTEN` in the environment look for the manager there.
pub(super) fn ask_where_it_listens(command: Command) -> Command {
    let Some(url) = std::env::var("LISTEN").ok().and_then(|listen| url_of(&listen)) else {
        return command;
    };
    let look_there = move |arg: Arg| match arg.get_id() == "url" {
        true => arg.default_value(url.clone()),
        false => arg,
    };
    command.mut_subcommands(move |subcommand| subcommand.mut_args(look_there.clone()))
}

/// Which manager to ask.
#[derive(Args, Clone, Debug)]
pub struct ManagerArgs {
    /// Where the manager's HTTP API is; unset, where `LISTEN` says.
    #[arg(
        long,
        env = "SHARDMAN_URL",
        default_value = "http://127.0.0.1:7878",
        value_name = "URL",
        value_parser = parse::manager_url
    )]
    pub url: String,

    /// The manager's data folder, for the secret it made if none was set.
    #[arg(long, env = "DATA_DIR", default_value = "data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_listens_everywhere_is_asked_on_this_host() {
        for (listen, url) in [
            ("127.0.0.1:9000", Some("http://127.0.0.1:9000")),
            ("0.0.0.0:9000", Some("http://127.0.0.1:9000")),
            ("[::]:9000", Some("http://[::1]:9000")),
            ("10.1.2.3:80", Some("http://10.1.2.3:80")),
            ("127.0.0.1:0", None),
            ("9000", None),
            ("", None),
        ] {
            assert_eq!(url_of(listen).as_deref(), url, "{listen}");
        }
    }
}
