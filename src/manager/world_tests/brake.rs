//! Leases that lapse together: the fleet comes back in waves, or by itself.

use shardman_core::Tick;

use super::host::{Host, Pid, Scenario};
use super::{MINUTE, SECOND, alerts, assert_clean};
use crate::manager::alert::AlertKind;

/// A tenth of the workers below.
const AT_ONCE: usize = 20;

fn two_hundred_workers(seed: u64) -> Host {
    let mut host = Host::new(Scenario {
        seed,
        shards: 200,
        max_concurrency: 16,
        shards_per_worker: 1,
        budget: 1_000,
        max_seconds: 20.0,
    });
    host.run_until_ready(10 * MINUTE);
    // Long enough that all have told where their sessions can be resumed.
    let calm = Tick(host.now.0 + MINUTE);
    host.run_until(calm);
    host
}

fn freeze(host: &mut Host, pids: &[Pid]) {
    for pid in pids {
        host.freeze(*pid, true);
    }
}

fn thaw(host: &mut Host, pids: &[Pid]) {
    for pid in pids {
        host.freeze(*pid, false);
    }
}

/// Workers that were killed or are on their way up: those of `before` that are
/// no more, less the new ones that hold a shard.
fn away(host: &Host, before: &[Pid]) -> usize {
    let living = host.pids();
    let killed = before.iter().filter(|pid| !living.contains(pid)).count();
    let replaced = living
        .iter()
        .filter(|pid| !before.contains(pid) && host.holds(**pid));
    killed - replaced.count()
}

/// Lets the world run in small steps until every shard is ready; the most
/// workers that were away at once, of those that are looked at.
fn most_away(host: &mut Host, before: &[Pid], within: u64) -> usize {
    let limit = host.now.0 + within;
    let mut most = 0;
    while host.ready() < host.shards() {
        assert!(
            host.now.0 < limit,
            "{} are ready: {:?}",
            host.ready(),
            host.trouble()
        );
        let next = Tick(host.now.0 + 20);
        host.run_until(next);
        most = most.max(away(host, before));
    }
    most
}

#[test]
fn two_hundred_workers_that_lapse_together_are_killed_in_waves_and_all_come_back() {
    for seed in 0..3 {
        let mut host = two_hundred_workers(seed);
        let before = host.pids();
        let identified = host.discord.report(host.now).identify_count;
        let told = host.alerts.len();
        freeze(&mut host, &before);
        let lapsed = Tick(host.now.0 + 22 * SECOND);
        host.run_until(lapsed);
        let trouble = host.trouble();
        assert!(
            trouble
                .iter()
                .any(|line| line.contains("of 200 workers lapsed within")),
            "{trouble:?}"
        );
        let began = host.now;
        let most = most_away(&mut host, &before, 5 * MINUTE);
        eprintln!(
            "200 frozen workers: {most} away at once, all back {} ms after they lapsed",
            host.now.ms_since(began)
        );
        assert!((2..=AT_ONCE).contains(&most), "{most}");
        assert!(before.iter().all(|pid| !host.pids().contains(pid)));
        let spent = host.discord.report(host.now).identify_count - identified;
        assert_eq!(spent, 0, "every session was resumed");
        assert_clean(&host, seed);

        let calm = Tick(host.now.0 + MINUTE);
        host.run_until(calm);
        let words: Vec<_> = alerts(&host).into_iter().map(|(_, text)| text).collect();
        assert_eq!(words.len(), 2, "{words:#?}");
        assert!(
            words[0].contains("kills are held, then 20 at a time"),
            "{words:#?}"
        );
        assert!(words[1].contains("200 of 200 workers is over"), "{words:#?}");
        assert!(words[1].contains("200 were killed"), "{words:#?}");
        let of_shards = host.alerts[told..]
            .iter()
            .filter(|(_, alert)| matches!(alert.kind, AlertKind::Connect | AlertKind::Disconnect));
        // Those that lapsed before a quarter of all had were told one by one.
        assert!(
            of_shards.clone().count() < 120,
            "{:?}",
            of_shards.map(|(at, alert)| (*at, alert.kind)).collect::<Vec<_>>()
        );
        assert_eq!(host.trouble(), Vec::<String>::new());
    }
}

#[test]
fn workers_that_live_give_up_what_they_lost_and_nobody_is_killed() {
    let mut host = two_hundred_workers(10);
    let before = host.pids();
    let identified = host.discord.report(host.now).identify_count;
    freeze(&mut host, &before);
    // The first few are killed before anyone knows that they are many.
    while !host.trouble().iter().any(|line| line.contains("kills are held")) {
        let next = Tick(host.now.0 + 20);
        host.run_until(next);
    }
    let lapsed = Tick(host.now.0 + 2 * SECOND);
    host.run_until(lapsed);
    let without = host.shards() - host.ready();
    assert!(without > 2 * AT_ONCE, "{without} lapsed");
    let pids = host.pids();
    thaw(&mut host, &pids);
    let most = most_away(&mut host, &before, 2 * MINUTE);
    let killed = before.iter().filter(|pid| !host.pids().contains(pid)).count();
    eprintln!("{without} of 200 workers had no shard any more: {killed} were killed, {most} away at once");
    assert!(killed <= AT_ONCE, "{killed}");
    assert_eq!(host.discord.report(host.now).identify_count, identified);
    assert_clean(&host, 10);
}

#[test]
fn a_manager_that_dies_amid_a_wave_is_followed_by_one_that_keeps_the_number() {
    let mut host = two_hundred_workers(20);
    let before = host.pids();
    freeze(&mut host, &before);
    let lapsed = Tick(host.now.0 + 22 * SECOND);
    host.run_until(lapsed);
    let mut most = 0;
    for _ in 0..6 {
        let wave = Tick(host.now.0 + 3_700);
        while host.now < wave {
            let next = Tick(host.now.0 + 20);
            host.run_until(next);
            most = most.max(away(&host, &before));
        }
        host.kill_manager(300);
    }
    most = most.max(most_away(&mut host, &before, 10 * MINUTE));
    assert!(most <= AT_ONCE, "{most}");
    assert_clean(&host, 20);
}

#[test]
fn one_that_lapses_alone_is_killed_at_once() {
    let mut host = two_hundred_workers(30);
    let pid = host.pids()[7];
    let told = alerts(&host).len();
    host.freeze(pid, true);
    let frozen = host.now;
    while host.pids().contains(&pid) {
        let next = Tick(host.now.0 + 100);
        host.run_until(next);
    }
    assert!(
        host.now.ms_since(frozen) < 22 * SECOND,
        "{}",
        host.now.ms_since(frozen)
    );
    host.run_until_ready(20 * SECOND);
    assert_eq!(alerts(&host).len(), told);
    assert_clean(&host, 30);
}
