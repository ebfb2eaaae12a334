//! The metrics: they say what the fleet says, to whom they may, within bounds.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use shardman_core::wire::FleetView;

use crate::disk::limit_files;
use crate::support::{How, Shardman, call, eventually, get, seconds, signal};
use scrape::Scrape;

mod deployed;
mod scrape;

/// `up --sim 4`, ready.
#[track_caller]
fn simulated(settings: &[(&str, &str)]) -> Shardman {
    let how = How {
        script: Some("exec \"$0\" up --sim 4 --sim-max-concurrency 4".to_owned()),
        ..How::default()
    };
    let shardman = Shardman::up_as(tempfile::tempdir().unwrap(), settings, how);
    shardman.wait_ready(seconds(40.0));
    shardman
}

/// What both say, where it differs.
fn differ(fleet: &FleetView, scrape: &Scrape) -> Option<String> {
    let bot = &[("pool", "discord")];
    let count = |n: usize| n as f64;
    let unwell = fleet.shards.iter().filter(|shard| shard.condition != "ready");
    let mut pairs = vec![
        (
            "planned",
            f64::from(fleet.planned),
            scrape.sum("shardman_shards_planned", bot),
        ),
        (
            "leased",
            f64::from(fleet.leased),
            scrape.sum("shardman_shards_leased", bot),
        ),
        (
            "ready",
            f64::from(fleet.ready),
            scrape.sum("shardman_shards_ready", bot),
        ),
        (
            "serving",
            f64::from(fleet.ready),
            scrape.sum("shardman_shard_ready", bot),
        ),
        (
            "leases",
            f64::from(fleet.leased),
            scrape.sum("shardman_leases", bot),
        ),
        (
            "workers",
            count(fleet.workers.len()),
            scrape.sum("shardman_workers", bot),
        ),
        (
            "left",
            f64::from(fleet.starts_remaining.unwrap()),
            scrape.sum("shardman_session_starts_remaining", &[]),
        ),
        (
            "unwell",
            count(unwell.count()),
            scrape.sum("shardman_shards", bot)
                - scrape.sum("shardman_shards", &[bot[0], ("condition", "ready")]),
        ),
        (
            "trouble",
            count(fleet.trouble.len()),
            scrape.sum("shardman_troubles", &[]),
        ),
    ];
    for worker in &fleet.workers {
        let of = &[("worker", &*worker.worker)];
        pairs.push((
            "holding",
            f64::from(worker.holding),
            scrape.sum("shardman_worker_shards", of),
        ));
        let exits = scrape.sum("shardman_worker_exits_in_a_row", of);
        pairs.push(("exits", f64::from(worker.exits), exits));
    }
    let differs = pairs.iter().find(|(_, fleet, metrics)| fleet != metrics);
    differs.map(|pair| format!("{pair:?}"))
}

#[track_caller]
fn agreeing(shardman: &Shardman) -> Scrape {
    let mut last = None;
    let found = eventually(seconds(20.0), "the metrics say what GET /fleet says", || {
        // The fleet may change between the two: then both are asked again.
        let scrape = Scrape::of(shardman);
        let differs = differ(&shardman.fleet(), &scrape);
        if differs.is_some() && differs != last {
            eprintln!("{differs:?}");
            last.clone_from(&differs);
        }
        differs.is_none().then_some(scrape)
    });
    eprintln!("{} lines agree", found.text.lines().count());
    found
}

#[test]
fn the_metrics_say_what_the_fleet_says_before_and_after_a_worker_is_killed() {
    let mut shardman = simulated(&[("SHARDS_PER_WORKER", "2"), ("MAX_SECONDS", "6")]);
    eventually(seconds(20.0), "every shard has told of its events", || {
        (Scrape::of(&shardman).series("shardman_shard_events_total") == 4).then_some(())
    });
    let before = agreeing(&shardman);
    assert!((before.sum("shardman_identify_permits_total", &[]) - 4.0).abs() < 0.1);
    assert!((before.sum("shardman_identify_wait_seconds_count", &[]) - 4.0).abs() < 0.1);
    // A rule for what never happened yet needs a zero to compare with.
    assert!(before.text.contains("condition=\"stopped\""), "{}", before.text);
    let (worker, pid) = shardman.workers().remove(0);
    let of = [("worker", &*worker)];
    let memory = before.sum("shardman_worker_resident_memory_bytes", &of);
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    let resident = pages * rustix::param::page_size() as f64;
    eprintln!("{worker} keeps {memory} bytes, statm says {resident}");
    assert!(
        (0.5..2.0).contains(&(memory / resident)),
        "its process is the only one of its session"
    );
    // The kernel counts in hundredths of a second.
    eventually(seconds(60.0), "it takes some processor time", || {
        let used = Scrape::of(&shardman).sum("shardman_worker_cpu_seconds_total", &of);
        (used > 0.0).then_some(())
    });

    signal(pid, Signal::KILL);
    eventually(seconds(20.0), "its shards are resumed", || {
        let resumed = Scrape::of(&shardman).sum("shardman_resumes_total", &[]);
        (resumed >= before.sum("shardman_resumes_total", &[]) + 2.0).then_some(())
    });
    shardman.wait_ready(seconds(20.0));
    let after = agreeing(&shardman);
    let bot = ("pool", "discord");
    for (name, labels, more) in [
        ("shardman_worker_ends_total", vec![bot, ("cause", "signal")], 1.0),
        ("shardman_worker_ends_total", vec![bot], 1.0),
        (
            "shardman_worker_restarts_total",
            vec![bot, ("cause", "signal")],
            1.0,
        ),
        ("shardman_worker_restarts_total", vec![bot], 1.0),
        ("shardman_worker_starts_total", vec![bot], 1.0),
        (
            "shardman_leases_ended_total",
            vec![bot, ("cause", "worker_gone")],
            2.0,
        ),
        ("shardman_leases_ended_total", vec![bot], 2.0),
        ("shardman_leases_granted_total", vec![bot], 2.0),
        ("shardman_connects_total", vec![("result", "granted")], 2.0),
        ("shardman_events_total", vec![("kind", "worker_ended")], 1.0),
        ("shardman_events_total", vec![("kind", "worker_started")], 1.0),
        // A death costs no session start.
        ("shardman_session_starts_spent_total", vec![], 0.0),
        ("shardman_identifies_total", vec![], 0.0),
        ("shardman_unpermitted_identifies_total", vec![], 0.0),
        ("shardman_store_commit_failures_total", vec![], 0.0),
    ] {
        let grown = after.sum(name, &labels) - before.sum(name, &labels);
        assert!(
            (grown - more).abs() < 1e-9,
            "{name} {labels:?}: {grown}, not {more}"
        );
    }
    let accepted = [("result", "accepted")];
    assert!(after.sum("shardman_beats_total", &accepted) > before.sum("shardman_beats_total", &accepted));
    let beats = |scrape: &Scrape| scrape.sum("shardman_http_requests_total", &[("route", "/beat")]);
    assert!(beats(&after) > beats(&before));
    assert!(shardman.stop().success());
}

#[test]
fn whoever_may_not_see_the_fleet_sees_no_metrics_and_no_path_becomes_a_label() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "2"), ("WORKERS", "0"), ("PUBLIC_STATUS", "true")]);
    let at = shardman.address;
    assert_eq!(call(at, "GET", "/metrics", &[], None).status, 422);
    assert_eq!(get(at, "/metrics", "another").status, 403);
    assert_eq!(get(at, "/metrics", "test-secret").status, 200);
    for path in ["/no/plugh", "/workers/nemo/logs", "/sessions/xyzzy", "/metrics/"] {
        get(at, path, "test-secret");
    }
    let lost = "01234567-89ab-4def-8123-456789abcdef";
    assert_eq!(shardman.beat(lost).status, 404);
    let scrape = Scrape::of(&shardman);
    let unknown = scrape.sum("shardman_beats_total", &[("result", "unknown_session")]);
    assert!((unknown - 1.0).abs() < 1e-9);
    let requests = |route, class| {
        scrape.sum(
            "shardman_http_requests_total",
            &[("route", route), ("class", class)],
        )
    };
    for (route, class) in [
        ("unknown", "4xx"),
        ("unknown", "3xx"),
        ("/workers/{worker_id}/logs", "4xx"),
        ("/sessions/{session_id}", "4xx"),
        ("/beat", "4xx"),
        ("/metrics", "2xx"),
    ] {
        assert!((requests(route, class) - 1.0).abs() < 1e-9, "{route} {class}");
    }
    assert!((requests("/metrics", "4xx") - 2.0).abs() < 1e-9);
    for hidden in ["plugh", "nemo", "xyzzy", lost, "test-secret"] {
        assert!(!scrape.text.contains(hidden), "{hidden}");
    }
    assert!(shardman.stop().success());
}

#[test]
fn a_fleet_of_any_size_has_a_bounded_number_of_series() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "5000"), ("WORKERS", "0")]);
    let began = Instant::now();
    let scrape = Scrape::of(&shardman);
    eprintln!(
        "5,000 shards: {} lines, {} KiB, in {:?}",
        scrape.text.lines().count(),
        scrape.text.len() / 1024,
        began.elapsed()
    );
    assert_eq!(scrape.series("shardman_shard_ready"), 2048);
    let without = scrape.sum("shardman_members_without_series", &[("of", "shard")]);
    assert!((without - (5000.0 - 2048.0)).abs() < 1e-9);
    let free = scrape.sum("shardman_shards", &[("condition", "free")]);
    assert!((free - 5000.0).abs() < 1e-9, "they are counted all the same");
    assert!(shardman.stop().success());
}

#[test]
fn a_lapse_and_a_full_disk_are_in_the_metrics_while_they_last() {
    let settings = [("MAX_SHARDS", "2"), ("WORKERS", "0"), ("MAX_SECONDS", "6")];
    let mut shardman = Shardman::up_on_a_small_disk(&settings);
    let session = shardman.connect().json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(shardman.beat(&session).status, 204);
    let ready = Scrape::of(&shardman).sum("shardman_shards_ready", &[]);
    assert!((ready - 1.0).abs() < 1e-9, "{ready}");
    let lapsed = [("pool", "discord"), ("cause", "lapsed")];
    let is = |name: &str, labels: &[(&str, &str)], wanted: f64| {
        eventually(seconds(40.0), name, || {
            let value = Scrape::of(&shardman).sum(name, labels);
            ((value - wanted).abs() < 1e-9).then_some(())
        });
    };
    is("shardman_leases_ended_total", &lapsed, 1.0);
    is("shardman_shards_leased", &[], 0.0);
    is("shardman_events_total", &[("kind", "lost")], 1.0);
    is("shardman_alerts_total", &[("result", "no_webhook")], 2.0);
    assert_eq!(shardman.beat(&session).status, 404);
    is("shardman_beats_total", &[("result", "unknown_session")], 1.0);
    is("shardman_store_writable", &[], 1.0);

    limit_files(shardman.pid(), Some(4096));
    assert_eq!(shardman.connect().status, 503);
    is("shardman_connects_total", &[("result", "unavailable")], 1.0);
    is("shardman_store_writable", &[], 0.0);
    is("shardman_ready", &[], 0.0);
    let scrape = Scrape::of(&shardman);
    assert!(scrape.sum("shardman_store_commit_failures_total", &[]) >= 1.0);
    assert!((scrape.sum("shardman_leases", &[]) - scrape.sum("shardman_shards_leased", &[])).abs() < 1e-9);
    limit_files(shardman.pid(), None);
    is("shardman_ready", &[], 1.0);
    is("shardman_store_writable", &[], 1.0);
    assert!(shardman.stop().success());
}
