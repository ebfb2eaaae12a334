//! `shardman reload`: the manager reads `.env` again, and says what changed.

use std::process::ExitCode;

use anyhow::Context as _;
use shardman_core::reload::{ReloadChange, ReloadView};

use super::manager::{self, refusal};
use super::out::print;
use super::table::{Column, Table};
use super::terminal;
use super::text::Text;
use crate::config::AskArgs;

pub(super) async fn reload(args: AskArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args.manager, "/reload").await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer)).context("nothing was changed");
    }
    let view: ReloadView =
        serde_json::from_slice(&answer.body).context("the manager's answer makes no sense")?;
    let text = match args.json {
        true => format!("{}\n", String::from_utf8_lossy(&answer.body)),
        false => render(&view),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn render(view: &ReloadView) -> String {
    let freed = match view.freed.as_slice() {
        [] => String::new(),
        freed => format!("\nno longer halted: {}\n", freed.join(", ")),
    };
    if view.changes.is_empty() {
        return format!("nothing changed\n{freed}");
    }
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
    let line = |change: &ReloadChange| {
        [
            change.variable.clone(),
            shown(&change.before),
            shown(&change.now),
            change.effect.as_str().to_owned(),
        ]
        .map(Text::from)
    };
    let mut table = Table::new([
        Column::new("VARIABLE", 0),
        Column::new("BEFORE", 1).at_least(8),
        Column::new("NOW", 0).at_least(8),
        Column::new("EFFECT", 0).at_least(8),
    ]);
    view.changes.iter().map(line).for_each(|row| table.row(row));
    let mut text = table.render(terminal::width());
    text.push_str(&freed);
    if view.workers_lag() {
        text.push_str("\nfor the workers that run: shardman restart --all\n");
    }
    text
}
