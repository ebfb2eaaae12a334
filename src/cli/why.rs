//! `shardman why`: in what state a shard or a worker is, since when, and what
//! led there.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::anyhow;
use serde::Serialize;
use shardman_core::ShardId;
use shardman_core::timeline::{Event, EventsView, Kind};
use shardman_core::wall::about;
use shardman_core::wire::{FleetView, ShardView, WorkerView};

use super::events::{ago, get, place, wrapped};
use super::manager;
use super::out::print;
use crate::config::WhyArgs;

/// Workers that do not run that a shard without a holder names.
const RESTING: usize = 4;

/// What is asked about.
enum Subject {
    Shard(ShardId),
    Worker(String),
}

/// What scripts get, one line for each shard that goes by the number.
#[derive(Serialize)]
struct Story<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<ShardId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    state: &'a str,
    /// Wall clock, milliseconds since 1970.
    since_ms: Option<u64>,
    /// The newest first.
    events: &'a [&'a Event],
}

pub(super) async fn why(args: WhyArgs) -> anyhow::Result<ExitCode> {
    let fleet = manager::fleet(&args.manager).await?;
    let name = args.subject.as_str();
    let is_worker = fleet.every_worker().any(|worker| worker.worker == name);
    let is_shard = !is_worker && name.starts_with(|first: char| first.is_ascii_digit());
    let filter = if is_shard { "shard" } else { "worker" };
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let path = format!("/events?{filter}={escaped}&causes=true&limit=1000");
    // A number that makes no sense names no shard.
    let view = get(&args.manager, &path).await;
    let mut subjects = Vec::new();
    if is_shard {
        let view = view.as_ref().map_or(&[][..], |view| &view.events);
        subjects.extend(shards(name, &fleet, view).into_iter().map(Subject::Shard));
    } else {
        let worked = |event: &Event| event.worker.as_ref().is_some_and(|known| known.as_str() == name);
        if is_worker || view.as_ref().is_ok_and(|view| view.events.iter().any(worked)) {
            subjects.push(Subject::Worker(name.to_owned()));
        }
    }
    if subjects.is_empty() {
        return Err(unknown(name, is_shard, &fleet));
    }
    let view = view?;
    let most = usize::try_from(args.events).unwrap_or(usize::MAX);
    for (place, subject) in subjects.iter().enumerate() {
        let told = tell(subject, &fleet, &view, most, args.json)?;
        let gap = if place > 0 && !args.json { "\n" } else { "" };
        if !print(&format!("{gap}{told}"))? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The shards that go by this name, there now or told of.
fn shards(name: &str, fleet: &FleetView, events: &[Event]) -> Vec<ShardId> {
    let called = |shard: &ShardId| shard.to_string() == name || shard.number().to_string() == name;
    let mut found: Vec<_> = fleet
        .shards
        .iter()
        .map(|view| view.shard)
        .filter(called)
        .collect();
    if found.is_empty() {
        found = events
            .iter()
            .filter(|event| event.pool.is_none())
            .filter_map(|event| event.shard)
            .filter(called)
            .collect();
        found.sort_unstable();
        found.dedup();
    }
    found
}

fn unknown(name: &str, is_shard: bool, fleet: &FleetView) -> anyhow::Error {
    if is_shard {
        let shards: Vec<_> = fleet.shards.iter().map(|view| view.shard.to_string()).collect();
        return anyhow!("there is no shard {name}; {}", those_there(&shards));
    }
    let workers: Vec<_> = fleet.every_worker().map(|view| view.worker.clone()).collect();
    anyhow!("there is no worker {name:?}; {}", those_there(&workers))
}

fn those_there(names: &[String]) -> String {
    match names {
        [] => "there is none now".to_owned(),
        [one] => format!("there is {one}"),
        few @ [_, ..] if few.len() <= 12 => format!("there are {}", few.join(", ")),
        [first, .., last] => format!("there are {} of them, {first} to {last}", names.len()),
    }
}

fn tell(
    subject: &Subject,
    fleet: &FleetView,
    view: &EventsView,
    most: usize,
    json: bool,
) -> anyhow::Result<String> {
    let is_own = |event: &&Event| match subject {
        Subject::Shard(shard) => event.pool.is_none() && event.shard == Some(*shard),
        Subject::Worker(name) => {
            event.shard.is_none()
                && event
                    .worker
                    .as_ref()
                    .is_some_and(|worker| worker.as_str() == name)
        }
    };
    let own: Vec<_> = view.events.iter().rev().filter(is_own).collect();
    let since_ms = since(&own);
    let story = with_causes(&own[..own.len().min(most)], &view.events);
    let age = since_ms.map(|at| about(view.now_ms.saturating_sub(at) as f64 / 1000.0));
    let (state, headline) = match subject {
        Subject::Shard(shard) => {
            let found = fleet.shards.iter().find(|view| view.shard == *shard);
            let state = found.map_or("not_planned", |view| view.state.as_str());
            (state, of_shard(*shard, found, age))
        }
        Subject::Worker(name) => {
            let found = fleet.every_worker().find(|view| view.worker == *name);
            let state = found.map_or("gone", |view| view.state.as_str());
            (state, of_worker(name, found))
        }
    };
    if json {
        let (shard, worker) = match subject {
            Subject::Shard(shard) => (Some(*shard), None),
            Subject::Worker(name) => (None, Some(name.as_str())),
        };
        let story = Story {
            shard,
            worker,
            state,
            since_ms,
            events: &story,
        };
        return Ok(format!("{}\n", serde_json::to_string(&story)?));
    }
    let mut text = wrapped("", &headline);
    if !["ready", "leased", "running"].contains(&state) {
        for trouble in &fleet.trouble {
            text.push_str(&wrapped("  ! ", trouble));
        }
    }
    // Nobody holds it because those who could do not run.
    if ["free", "held_back"].contains(&state) {
        let resting = fleet.workers.iter().filter(|worker| worker.state != "running");
        for worker in resting.take(RESTING) {
            text.push_str(&wrapped("  ! ", &of_worker(&worker.worker, Some(worker))));
        }
    }
    for event in &story {
        let time = format!("  {:>10}  ", ago(view.now_ms, event.at_ms));
        let cause = match (subject, place(event)) {
            (Subject::Shard(ours), Some(_)) if event.shard == Some(*ours) => event.cause.clone(),
            (_, Some(place)) => format!("{place} {}", event.cause),
            (_, None) => event.cause.clone(),
        };
        text.push_str(&wrapped(&time, &cause));
    }
    if story.is_empty() {
        text.push_str("  nothing that is kept led there\n");
    }
    Ok(text)
}

/// Since when it is as it is. To be told again what was known changes nothing.
fn since(own: &[&Event]) -> Option<u64> {
    let newest = own.first()?;
    let same = own.iter().take_while(|event| event.kind == newest.kind);
    let oldest = same.last().filter(|_| newest.kind == Kind::Ready);
    Some(oldest.unwrap_or(newest).at_ms)
}

/// These events and what led to them, the newest first.
fn with_causes<'a>(own: &[&'a Event], all: &'a [Event]) -> Vec<&'a Event> {
    let known: BTreeMap<_, _> = all.iter().map(|event| (event.number, event)).collect();
    let mut story = BTreeMap::new();
    let mut open = own.to_vec();
    while let Some(event) = open.pop() {
        if story.insert(event.number, event).is_none() {
            let cause = event.because_of.and_then(|number| known.get(&number));
            open.extend(cause);
        }
    }
    story.into_values().rev().collect()
}

fn of_shard(shard: ShardId, view: Option<&ShardView>, age: Option<String>) -> String {
    let Some(view) = view else {
        return format!("shard {shard} is planned no more");
    };
    let state = match view.state.as_str() {
        "free" => "free: nobody holds it",
        "held_back" => "held back until the process that lost it is gone",
        "draining" => "leaving the plan, its holder is still there",
        "leased" => "leased, its holder reports no state",
        "standing_by" => "standing by",
        other => other,
    };
    let holder = match (&view.worker, view.epoch) {
        (Some(worker), _) => Some(format!("worker {worker}")),
        (None, Some(_)) => Some("an external worker".to_owned()),
        (None, None) => None,
    };
    let epoch = view.epoch.map(|epoch| format!("epoch {epoch}"));
    let age = age.map(|age| format!("for {age}"));
    let more: Vec<_> = [holder, epoch, age].into_iter().flatten().collect();
    if more.is_empty() {
        format!("shard {shard} is {state}")
    } else {
        format!("shard {shard} is {state} ({})", more.join(", "))
    }
}

fn of_worker(name: &str, view: Option<&WorkerView>) -> String {
    let Some(view) = view else {
        return format!("worker {name} is gone");
    };
    let pid = view.pid.map(|pid| format!("pid {pid}"));
    let holds = pid
        .is_some()
        .then(|| format!("holds {} of {} shards", view.holding, view.shards));
    let up = view.uptime.map(|seconds| format!("for {}", about(seconds)));
    let next = view
        .restart_in
        .map(|seconds| format!("starts again in {seconds:.0} s"));
    let exits = match view.exits {
        0 => None,
        1 => Some("it ended once".to_owned()),
        exits => Some(format!("it ended {exits} times in a row")),
    };
    let more: Vec<_> = [pid, holds, up, next, exits].into_iter().flatten().collect();
    let state = match view.state.as_str() {
        "stopped" => format!("stopped by an operator, until `shardman start {name}`"),
        _ if view.condition == "spare" => "spare: there is nothing for it to hold".to_owned(),
        state => state.replace('_', " "),
    };
    if more.is_empty() {
        format!("worker {name} is {state}")
    } else {
        format!("worker {name} is {state} ({})", more.join(", "))
    }
}
