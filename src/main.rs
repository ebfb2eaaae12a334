//! The `shardman` binary: parse, log, run, exit code.

use std::process::ExitCode;

use shardman::cli;
use shardman::config::{self, Command, Stop};
use shardman::{supervisor, telemetry};

fn main() -> ExitCode {
    if let Some(code) = supervisor::exec_child(std::env::args_os()) {
        return code;
    }
    let parsed = config::load_dotenv(std::env::args_os())
        .map_err(Stop::Config)
        .and_then(|dotenv| config::parse(std::env::args_os(), &dotenv));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(Stop::Usage(error)) => error.exit(),
        Err(Stop::Config(error)) => return cli::fail(&error.into()),
    };
    let live = telemetry::start();
    // A worker takes two threads whatever the host has: many of them share it.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Worker(_)) {
        runtime.worker_threads(2);
    }
    match runtime.enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(cli.command, live));
            // What is still blocked, such as a pipe, does not hold up the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => cli::fail(&anyhow::Error::new(error).context("no runtime can be started")),
    }
}
