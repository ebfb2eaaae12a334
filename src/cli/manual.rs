//! `shardman openapi`, `completions` and `man`: what the program knows of
//! itself, for other programs and for people.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use super::out::print;
use crate::config::{self, CompletionsArgs, ManArgs};
use crate::http::OPENAPI;

pub(super) fn openapi() -> anyhow::Result<ExitCode> {
    print(OPENAPI)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn completions(args: CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut declared(), "shardman", &mut script);
    put(&script)
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(declared()).render(&mut page)?;
        return put(&page);
    };
    let written = || format!("no manual can be written to '{}'", folder.display());
    std::fs::create_dir_all(folder).with_context(written)?;
    clap_mangen::generate_to(declared(), folder).with_context(written)?;
    Ok(ExitCode::SUCCESS)
}

/// Without what this host has in its environment: a manual is for all hosts.
fn declared() -> clap::Command {
    fn without_values(command: clap::Command) -> clap::Command {
        let hidden = command.mut_args(|arg| arg.hide_env_values(true));
        hidden.mut_subcommands(without_values)
    }
    without_values(config::command())
}

/// As it is, whatever is in it.
fn put(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}
