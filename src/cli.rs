//! The commands. Those that ask a running manager only call its HTTP API.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::config::{Command, ConfigError};
use crate::telemetry::Live;

mod check;
mod events;
mod logs;
mod manager;
mod manual;
mod out;
mod plan;
mod progress;
mod reload;
mod restart;
mod resume;
mod status;
mod stop;
mod table;
mod terminal;
mod text;
mod up;
mod why;

/// Exit code for a configuration that cannot be used (`EX_CONFIG`, sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Exit code for anything else that went wrong.
pub const EXIT_FAILURE: u8 = 1;

/// Exit code after a second signal (128 + SIGINT).
const EXIT_SIGNALLED: u8 = 130;

/// Runs a command to its end.
pub async fn run(command: Command, live: Live) -> ExitCode {
    let done = match command {
        Command::Up(args) => up::up(*args, &live).await,
        Command::Check(args) => check::check(*args).await,
        Command::Status(args) => status::status(args).await,
        Command::Logs(args) => logs::logs(args).await,
        Command::Why(args) => why::why(args).await,
        Command::Events(args) => events::events(args).await,
        Command::Plan(args) => plan::plan(args).await,
        Command::Rescale(args) => plan::rescale(args).await,
        Command::Restart(args) => restart::restart(args).await,
        Command::Reload(args) => reload::reload(args).await,
        Command::Resume(args) => resume::resume(args).await,
        Command::Start(args) => stop::start(args).await,
        Command::Stop(args) => stop::stop(args).await,
        Command::Openapi => manual::openapi(),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::man(&args),
        Command::Sim(args) => sim(*args).await,
        Command::Worker(args) => worker(*args).await,
    };
    live.clear();
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn sim(args: shardman_sim::cli::SimArgs) -> anyhow::Result<ExitCode> {
    let stop = signals()?;
    shardman_sim::cli::run(args, async move { stop.cancelled().await }).await?;
    Ok(ExitCode::SUCCESS)
}

async fn worker(args: shardman_worker::WorkerArgs) -> anyhow::Result<ExitCode> {
    Ok(shardman_worker::run(args, signals()?).await.into())
}

/// Says what went wrong, in one line.
#[expect(clippy::print_stderr, reason = "this is where a command's failure is said")]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("shardman: {error:#}");
    let config = error.downcast_ref::<ConfigError>().is_some();
    ExitCode::from(if config { EXIT_CONFIG } else { EXIT_FAILURE })
}

/// Cancelled at the first SIGINT or SIGTERM; the second ends the process.
fn signals() -> std::io::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        signals.next().await;
        cancelled.cancel();
        signals.next().await;
        std::process::exit(EXIT_SIGNALLED.into());
    });
    Ok(token)
}

/// SIGINT and SIGTERM, as they come.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
