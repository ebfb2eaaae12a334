//! `shardman resume`: the cause of a halt is gone, start the fleet again.
//! `shardman start --spend-reserve`: start it at the price of the reserve.

use std::process::ExitCode;

use anyhow::Context as _;

use super::manager::{self, refusal};
use crate::config::{ManagerArgs, StartArgs};

#[expect(clippy::print_stdout, reason = "a person waits for the word")]
pub(super) async fn resume(args: ManagerArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args, "/fleet/resume").await?;
    if answer.status.is_success() {
        println!("the fleet starts again; watch it with `shardman status`");
        return Ok(ExitCode::SUCCESS);
    }
    Err(refusal(&answer)).context("the fleet was not resumed")
}

#[expect(clippy::print_stdout, reason = "a person waits for the word")]
pub(super) async fn start(args: StartArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args.manager, "/fleet/spend-reserve").await?;
    if answer.status.is_success() {
        println!("the reserve may be used until Discord gives new session starts");
        return Ok(ExitCode::SUCCESS);
    }
    Err(refusal(&answer)).context("the reserve stays untouched")
}
