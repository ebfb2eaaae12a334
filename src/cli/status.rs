//! `shardman status`: the fleet as a table, again and again with `--watch`, or
//! as JSON for scripts.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use shardman_core::wire::{FleetView, PoolView};

use super::out::print;
use super::{manager, terminal};
use crate::client::Answer;
use crate::config::StatusArgs;

mod group;
mod view;
mod watch;

pub(super) use view::workers_table;

/// Exit code when the manager runs and the fleet is not whole.
pub(super) const EXIT_NOT_READY: u8 = 3;

/// Between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    if args.watch && !args.json {
        anyhow::ensure!(
            io::stdout().is_terminal(),
            "--watch needs a terminal; with --json it prints one line a second"
        );
        return watch::watch(&args).await;
    }
    loop {
        let (answer, fleet) = look(&args).await?;
        let text = match args.json {
            true => format!("{}\n", String::from_utf8_lossy(&answer.body)),
            false => view::render(&fleet, few(&args), terminal::width()),
        };
        if !print(&text)? || !args.watch {
            return Ok(verdict(&fleet));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many shards are shown one by one.
fn few(args: &StatusArgs) -> usize {
    match args.all {
        true => usize::MAX,
        false => view::FEW,
    }
}

async fn look(args: &StatusArgs) -> anyhow::Result<(Answer, FleetView)> {
    let answer = manager::get(&args.manager, "/fleet").await?;
    if !answer.status.is_success() {
        return Err(manager::refusal(&answer));
    }
    let fleet = serde_json::from_slice(&answer.body).with_context(|| manager::nonsense(&args.manager))?;
    Ok((answer, fleet))
}

fn verdict(fleet: &FleetView) -> ExitCode {
    match is_whole(fleet) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_NOT_READY),
    }
}

/// Every shard is ready, and every child of another pool holds its slot, has
/// done its work, has none to do, or was stopped by an operator. What externals may take,
/// nobody has to have.
fn is_whole(fleet: &FleetView) -> bool {
    let pool_is_whole = |pool: &PoolView| {
        let mut workers = pool.workers.iter();
        workers.all(|worker| match worker.state.as_str() {
            "running" => worker.holding == worker.shards,
            _ if worker.condition == "spare" => true,
            state => ["resting", "stopped"].contains(&state),
        })
    };
    let something = fleet.planned > 0 || !fleet.pools.is_empty();
    something && fleet.ready == fleet.planned && fleet.pools.iter().all(pool_is_whole)
}
