//! `shardman stop`: workers until they are started again, or all and the
//! manager. `shardman start`: what was stopped, or at the price of the reserve.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use shardman_core::wire::{FleetView, StoppingView};

use super::manager::{self, refusal};
use super::out::{print, say};
use crate::config::{ManagerArgs, StartArgs, StopArgs};

/// Between two looks at what still runs.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is waited for beyond the time that workers have to stop: the manager
/// kills them, and ends itself.
const BEYOND: Duration = Duration::from_secs(15);

pub(super) async fn stop(args: StopArgs) -> anyhow::Result<ExitCode> {
    match args.workers.is_empty() {
        true => stop_all(&args).await,
        false => stop_workers(&args).await,
    }
}

async fn stop_workers(args: &StopArgs) -> anyhow::Result<ExitCode> {
    for (place, worker) in args.workers.iter().enumerate() {
        want(&args.manager, worker, "stop")
            .await
            .with_context(|| left_undone("stopped", worker, &args.workers[..place]))?;
    }
    let stopped = json!({ "stopped": args.workers });
    let names = args.workers.join(" ");
    if args.no_wait {
        let words = format!("asked to stop: {names}; `shardman status` shows how far it is");
        say(args.json, &stopped, &words)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut within = None;
    let began = Instant::now();
    loop {
        let fleet = manager::fleet(&args.manager).await?;
        let left = not_stopped(&fleet, &args.workers);
        if left.is_empty() {
            let words = format!("stopped: {names}; it stays so until `shardman start {names}`");
            say(args.json, &stopped, &words)?;
            return Ok(ExitCode::SUCCESS);
        }
        // The manager says how long they have.
        let deadline = fleet
            .every_worker()
            .filter(|worker| left.contains(&worker.worker));
        let deadline = deadline
            .filter_map(|worker| worker.deadline_in)
            .fold(0.0, f64::max);
        let within = within.get_or_insert(Duration::from_secs_f64(deadline) + BEYOND);
        if began.elapsed() > *within {
            anyhow::bail!("they were told to stop and still run: {}", left.join(", "));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn not_stopped(fleet: &FleetView, workers: &[String]) -> Vec<String> {
    let stopped: BTreeSet<_> = fleet
        .every_worker()
        .filter(|worker| worker.state == "stopped")
        .map(|worker| &worker.worker)
        .collect();
    let left = workers.iter().filter(|worker| !stopped.contains(worker));
    left.cloned().collect()
}

pub(super) async fn start(args: StartArgs) -> anyhow::Result<ExitCode> {
    if args.spend_reserve {
        return spend_reserve(&args).await;
    }
    for (place, worker) in args.workers.iter().enumerate() {
        want(&args.manager, worker, "start")
            .await
            .with_context(|| left_undone("started", worker, &args.workers[..place]))?;
    }
    let words = format!(
        "asked to start: {}; `shardman status` shows what becomes of it",
        args.workers.join(" ")
    );
    say(args.json, &json!({ "started": args.workers }), &words)?;
    Ok(ExitCode::SUCCESS)
}

async fn spend_reserve(args: &StartArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args.manager, "/fleet/spend-reserve").await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer)).context("the reserve stays untouched");
    }
    let words = "the reserve may be used until Discord gives new session starts";
    say(args.json, &json!({ "reserve_released": true }), words)?;
    Ok(ExitCode::SUCCESS)
}

async fn want(args: &ManagerArgs, worker: &str, what: &str) -> anyhow::Result<()> {
    let name: String = form_urlencoded::byte_serialize(worker.as_bytes()).collect();
    let path = format!("/workers/{}/{what}", name.replace('+', "%20"));
    let answer = manager::post(args, &path).await?;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(refusal(&answer)),
    }
}

fn left_undone(what: &str, worker: &str, done: &[String]) -> String {
    match done {
        [] => format!("{worker} was not {what}"),
        done => format!("{worker} was not {what}, only {}", done.join(", ")),
    }
}

/// Stops the manager as a signal would, and says what happens until it is gone.
async fn stop_all(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::post(&args.manager, "/fleet/stop").await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer)).context("nothing was stopped");
    }
    let begun: StoppingView =
        serde_json::from_slice(&answer.body).with_context(|| manager::nonsense(&args.manager))?;
    let (workers, grace) = (begun.workers, begun.stop_seconds);
    if args.no_wait {
        let words = format!("the manager stops, and {workers} workers with it");
        say(args.json, &begun, &words)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        print(&format!(
            "stopping {workers} workers; those that still run after {grace:.0} s are killed\n"
        ))?;
    }
    let began = Instant::now();
    let mut told = BTreeSet::new();
    let within = Duration::from_secs_f64(grace) + BEYOND;
    loop {
        match manager::fleet(&args.manager).await {
            Ok(fleet) if !args.json => tell_ends(&fleet, &mut told)?,
            Ok(_) => {}
            // Nobody is there any more.
            Err(_) => break,
        }
        if began.elapsed() > within {
            let words = format!("after {:.0} s the manager still answers", within.as_secs_f64());
            if args.json {
                print(&format!("{}\n", json!({ "stopped": false, "workers": workers })))?;
            }
            bail!(words);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let words = format!("stopped: the manager and {workers} workers, after {seconds:.1} s");
    let value = json!({ "stopped": true, "workers": workers, "seconds": seconds });
    say(args.json, &value, &words)?;
    Ok(ExitCode::SUCCESS)
}

/// One line for each worker that has ended since the last look.
fn tell_ends(fleet: &FleetView, told: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let gone = |state: &str| !["running", "lapsed", "stopping"].contains(&state);
    for worker in fleet.every_worker().filter(|worker| gone(&worker.state)) {
        if told.insert(worker.worker.clone()) {
            let how = worker.last_exit.as_deref().unwrap_or("it did not run");
            print(&format!("  {}: {how}\n", worker.worker))?;
        }
    }
    Ok(())
}
