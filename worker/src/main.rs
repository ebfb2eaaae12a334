//! The worker as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use shardman_worker::{Exit, WorkerArgs, run};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Holds shards of a Discord bot for a Shardman manager.
///
/// Secrets come from the environment: SECRET (the manager's) and BOT_TOKEN.
///
/// Exit codes: 0 stopped as asked, 69 no manager was reached for MAX_SECONDS,
/// 74 the event sink is gone, 77 the manager refused the secret, 78 the
/// configuration, the token or the intents are wrong.
#[derive(Parser)]
#[command(name = "shardman-worker", version)]
struct Cli {
    #[command(flatten)]
    worker: WorkerArgs,
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        let code = if error.use_stderr() {
            Exit::BadConfig.code()
        } else {
            0
        };
        std::process::exit(code.into())
    });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(term), Ok(int)) => drop(tokio::spawn(stop_on_signal(term, int, shutdown.clone()))),
            (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "cannot catch signals"),
        }
        run(cli.worker, shutdown).await
    });
    // Whatever is still blocked, such as a pipe, does not hold up the exit.
    runtime.shutdown_background();
    exit.into()
}

/// The first signal asks to stop, the second one insists.
async fn stop_on_signal(mut term: Signal, mut int: Signal, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if shutdown.is_cancelled() {
            std::process::exit(130);
        }
        shutdown.cancel();
    }
}
