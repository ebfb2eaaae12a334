//! `shardman plan N`: what another number of shards would cost.
//! `shardman rescale N`: changes to it without a gap, and shows how far it is.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use shardman_core::wire::{PlanReport, PlanRequest, PlanView, RescaleView};

use super::EXIT_FAILURE;
use super::manager::{self, refusal};
use super::out::{print, say};
use crate::client::Answer;
use crate::config::{PlanArgs, RescaleArgs};

/// How often one looks how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a manager may be away while one watches.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::print_stdout, reason = "the answer is what the command is for")]
pub(super) async fn plan(args: PlanArgs) -> anyhow::Result<ExitCode> {
    let Some(shards) = args.shards else {
        let answer = manager::get(&args.manager, "/plan").await?;
        let view: PlanView = read(&answer)?;
        if args.json {
            println!("{}", String::from_utf8_lossy(&answer.body));
        } else {
            print!("{}", render_plan(&view));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let answer = manager::get(&args.manager, &format!("/plan?shards={shards}")).await?;
    let report: PlanReport = read(&answer)?;
    if args.json {
        println!("{}", String::from_utf8_lossy(&answer.body));
    } else {
        print!("{}", render(&report));
        if report.refusals.is_empty() {
            println!("Nothing speaks against it: `shardman rescale {shards}` does it without a gap.");
        }
    }
    Ok(if report.refusals.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILURE)
    })
}

pub(super) async fn rescale(args: RescaleArgs) -> anyhow::Result<ExitCode> {
    let request = PlanRequest { shards: args.shards };
    let body = serde_json::to_vec(&request).context("a number is JSON")?;
    let began = Instant::now();
    let answer = manager::post_json(&args.manager, "/plan", body).await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer)).context("nothing was changed");
    }
    let report: PlanReport = read(&answer)?;
    let words = match args.no_wait {
        true => "It goes on by itself; `shardman plan` shows how far it is.",
        false => "It goes on by itself: Ctrl-C only ends the watching.",
    };
    say(args.json, &report, &format!("{}{words}", render(&report)))?;
    if args.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    follow(&args, began).await
}

/// Says what happens, one line a change, until the number is reached.
async fn follow(args: &RescaleArgs, began: Instant) -> anyhow::Result<ExitCode> {
    let shards = args.shards;
    let mut last = String::new();
    let mut silent_since = None;
    loop {
        let line = match manager::get(&args.manager, "/plan")
            .await
            .and_then(|answer| read(&answer))
        {
            Ok(PlanView {
                rescale: Some(rescale),
                ..
            }) if rescale.to == shards => {
                silent_since = None;
                progress(&rescale)
            }
            Ok(PlanView { live, .. }) if live.len() == 1 && live.contains_key(&shards) => {
                let seconds = began.elapsed().as_secs_f64();
                let done = json!({ "state": "done", "shards": shards, "seconds": seconds });
                let words = format!("done: {shards} shards run, after {seconds:.0} s");
                say(args.json, &done, &words)?;
                return Ok(ExitCode::SUCCESS);
            }
            Ok(view) => {
                say(args.json, &view, render_plan(&view).trim_end())?;
                anyhow::bail!("somebody else asked for another number of shards");
            }
            Err(error) => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(error);
                }
                "the manager does not answer; the rescale goes on when it is back".to_owned()
            }
        };
        if line != last {
            if !args.json {
                print(&format!("{line}\n"))?;
            }
            last = line;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn progress(rescale: &RescaleView) -> String {
    let step = (rescale.done + 1).min(rescale.steps);
    let head = format!("step {step} of {}", rescale.steps);
    let (old, new) = (names(&rescale.old), names(&rescale.new));
    let waits = names(&rescale.waiting_for);
    match rescale.phase.as_deref() {
        Some("stand_by") if rescale.waiting_for.is_empty() => format!("{head}: {new} stand by"),
        Some("stand_by") => format!("{head}: {new} for {old}, waiting for {waits} to connect"),
        Some("go_live") => format!("{head}: {new} go live"),
        Some(_) => format!("{head}: {new} are live, {old} leave"),
        None => head,
    }
}

/// A few names; a large set is counted.
fn names(shards: &[shardman_core::ShardId]) -> String {
    match shards {
        [first, .., last] if shards.len() > 4 => format!("{first} to {last} ({} shards)", shards.len()),
        shards => shards
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn render(report: &PlanReport) -> String {
    let from = totals(&report.from);
    let how = match report.steps {
        0 => String::new(),
        1 => ", the new set beside the old".to_owned(),
        steps => format!(", in {steps} steps"),
    };
    let starts = match (report.starts_free, report.starts_left) {
        (Some(free), Some(left)) => format!(" of {free} that may be used today ({left} left)"),
        _ => String::new(),
    };
    let memory = report.peak_bytes.map_or_else(String::new, |bytes| {
        format!(", about {} MiB", bytes.div_ceil(1 << 20))
    });
    let mut text = format!("{from} -> {} shards{how}\n", report.to);
    if report.steps > 0 {
        text.push_str(&format!("  identifies  {}{starts}\n", report.identifies));
        text.push_str(&format!("  time        about {}\n", duration(report.seconds)));
        text.push_str(&format!(
            "  memory      {} shards beside the others at a time{memory}\n",
            report.peak_shards
        ));
    }
    for refusal in &report.refusals {
        text.push_str(&format!("! {refusal}\n"));
    }
    text
}

fn render_plan(view: &PlanView) -> String {
    let mut text = match (view.live.is_empty(), &view.waits) {
        (false, _) => format!("{} shards\n", totals(&view.live)),
        (true, Some(reason)) => format!("no shards yet: {reason}\n"),
        (true, None) => "no shards: this manager runs no bot, only further pools\n".to_owned(),
    };
    if let Some(rescale) = &view.rescale {
        text.push_str(&format!("rescale to {}: {}\n", rescale.to, rescale.cause));
        text.push_str(&format!("  {}\n", progress(rescale)));
    }
    if let Some(proposal) = &view.proposal {
        text.push_str(&format!("! {proposal}\n"));
    }
    text
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} minutes", seconds / 60.0)
    }
}

/// "4", or "6 of 8 and 1 of 4" while totals are mixed.
fn totals(live: &std::collections::BTreeMap<u32, u32>) -> String {
    if live.is_empty() {
        return "0".to_owned();
    }
    if let [(total, count)] = live.iter().collect::<Vec<_>>()[..]
        && total == count
    {
        return total.to_string();
    }
    let parts = live.iter().map(|(total, count)| format!("{count} of {total}"));
    parts.collect::<Vec<_>>().join(" and ")
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> anyhow::Result<T> {
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    serde_json::from_slice(&answer.body).context("the manager's answer makes no sense")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_told_in_words() {
        let report = PlanReport {
            from: [(4, 4)].into(),
            to: 8,
            steps: 4,
            identifies: 8,
            starts_free: Some(900),
            starts_left: Some(1000),
            seconds: 52.4,
            peak_shards: 2,
            peak_bytes: Some(31 << 20),
            refusals: vec!["no room".to_owned()],
        };
        let expected = "\
4 -> 8 shards, in 4 steps
  identifies  8 of 900 that may be used today (1000 left)
  time        about 52 s
  memory      2 shards beside the others at a time, about 31 MiB
! no room
";
        assert_eq!(render(&report), expected);
        let none = |waits: Option<&str>| PlanView {
            live: [].into(),
            waits: waits.map(str::to_owned),
            rescale: None,
            proposal: None,
        };
        let waits = none(Some("waiting for Discord"));
        assert_eq!(render_plan(&waits), "no shards yet: waiting for Discord\n");
        assert!(render_plan(&none(None)).starts_with("no shards: "));
        assert_eq!(totals(&[(4, 3), (8, 2)].into()), "3 of 4 and 2 of 8");
    }
}
