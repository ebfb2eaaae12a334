//! `shardman restart`: workers one at a time, followed until the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use shardman_core::wire::{FleetView, RestartView, WorkerView};

use super::manager::{self, refusal};
use super::out::say;
use super::status::workers_table;
use super::terminal;
use crate::config::RestartArgs;

/// Exit code when no worker is named: what clap uses for a wrong command line.
const EXIT_USAGE: u8 = 2;

/// Exit code when a restarted worker failed and the rest was left alone.
const EXIT_PAUSED: u8 = 3;

/// The pool of the bot's shards.
const DISCORD: &str = "discord";

/// Between two looks at the fleet.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long the manager may be away, restarted itself, before we give up.
const AWAY: Duration = Duration::from_secs(60);

/// What takes longer gets a line of its own.
const SLOW: Duration = Duration::from_secs(5);

pub(super) async fn restart(args: RestartArgs) -> anyhow::Result<ExitCode> {
    if args.cancel {
        return cancel(&args).await;
    }
    if args.pause || args.go_on {
        return hold(&args).await;
    }
    let names_nobody = args.workers.is_empty() && args.shards.is_empty();
    if names_nobody && !args.all && args.pool.is_none() {
        return explain(&args).await;
    }
    if let Some(pool) = &args.pool {
        return restart_in(&args, pool, &[]).await;
    }
    let fleet = manager::fleet(&args.manager).await?;
    let asked = by_pool(&args, &fleet);
    if asked.is_empty() {
        // The manager knows why not.
        return restart_in(&args, DISCORD, &args.workers).await;
    }
    for (place, (pool, workers)) in asked.iter().enumerate() {
        if asked.len() > 1 && !args.json {
            say_pool(pool);
        }
        let ended = restart_in(&args, pool, workers).await;
        let ended = match place {
            0 => ended,
            _ => ended.with_context(|| format!("it is done in {}", names(&asked[..place]))),
        };
        if !matches!(ended, Ok(ExitCode::SUCCESS)) {
            say_left(&asked[place + 1..]);
            return ended;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "a person waits for the word")]
fn say_pool(pool: &str) {
    println!("pool {pool}:");
}

fn names(pools: &[(String, Vec<String>)]) -> String {
    let names: Vec<_> = pools.iter().map(|(pool, _)| pool.as_str()).collect();
    names.join(", ")
}

/// What an early end leaves as it was.
#[expect(clippy::print_stderr, reason = "this is where a command's failure is said")]
fn say_left(pools: &[(String, Vec<String>)]) {
    if !pools.is_empty() {
        eprintln!("shardman: nothing was restarted in {}", names(pools));
    }
}

/// What is asked for, pool by pool.
fn by_pool(args: &RestartArgs, fleet: &FleetView) -> Vec<(String, Vec<String>)> {
    let others = fleet.pools.iter().map(|pool| (&*pool.pool, &pool.workers));
    let all = std::iter::once((DISCORD, &fleet.workers)).chain(others);
    let of_pool = |(pool, workers): (&str, &Vec<WorkerView>)| {
        let named = workers.iter().map(|worker| &worker.worker);
        let named: Vec<_> = named.filter(|worker| args.workers.contains(worker)).collect();
        let runs = workers.iter().any(|worker| worker.pid.is_some());
        let asked = if args.all { runs } else { !named.is_empty() };
        asked.then(|| (pool.to_owned(), named.into_iter().cloned().collect()))
    };
    let known = |worker: &String| fleet.every_worker().any(|known| known.worker == *worker);
    if !args.workers.iter().all(known) {
        return Vec::new();
    }
    all.filter_map(of_pool).collect()
}

/// Restarts these workers of a pool, or all of it, and follows it to its end.
async fn restart_in(args: &RestartArgs, pool: &str, workers: &[String]) -> anyhow::Result<ExitCode> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("pool", pool);
    for worker in workers {
        query.append_pair("worker", worker);
    }
    for shard in &args.shards {
        query.append_pair("shard", &shard.to_string());
    }
    if let Some(canary) = args.canary {
        query.append_pair("canary", &canary.as_secs_f64().to_string());
    }
    let path = format!("/fleet/restart?{}", query.finish());
    let answer = manager::post(&args.manager, &path).await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer)).with_context(|| format!("nothing of the pool {pool} was restarted"));
    }
    if answer.body.is_empty() {
        return started(args);
    }
    let begun: RestartView =
        serde_json::from_slice(&answer.body).context("the manager's answer makes no sense")?;
    if args.no_wait {
        return tell_end(
            args,
            &begun,
            "the restart has begun; watch it with `shardman status`",
        );
    }
    follow(args, pool, begun).await
}

fn started(args: &RestartArgs) -> anyhow::Result<ExitCode> {
    let words = "nothing of that ran; it starts now, watch it with `shardman status --watch`";
    say(args.json, &json!({ "state": "started" }), words)?;
    Ok(ExitCode::SUCCESS)
}

async fn hold(args: &RestartArgs) -> anyhow::Result<ExitCode> {
    let (path, state, done, not_done) = if args.pause {
        (
            "/fleet/restart/pause",
            "paused",
            "no further worker is restarted until `shardman restart --continue`",
            "not every restart was paused",
        )
    } else {
        (
            "/fleet/restart/continue",
            "running",
            "the restart goes on; watch it with `shardman status`",
            "not every restart goes on",
        )
    };
    let answer = manager::post(&args.manager, path).await?;
    if answer.status.is_success() {
        say(args.json, &json!({ "state": state }), done)?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(refusal(&answer)).context(not_done)
}

async fn cancel(args: &RestartArgs) -> anyhow::Result<ExitCode> {
    let answer = manager::delete(&args.manager, "/fleet/restart").await?;
    if answer.status.is_success() {
        let words = "no further worker is restarted";
        say(args.json, &json!({ "state": "cancelled" }), words)?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(refusal(&answer)).context("not every restart was cancelled")
}

#[expect(clippy::print_stderr, reason = "this is where a command's failure is said")]
async fn explain(args: &RestartArgs) -> anyhow::Result<ExitCode> {
    let fleet = manager::fleet(&args.manager).await?;
    eprintln!(
        "shardman: say which workers to restart, or --all; one is stopped at a time, the next when the fleet is whole again"
    );
    let workers: Vec<_> = fleet.every_worker().cloned().collect();
    let width = terminal::size(std::io::stderr()).map(|(columns, _)| columns);
    anstream::eprint!("\n{}", workers_table(&workers, width));
    Ok(ExitCode::from(EXIT_USAGE))
}

/// Says what happens until the restart that was `begun` has an end.
async fn follow(args: &RestartArgs, pool: &str, begun: RestartView) -> anyhow::Result<ExitCode> {
    let mut told = Told::default();
    let mut answered = Instant::now();
    let mut restart = begun.clone();
    loop {
        match restart.state.as_str() {
            "done" => {
                let text = format!("done: {} of {} workers", restart.done, restart.total);
                return tell_end(args, &restart, &text);
            }
            "cancelled" => {
                tell_end(args, &restart, "")?;
                bail!("the restart was cancelled");
            }
            "paused" => {
                let text = format!(
                    "{}\nit goes on once the fleet is whole (after a canary or a pause with `shardman restart --continue`); --cancel ends it",
                    progress(&restart)
                );
                tell_end(args, &restart, &text)?;
                return Ok(ExitCode::from(EXIT_PAUSED));
            }
            _ => {}
        }
        if !args.json {
            told.tell(&restart);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        match manager::fleet(&args.manager).await {
            Ok(fleet) => {
                answered = Instant::now();
                restart = same(fleet, pool, &begun)?;
            }
            // A manager that is restarted itself goes on with it.
            Err(error) if answered.elapsed() > AWAY => return Err(error),
            Err(_) => {}
        }
    }
}

fn same(fleet: FleetView, pool: &str, begun: &RestartView) -> anyhow::Result<RestartView> {
    let mut others = fleet.pools.into_iter().filter(|other| other.pool == pool);
    let restart = match pool {
        DISCORD => fleet.restart,
        _ => others.next().and_then(|pool| pool.restart),
    };
    match restart {
        Some(restart) if restart.asked_at == begun.asked_at => Ok(restart),
        Some(_) => bail!("another restart has begun meanwhile"),
        None => bail!("the manager knows nothing of the restart any more"),
    }
}

#[expect(clippy::print_stdout, reason = "a person or a script waits for the word")]
fn tell_end(args: &RestartArgs, restart: &RestartView, text: &str) -> anyhow::Result<ExitCode> {
    if args.json {
        println!("{}", serde_json::to_string(restart)?);
    } else if !text.is_empty() {
        println!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What was said last, and when.
#[derive(Default)]
struct Told {
    worker: Option<String>,
    waiting: Option<(String, Instant)>,
}

impl Told {
    #[expect(clippy::print_stdout, reason = "a person waits and wants to know for what")]
    fn tell(&mut self, restart: &RestartView) {
        if restart.current.is_some() && restart.current != self.worker {
            self.worker.clone_from(&restart.current);
            self.waiting = None;
            let without_wait = RestartView {
                waiting_for: None,
                ..restart.clone()
            };
            println!("{}", progress(&without_wait));
        }
        let Some(waiting_for) = &restart.waiting_for else {
            return;
        };
        let (said, since) = self
            .waiting
            .get_or_insert_with(|| (String::new(), Instant::now()));
        if said != waiting_for && since.elapsed() > SLOW {
            println!("  waits for {waiting_for}");
            self.waiting = Some((waiting_for.clone(), Instant::now()));
        }
    }
}

/// How far a restart is, in one line.
pub(super) fn progress(restart: &RestartView) -> String {
    let (done, total) = (restart.done, restart.total);
    if let Some(reason) = &restart.paused {
        return format!("the restart is paused after {done} of {total} workers: {reason}");
    }
    let waiting = restart
        .waiting_for
        .as_ref()
        .map_or_else(String::new, |what| format!(", waits for {what}"));
    match &restart.current {
        Some(worker) => format!("restarting {worker} ({} of {total}){waiting}", done + 1),
        None => format!("{done} of {total} workers restarted{waiting}"),
    }
}
