//! The real fleet against virtual workers and a virtual Discord, in virtual
//! time from a seed: days in a second, and the same each time.

use shardman_core::{PoolId, Tick, WorkerId};

use super::alert::AlertKind;
use super::request::Request;
use crate::supervisor::Exit;
use host::{DiesAt, Event, Host, Scenario};
use worker::Crash;

mod brake;
mod health;
mod host;
mod lapses;
mod pools;
mod traffic;
mod worker;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

fn place(index: u32) -> WorkerId {
    WorkerId::new(&PoolId::discord(), index)
}

/// No rule of Discord's was broken (so no IDENTIFY was answered with op 9), and no shard ever had two live holders.
#[track_caller]
fn assert_clean(host: &Host, seed: u64) {
    let report = host.discord.report(host.now);
    assert_eq!(report.broken_rules, [], "seed {seed}");
    assert_eq!(
        report.double_holders.count, 0,
        "seed {seed}: {:?}",
        report.double_holders
    );
    assert_eq!(host.discord.taken_over(), 0, "seed {seed}");
    assert_eq!(report.token_resets, 0, "seed {seed}");
    let closest = report.min_gap_ms.values().min();
    assert!(
        closest.is_none_or(|gap| *gap >= 5_000),
        "seed {seed}: {closest:?}"
    );
}

/// What an operator was woken for, apart from shards that come and go.
fn alerts(host: &Host) -> Vec<(AlertKind, String)> {
    let alerts = host.alerts.iter().map(|(_, alert)| alert);
    alerts
        .filter(|alert| !matches!(alert.kind, AlertKind::Connect | AlertKind::Disconnect))
        .map(|alert| (alert.kind, alert.text.clone()))
        .collect()
}

#[test]
fn a_thousand_shards_start_within_two_percent_of_the_floor() {
    let mut host = Host::new(Scenario {
        seed: 0,
        shards: 1_024,
        max_concurrency: 16,
        shards_per_worker: 16,
        budget: 2_000,
        max_seconds: 60.0,
    });
    host.run_until_ready(400 * SECOND);
    let report = host.discord.report(host.now);
    assert_eq!(report.identify_count, 1_024);
    assert_clean(&host, 0);
    // One row of 16 at once, and 63 more, five seconds after one another. The
    // time runs from where the first worker asks for a permit to where the last
    // one hears READY: the network and Discord's thinking are in it.
    let floor = (1_024 / 16 - 1) * 5 * SECOND;
    let took = host.last_ready.ms_since(host.first_permit_asked.unwrap());
    eprintln!("1,024 shards at max_concurrency 16: {took} ms, the floor is {floor} ms");
    assert!(took * 100 <= floor * 102, "{took} ms of {floor} ms");
}

/// 8 workers of 4 shards. Each session dies with its connection.
fn fleet_of_eight(seed: u64) -> Host {
    let mut host = Host::new(Scenario {
        seed,
        shards: 32,
        max_concurrency: 1,
        shards_per_worker: 4,
        budget: 1_000,
        max_seconds: 60.0,
    });
    host.make_sessions_fragile(true);
    host
}

fn one_worker_loops_for_a_day(crash: Crash, seed: u64) {
    let mut host = fleet_of_eight(seed);
    host.run_until_ready(10 * MINUTE);
    host.crashing.insert(place(1), crash);
    host.crash(&place(1));
    for hour in 1..=24 {
        if hour == 12 {
            host.crash(&place(5));
        }
        host.run_until(Tick(hour * HOUR));
        let ready = host.discord.report(host.now).ready;
        let live = ready.iter().filter(|ready| ready.live).count();
        assert!(
            live >= 28 && host.ready() >= 28,
            "hour {hour}: {live} shards are ready"
        );
    }
    assert_clean(&host, seed);

    let view = host.fleet().unwrap().starts_view();
    let spent = &view.by_worker[0];
    assert_eq!(
        (&*spent.worker, spent.starts, &*spent.cause, spent.share),
        ("discord-1", 250, "crash", Some(250))
    );
    // The first starts of the others, those of the worker that was killed
    // once, and the share of the one that loops.
    assert_eq!(host.discord.report(host.now).identify_count, 28 + 4 + 250);
    assert_eq!(host.discord.budget(host.now).1, 1_000 - 282);

    let trouble = host.trouble();
    assert!(
        trouble
            .iter()
            .any(|line| line.contains("worker discord-1 has had 250")),
        "{trouble:?}"
    );
    let alerts = alerts(&host);
    let of_loop = |words: &str| {
        let about = alerts.iter().filter(|(kind, text)| {
            *kind == AlertKind::Worker
                && text.contains(words)
                && text.contains("worker discord-1")
                && text.contains("last words of discord-1")
        });
        about.count()
    };
    assert_eq!(
        (of_loop("is crash looping"), of_loop("has had 250"), alerts.len()),
        (1, 1, 2),
        "{alerts:?}"
    );
}

#[test]
fn a_worker_in_a_crash_loop_spends_its_share_and_nobody_elses() {
    one_worker_loops_for_a_day(Crash::AfterReady, 1);
}

#[test]
fn a_worker_that_crashes_between_identify_and_ready_spends_its_share_and_nobody_elses() {
    one_worker_loops_for_a_day(Crash::AfterIdentify, 2);
}

#[test]
fn a_fleet_that_crashes_everywhere_never_touches_the_reserve() {
    let mut host = fleet_of_eight(3);
    for index in 0..8 {
        let crash = [Crash::AfterReady, Crash::AfterIdentify][index as usize % 2];
        host.crashing.insert(place(index), crash);
    }
    for part in 1..=24 * 12 {
        host.run_until(Tick(part * 5 * MINUTE));
        let left = host.discord.budget(host.now).1;
        assert!(left >= 100, "{left} left at {}", host.now);
    }
    assert_clean(&host, 3);
    assert_eq!(host.discord.report(host.now).identify_count, 900);
    let alerts = alerts(&host);
    let looping = alerts
        .iter()
        .filter(|(_, text)| text.contains("is crash looping"));
    assert_eq!(looping.count(), 8, "one for each worker");
    let budget = alerts.iter().filter(|(kind, _)| *kind == AlertKind::Budget);
    assert_eq!(
        budget.count(),
        3,
        "at 50 % and at 80 %, and when only the reserve is left"
    );
}

#[test]
fn a_share_outlives_the_manager_and_an_operator_lifts_it_until_the_budget_is_renewed() {
    let mut host = Host::new(Scenario {
        seed: 4,
        shards: 8,
        max_concurrency: 2,
        shards_per_worker: 4,
        budget: 40,
        max_seconds: 60.0,
    });
    host.make_sessions_fragile(true);
    host.run_until_ready(MINUTE);
    host.crashing.insert(place(0), Crash::AfterReady);
    host.crash(&place(0));
    host.run_until(Tick(HOUR));
    let identified = |host: &Host| host.discord.report(host.now).identify_count;
    assert_eq!(identified(&host), 4 + 10);
    assert_eq!(host.ready(), 4, "who is within its share serves");

    host.kill_manager(2 * SECOND);
    host.run_until(Tick(2 * HOUR));
    assert_eq!(identified(&host), 4 + 10, "the next manager knows what was spent");

    host.ask(Request::SpendReserve);
    host.run_until(Tick(12 * HOUR));
    assert_eq!(identified(&host), 40, "all of it, and not one more");
    assert_eq!(host.ready(), 4);

    // The day is over, the word for it too, and the share is long spent.
    host.run_until(Tick(25 * HOUR));
    assert_eq!(host.discord.budget(host.now).1, 40);
    let trouble = host.trouble();
    assert!(
        trouble
            .iter()
            .any(|line| line.contains("worker discord-0 has had")),
        "{trouble:?}"
    );
    assert_clean(&host, 4);
}

/// Faults of some minutes in random order, then some minutes of peace.
fn storm(seed: u64) -> Host {
    let mut host = Host::new(Scenario {
        seed,
        shards: 8 + u32::try_from(seed % 9).unwrap(),
        max_concurrency: 1 + u32::try_from(seed % 4).unwrap(),
        shards_per_worker: 1 + u32::try_from(seed % 3).unwrap() * 2,
        budget: 1_000,
        max_seconds: [6.0, 10.0, 20.0][seed as usize % 3],
    });
    let mut frozen = Vec::new();
    let storm = 4 * MINUTE;
    while host.now.0 < storm {
        let pause = host.rng.u64(1..=8 * SECOND);
        host.run_until(Tick(host.now.0 + pause));
        let pids = host.pids();
        if pids.is_empty() {
            continue;
        }
        let pid = pids[host.rng.usize(0..pids.len())];
        let link = host.some_link();
        match host.rng.u32(0..10) {
            0 | 1 => host.after(0, Event::Exit(pid, Exit::Signal(9))),
            2 => {
                host.freeze(pid, true);
                frozen.push(pid);
            }
            3 => {
                for pid in frozen.drain(..) {
                    host.freeze(pid, false);
                }
            }
            4 | 5 => {
                let resumable = host.rng.bool();
                if let Some(link) = link {
                    host.discord.invalidate(link, resumable, host.now);
                }
            }
            6 => {
                let code = [None, Some(4000), Some(4009), Some(1001)][host.rng.usize(0..4)];
                if let Some(link) = link {
                    host.discord.cut(link, code, host.now);
                }
            }
            7 => {
                let fragile = host.rng.bool();
                host.make_sessions_fragile(fragile);
            }
            8 => {
                let point = [DiesAt::BeforeCommit, DiesAt::AfterCommit, DiesAt::AfterEffects];
                host.dies_at = Some(point[host.rng.usize(0..3)]);
            }
            _ => {
                let away = host.rng.u64(10..=8 * SECOND);
                host.kill_manager(away);
            }
        }
    }
    for pid in frozen {
        host.freeze(pid, false);
    }
    host.run_until_ready(10 * MINUTE);
    let calm = Tick(host.now.0 + MINUTE);
    host.run_until(calm);
    host
}

#[test]
fn whatever_fails_no_shard_has_two_holders_no_bucket_two_identifies_and_all_come_back() {
    for seed in 0..40 {
        let host = storm(seed);
        assert_clean(&host, seed);
        assert_eq!(host.ready(), host.shards(), "seed {seed}");
    }
}

#[test]
fn one_seed_is_one_story() {
    let story = |seed| {
        let host = storm(seed);
        let report = host.discord.report(host.now);
        (host.now, serde_json::to_string(&report).unwrap())
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7).1, story(8).1);
}
