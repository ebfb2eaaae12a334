//! The `shardman-oracle` binary: parse, log, run, exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use shardman_oracle::config::{self, Command, Stop};
use shardman_oracle::{bench, scout, serve};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Stop::Usage(error)) => error.exit(),
        Err(Stop::Config(error)) => return fail(config::CONFIG, &error),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // They would go to standard error as well, and panic where it is full.
        .log_internal_errors(false)
        .with_target(false)
        .init();
    let ended = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Scout(args) => scout::main(*args),
        Command::Bench(args) => bench::run(&args),
    };
    match ended {
        Ok(()) => ExitCode::from(config::OK),
        Err(failed) => fail(failed.code, &failed.message),
    }
}

/// One line on standard error, which may be closed.
fn fail(code: u8, message: &dyn std::fmt::Display) -> ExitCode {
    drop(writeln!(std::io::stderr(), "shardman-oracle: {message}"));
    ExitCode::from(code)
}
