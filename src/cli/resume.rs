//! `shardman resume`: the cause of a halt is gone, start the fleet again.

use std::process::ExitCode;

use anyhow::Context as _;

use super::manager::{self, refusal};
use crate::config::ManagerArgs;

#[expect(clippy::print_stdout, reason = "a person waits for the word")]
pub(super) async fn resume(args: ManagerArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args, "/fleet/resume").await?;
    if answer.status.as_u16() == 204 {
        println!("the fleet starts again; watch it with `shardman status`");
        return Ok(ExitCode::SUCCESS);
    }
    Err(refusal(&answer)).context("the fleet was not resumed")
}
