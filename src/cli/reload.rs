//! `shardman reload`: the manager reads `.env` again, and says what changed.

use std::process::ExitCode;

use anyhow::Context as _;
use shardman_core::reload::{ReloadChange, ReloadView};

use super::manager::{self, refusal};
use super::status::table;
use crate::config::StatusArgs;

#[expect(clippy::print_stdout, reason = "a person or a script waits for the word")]
pub(super) async fn reload(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args.manager, "/reload").await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer)).context("nothing was changed");
    }
    let view: ReloadView =
        serde_json::from_slice(&answer.body).context("the manager's answer makes no sense")?;
    if args.json {
        println!("{}", String::from_utf8_lossy(&answer.body));
    } else {
        print!("{}", render(&view));
    }
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
    };
    let mut rows = vec![["VARIABLE", "BEFORE", "NOW", "EFFECT"].map(str::to_owned)];
    rows.extend(view.changes.iter().map(line));
    let mut text = table(&rows);
    text.push_str(&freed);
    if view.workers_lag() {
        text.push_str("\nfor the workers that run: shardman restart --all\n");
    }
    text
}
