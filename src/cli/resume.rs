//! `shardman resume`: the cause of a halt is gone, start the fleet again.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::manager::{self, refusal};
use super::out::say;
use crate::config::AskArgs;

pub(super) async fn resume(args: AskArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args.manager, "/fleet/resume").await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer)).context("the fleet was not resumed");
    }
    let words = "the fleet starts again; watch it with `shardman status --watch`";
    say(args.json, &json!({ "resumed": true }), words)?;
    Ok(ExitCode::SUCCESS)
}
