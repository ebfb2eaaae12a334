//! The number of shards changes while events flow: every one is delivered, by
//! whatever is killed meanwhile.

use std::collections::BTreeMap;

use rustix::process::Signal;
use shardman_core::wire::PlanView;

use crate::support::{Arrivals, Program, Shardman, Sim, eventually, get, let_pass, post, seconds, signal};

const SECRET: &str = "test-secret";

/// A fleet that writes every event to its workers' logs, under load.
struct Rehearsal {
    sim: Sim,
    shardman: Shardman,
}

impl Rehearsal {
    fn start(shards: u32, more: &[(&str, &str)]) -> Self {
        Self::with_sim(
            Sim::start(shards, 8, &["--guilds", "120", "--events-per-second", "0"]),
            shards,
            more,
        )
    }

    fn with_sim(sim: Sim, shards: u32, more: &[(&str, &str)]) -> Self {
        let url = sim.url();
        let mut settings = vec![
            ("DISCORD_API_URL", &*url),
            ("BOT_TOKEN", "t"),
            ("SHARDS_PER_WORKER", "4"),
            ("EVENT_SINK", "stdout"),
        ];
        settings.extend(more);
        let shardman = Shardman::up(&settings);
        shardman.wait_ready(seconds(60.0));
        assert_eq!(shardman.fleet().planned, shards);
        sim.load(60.0);
        Self { sim, shardman }
    }

    fn plan(&self) -> PlanView {
        serde_json::from_str(&get(self.shardman.address, "/plan", SECRET).body).unwrap()
    }

    #[track_caller]
    fn ask(&self, shards: u32) {
        let body = format!("{{\"shards\":{shards}}}");
        let answer = post(self.shardman.address, "/plan", SECRET, &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
    }

    #[track_caller]
    fn wait_for(&self, shards: u32, within: f64) {
        eventually(seconds(within), &format!("{shards} shards run"), || {
            let plan = self.plan();
            (plan.rescale.is_none() && plan.live == [(shards, shards)].into()).then_some(())
        });
        self.shardman.wait_ready(seconds(20.0));
    }

    /// How often each message of the simulator came out of some worker.
    fn delivered(&self) -> BTreeMap<u64, u32> {
        let mut delivered = BTreeMap::new();
        let logs = std::fs::read_dir(self.shardman.folder().join("data/logs")).unwrap();
        for log in logs {
            let text = std::fs::read(log.unwrap().path()).unwrap();
            let lines = String::from_utf8_lossy(&text).into_owned();
            // A line that a killed worker left half written is written again by
            // the next.
            let events = lines
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            for event in events.filter(|event| event["type"] == "MESSAGE_CREATE") {
                let number = event["data"]["nonce"].as_str().unwrap().parse().unwrap();
                *delivered.entry(number).or_insert(0) += 1;
            }
        }
        delivered
    }

    /// Ends the load, and compares what was sent with what came out.
    #[track_caller]
    fn settle(mut self) {
        self.sim.load(0.0);
        let_pass(seconds(1.0));
        let report = self.sim.report();
        let missing = || {
            let delivered = self.delivered();
            (0..report.generated).filter(move |number| !delivered.contains_key(number))
        };
        for _ in 0..20 {
            if missing().next().is_none() {
                break;
            }
            let_pass(seconds(0.5));
        }
        let missing: Vec<_> = missing().collect();
        assert!(missing.is_empty(), "lost: {missing:?}");
        assert!(report.generated > 300, "{}", report.generated);
        assert_eq!(report.unheard, 0, "a guild was without a session");
        assert_eq!(report.messages.lost, 0, "{:?}", report.messages);
        let delivered = self.delivered();
        let twice = delivered.values().filter(|count| **count > 1).count();
        eprintln!(
            "{} events sent, all delivered, {twice} more than once; {} identifies, {} resumes",
            report.generated, report.identify_count, report.resume_count
        );
        assert!(twice < delivered.len(), "not everything twice");
        self.sim.assert_clean();
        assert!(self.shardman.stop().success());
    }
}

#[test]
fn four_become_eight_and_sixteen_shard_by_shard_and_nothing_is_missed() {
    let rehearsal = Rehearsal::start(4, &[]);
    let arrivals = Arrivals::watch(rehearsal.shardman.folder().join("data/logs"));
    for shards in [8, 16] {
        let (code, out, error) = Program::shardman(&["rescale", &shards.to_string(), "--url"])
            .arg(&format!("http://{}", rehearsal.shardman.address))
            .dir(rehearsal.shardman.folder())
            .env("SECRET", SECRET)
            .run();
        assert_eq!(code, 0, "{out}{error}");
        let steps = shards / 2;
        for words in [
            &*format!("-> {shards} shards, in {steps} steps"),
            "step 1 of",
            &format!("step {steps} of {steps}"),
            &format!("done: {shards} shards run"),
        ] {
            assert!(out.contains(words), "{out}");
        }
        rehearsal.wait_for(shards, 5.0);
    }
    let report = rehearsal.sim.report();
    assert_eq!(report.identify_count, 4 + 8 + 16);
    // Somebody is live for every guild at every time: nothing waits for a
    // holder that is yet to connect.
    let (number, delay) = arrivals.longest();
    assert!(delay < 3.0, "message {number} came out after {delay} s");
    eprintln!("the slowest of all events came out after {delay:.3} s");
    rehearsal.settle();
}

#[test]
fn five_become_seven_beside_them_and_go_back() {
    let rehearsal = Rehearsal::start(5, &[]);
    rehearsal.ask(7);
    let begun = eventually(seconds(5.0), "the first step", || {
        let rescale = rehearsal.plan().rescale;
        rescale.filter(|rescale| rescale.phase.is_some())
    });
    assert_eq!((begun.steps, begun.new.len(), begun.old.len()), (1, 7, 5));
    let_pass(seconds(2.0));
    rehearsal.ask(5);
    rehearsal.wait_for(5, 60.0);
    rehearsal.ask(7);
    rehearsal.wait_for(7, 90.0);
    rehearsal.settle();
}

#[test]
fn the_manager_may_be_killed_at_any_moment_of_a_rescale() {
    let mut rehearsal = Rehearsal::start(4, &[("RUST_LOG", "info")]);
    let mut random = fastrand::Rng::with_seed(20);
    let mut targets = [8, 4].into_iter().cycle();
    let mut target = 4;
    for _ in 0..20 {
        if rehearsal.plan().rescale.is_none() {
            target = targets.next().unwrap();
            rehearsal.ask(target);
        }
        let_pass(seconds(random.f64() * 4.0));
        rehearsal.shardman.kill();
        rehearsal.shardman.start();
    }
    rehearsal.wait_for(target, 120.0);
    rehearsal.settle();
}

/// Kills the child that holds a shard.
fn kill_holder(rehearsal: &Rehearsal, shard: shardman_core::ShardId) -> bool {
    let fleet = rehearsal.shardman.fleet();
    let holder = fleet.shards.iter().find(|view| view.shard == shard);
    let worker = holder.and_then(|view| view.worker.clone());
    let pid = worker.and_then(|worker| {
        fleet
            .workers
            .iter()
            .find(|view| view.worker == worker && view.state == "running")
            .and_then(|view| view.pid)
    });
    pid.inspect(|pid| signal(*pid, Signal::KILL)).is_some()
}

#[test]
fn workers_may_be_killed_in_every_phase_of_a_rescale() {
    let rehearsal = Rehearsal::start(4, &[]);
    let mut target = 4;
    for (phase, old) in [
        ("stand_by", false),
        ("stand_by", true),
        ("go_live", false),
        ("go_live", true),
        ("drain", false),
        ("drain", true),
    ] {
        if target == 4 && rehearsal.plan().rescale.is_none() {
            target = 8;
            rehearsal.ask(target);
        }
        let what = format!(
            "a kill in {phase} of {}",
            if old { "an old one" } else { "a new one" }
        );
        eventually(seconds(90.0), &what, || {
            let Some(rescale) = rehearsal.plan().rescale else {
                target = if target == 8 { 4 } else { 8 };
                rehearsal.ask(target);
                return None;
            };
            let shard = *if old { &rescale.old } else { &rescale.new }.first()?;
            (rescale.phase.as_deref() == Some(phase) && kill_holder(&rehearsal, shard)).then_some(())
        });
    }
    rehearsal.wait_for(target, 120.0);
    rehearsal.settle();
}

#[test]
fn what_is_unsafe_is_refused_with_the_reason_and_changes_nothing() {
    let sim = Sim::start(4, 8, &["--budget", "20"]);
    let rehearsal = Rehearsal::with_sim(sim, 4, &[("WORKERS", "2")]);
    let cli = |args: &[&str]| {
        Program::shardman(args)
            .arg("--url")
            .arg(&format!("http://{}", rehearsal.shardman.address))
            .dir(rehearsal.shardman.folder())
            .env("SECRET", SECRET)
            .run()
    };
    let (code, out, _) = cli(&["plan", "8"]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("identifies  8 of 14 that may be used today (16 left)"),
        "{out}"
    );
    let (code, out, _) = cli(&["plan", "64"]);
    assert_eq!(code, 1);
    for words in [
        "takes 64 session starts, and 14 may be used",
        "leave room for 8 shards",
    ] {
        assert!(out.contains(words), "{out}");
    }
    let (code, _, error) = cli(&["rescale", "64"]);
    assert_eq!(code, 1);
    assert!(
        error.contains("nothing was changed") && error.contains("64 session starts"),
        "{error}"
    );
    let (code, out, _) = cli(&["plan"]);
    assert_eq!((code, out.as_str()), (0, "4 shards\n"));
}

#[test]
fn a_rescale_that_runs_out_of_session_starts_waits_for_an_operator() {
    let sim = Sim::start(
        4,
        8,
        &[
            "--guilds",
            "120",
            "--events-per-second",
            "0",
            "--budget",
            "20",
            "--budget-remaining",
            "14",
        ],
    );
    let rehearsal = Rehearsal::with_sim(sim, 4, &[("WORKER_STARTS", "100")]);
    rehearsal.ask(8);
    eventually(seconds(30.0), "one step is done", || {
        rehearsal.plan().rescale.filter(|rescale| rescale.done == 1)
    });
    // What Discord forgets has to identify again.
    rehearsal.sim.fault(r#"{"kind":"invalid_session","shard":1}"#);
    let trouble = eventually(seconds(60.0), "the starts are used up", || {
        let trouble = rehearsal.shardman.fleet().trouble;
        trouble
            .into_iter()
            .find(|words| words.contains("kept in reserve"))
    });
    let_pass(seconds(3.0));
    let rescale = rehearsal.plan().rescale.expect("it waits");
    assert!(!rescale.waiting_for.is_empty(), "{trouble} {rescale:?}");
    let (code, _, error) = Program::shardman(&["start", "--spend-reserve", "--url"])
        .arg(&format!("http://{}", rehearsal.shardman.address))
        .dir(rehearsal.shardman.folder())
        .env("SECRET", SECRET)
        .run();
    assert_eq!(code, 0, "{error}");
    rehearsal.wait_for(8, 60.0);
    assert_eq!(rehearsal.sim.report().token_resets, 0);
}

#[test]
fn another_max_shards_on_a_fleet_that_runs_is_a_rescale() {
    let mut rehearsal = Rehearsal::start(4, &[("MAX_SHARDS", "4")]);
    rehearsal.shardman.kill();
    rehearsal.shardman.set("MAX_SHARDS", "8");
    rehearsal.shardman.start();
    let rescale = eventually(seconds(20.0), "a rescale", || rehearsal.plan().rescale);
    assert_eq!(rescale.cause, "MAX_SHARDS is 8");
    // The whole fleet stops in the middle, and goes on.
    eventually(seconds(30.0), "one step is done", || {
        rehearsal.plan().rescale.filter(|rescale| rescale.done == 1)
    });
    rehearsal.sim.load(0.0);
    assert!(rehearsal.shardman.stop().success());
    rehearsal.shardman.start();
    rehearsal.wait_for(8, 60.0);
    rehearsal.sim.load(60.0);
    let_pass(seconds(5.0));
    rehearsal.settle();
}
