//! Deaf, stuck and blocked shards through days of virtual time, with the real
//! numbers; and bots that are only quiet.

use std::sync::{Arc, Mutex};

use shardman_core::{ShardId, Tick, WorkerId};

use super::host::{Host, Scenario};
use super::traffic::{Load, Traffic};
use super::{HOUR, MINUTE, SECOND, alerts, assert_clean, place};

const DAY: u64 = 24 * HOUR;

/// `MAX_SECONDS` is 60, two shards a worker.
fn bot(shards: u32, load: Load) -> Host {
    let mut host = Host::new(Scenario {
        seed: 11,
        shards,
        max_concurrency: 4,
        shards_per_worker: 2,
        budget: 1_000,
        max_seconds: 60.0,
    });
    host.traffic = Some(Traffic::new(load));
    host
}

/// Identifies and resumes so far.
fn connections(host: &Host) -> (u64, u64) {
    let report = host.discord.report(host.now);
    (report.identify_count, report.resume_count)
}

fn shard(number: u32, total: u32) -> ShardId {
    ShardId::new(number, total).unwrap()
}

/// Lets seconds pass until it holds; the seconds it took.
#[track_caller]
fn seconds_until(host: &mut Host, at_most: u64, holds: impl Fn(&Host) -> bool) -> u64 {
    let began = host.now;
    while !holds(host) {
        assert!(
            host.now.ms_since(began) <= at_most * SECOND,
            "not within {at_most} s: {:?}, {:?}",
            host.trouble(),
            alerts(host)
        );
        host.run_until(Tick(host.now.0 + SECOND));
    }
    host.now.ms_since(began) / SECOND
}

fn is_deaf(host: &Host, shard: ShardId) -> bool {
    let fleet = host.fleet().unwrap();
    fleet.standing(shard, host.now).condition.as_str() == "deaf"
}

/// The child that holds a shard.
fn holder(host: &Host, shard: ShardId) -> WorkerId {
    let lease = host.fleet().unwrap().table.lease(shard).unwrap();
    lease.holder.child().unwrap().clone()
}

/// How many runs were ended for that cause, as the metrics have it.
fn ends(host: &Host, cause: &str) -> u64 {
    let tally = &host.fleet().unwrap().tally;
    tally
        .worker_ends
        .iter()
        .filter(|(of, _)| *of == cause)
        .map(|(_, count)| count)
        .sum()
}

/// Nothing was done for a week.
#[track_caller]
fn is_left_alone_for_a_week(shards: u32, load: Load) {
    let mut host = bot(shards, load);
    host.run_until_ready(MINUTE);
    let pids = host.pids();
    host.run_until(Tick(7 * DAY));
    assert_eq!(connections(&host), (u64::from(shards), 0), "{:?}", host.trouble());
    assert_eq!((host.pids(), host.ready()), (pids, host.shards()));
    assert_eq!((alerts(&host), host.trouble()), (vec![], vec![]));
    assert_clean(&host, 11);
}

#[test]
fn a_quiet_bot_is_left_alone_for_a_week() {
    is_left_alone_for_a_week(4, Load::Quiet);
    is_left_alone_for_a_week(1, Load::Quiet);
}

#[test]
fn a_bot_that_sleeps_at_night_is_left_alone_for_a_week() {
    is_left_alone_for_a_week(4, Load::DayAndNight);
    is_left_alone_for_a_week(1, Load::DayAndNight);
}

#[test]
fn a_deaf_shard_is_noticed_within_two_minutes_and_a_beat_and_resumes() {
    for shards in [8, 1] {
        let mut host = bot(shards, Load::Busy);
        host.run_until_ready(MINUTE);
        // A lone shard has none beside it: it is judged once a day is known.
        let known = if shards == 1 { DAY + HOUR } else { HOUR };
        host.run_until(Tick(known));
        let pids = host.pids();
        let deaf = shard(shards - 1, shards);
        host.traffic.as_mut().unwrap().make_deaf(deaf, false, host.now);
        let noticed = seconds_until(&mut host, 132, |host| is_deaf(host, deaf));
        let healed = noticed + seconds_until(&mut host, 60, |host| connections(host).1 == 1);
        let heard = healed + seconds_until(&mut host, 30, |host| !is_deaf(host, deaf));
        println!(
            "{shards} shards: deaf, noticed after {noticed} s, resumed after {healed} s, well after {heard} s"
        );
        assert!(noticed >= 115, "{noticed}: below the floor");
        host.run_until(Tick(host.now.0 + HOUR));
        assert_eq!(connections(&host), (u64::from(shards), 1), "no identify");
        assert_eq!((host.pids(), host.ready()), (pids, host.shards()));
        assert_eq!(alerts(&host), vec![], "nobody is woken for what is cured");
        assert_clean(&host, 11);
    }
}

#[test]
fn a_shard_that_stays_deaf_is_reconnected_then_its_worker_restarted_then_an_operator_told() {
    let mut host = bot(8, Load::Busy);
    host.run_until_ready(MINUTE);
    host.run_until(Tick(HOUR));
    let deaf = shard(5, 8);
    let worker = holder(&host, deaf);
    let pid = host.pid_of(&worker).unwrap();
    let others: Vec<_> = host.pids().into_iter().filter(|other| *other != pid).collect();
    host.traffic.as_mut().unwrap().make_deaf(deaf, true, host.now);
    let began = host.now;
    let restarted = seconds_until(&mut host, 20 * 60, |host| {
        host.pid_of(&worker).is_some_and(|next| next != pid)
    });
    let reconnects = connections(&host).1;
    println!("stays deaf: {reconnects} resumes, the last two by a restart after {restarted} s");
    assert_eq!(reconnects, 3 + 2);
    let mut restarts = 1;
    let mut now = host.pid_of(&worker);
    while host.now.0 < began.0 + 12 * HOUR {
        host.run_until(Tick(host.now.0 + MINUTE));
        let next = host.pid_of(&worker);
        restarts += u32::from(next != now);
        now = next;
    }
    let (identifies, resumes) = connections(&host);
    println!("stays deaf for twelve hours: {resumes} resumes, {restarts} restarts");
    assert_eq!(identifies, 8, "no identify, however long");
    assert_eq!(restarts, 2, "one in six hours");
    assert_eq!(ends(&host, "deaf"), 2);
    let unwell = &host.fleet().unwrap().tally.unwell;
    let found: Vec<_> = unwell.iter().filter(|(_, count)| *count > 0).collect();
    assert!(matches!(found[..], [("deaf", 2..)]), "{found:?}");
    assert!(resumes <= 3 * 12 + 2 * 2, "{resumes}");
    assert!(others.iter().all(|pid| host.pids().contains(pid)));
    assert!(is_deaf(&host, deaf) && host.trouble()[0].contains("5/8 is deaf"));
    let alerts = alerts(&host);
    assert!((2..=6).contains(&alerts.len()), "{alerts:#?}");
    assert!(
        alerts[0].1.contains(&format!("worker {worker} is restarted")),
        "{alerts:#?}"
    );
    assert_clean(&host, 11);
}

#[test]
fn a_whole_fleet_that_falls_silent_at_once_is_not_stormed() {
    for known in [HOUR, DAY + HOUR] {
        let mut host = bot(8, Load::Busy);
        host.run_until_ready(MINUTE);
        host.run_until(Tick(known));
        let pids = host.pids();
        for deaf in ShardId::all(8) {
            host.traffic.as_mut().unwrap().make_deaf(deaf, true, host.now);
        }
        host.run_until(Tick(host.now.0 + 6 * HOUR));
        let (identifies, resumes) = connections(&host);
        println!("all silent, known for {} h: {resumes} reconnects", known / HOUR);
        assert_eq!(identifies, 8);
        assert!(resumes <= 2, "{resumes}");
        assert_eq!(host.pids(), pids, "nobody is restarted");
        if known > DAY {
            let trouble = host.trouble();
            assert!(
                trouble.iter().any(|line| line.contains("may be Discord")),
                "{trouble:?}"
            );
        }
    }
}

#[test]
fn a_shard_that_never_gets_ready_is_tried_again_within_bounds_and_serves_once_it_can() {
    let mut host = bot(8, Load::Busy);
    let stuck = shard(3, 8);
    host.discord.set_stuck(stuck, true);
    host.run_until(Tick(MINUTE));
    assert_eq!(host.ready(), 7);
    let worker = holder(&host, stuck);
    let pid = host.pid_of(&worker).unwrap();
    let restarted = MINUTE / SECOND
        + seconds_until(&mut host, 20 * 60, |host| {
            host.pid_of(&worker).is_some_and(|next| next != pid)
        });
    println!(
        "never READY: {} identifies, the last one by a restart after {restarted} s",
        connections(&host).0 - 7
    );
    assert_eq!(connections(&host).0, 7 + 3, "asked to reconnect once");
    host.run_until(Tick(12 * HOUR));
    let identifies = connections(&host).0 - 7;
    println!("never READY for twelve hours: {identifies} identifies");
    assert!((10..=12 + 1 + 3).contains(&identifies), "{identifies}");
    assert_eq!(host.ready(), 7, "the others serve");
    let alerts = alerts(&host);
    assert!((2..=6).contains(&alerts.len()), "{alerts:#?}");
    assert!(
        alerts[0].1.contains("does not get on: identifying"),
        "{alerts:#?}"
    );
    host.discord.set_stuck(stuck, false);
    host.run_until_ready(HOUR + 10 * MINUTE);
    assert_eq!(host.trouble(), Vec::<String>::new());
    assert_clean(&host, 11);
}

#[test]
fn a_blocked_worker_is_restarted_after_five_minutes_and_a_starved_host_is_not_punished() {
    let mut host = bot(8, Load::Busy);
    host.run_until_ready(MINUTE);
    let pids = host.pids();
    for index in 0..3 {
        host.lagging.insert(place(index), 20.0);
    }
    host.run_until(Tick(HOUR));
    assert_eq!((host.pids(), connections(&host)), (pids, (8, 0)));
    let words = host.trouble();
    assert!(
        words.iter().any(|line| line.contains("it is the host")),
        "{words:?}"
    );
    host.lagging.clear();
    host.run_until(Tick(HOUR + 5 * MINUTE));
    assert_eq!(host.trouble(), Vec::<String>::new());
    let before = alerts(&host).len();

    let pid = host.pid_of(&place(1)).unwrap();
    host.lagging.insert(place(1), 20.0);
    let blocked = seconds_until(&mut host, 60, |host| !host.trouble().is_empty());
    let restarted = blocked
        + seconds_until(&mut host, 400, |host| {
            host.pid_of(&place(1)).is_some_and(|next| next != pid)
        });
    println!("blocked: noticed after {blocked} s, restarted after {restarted} s");
    assert!(blocked <= 45 && (300..360).contains(&restarted));
    host.run_until(Tick(host.now.0 + 5 * HOUR));
    assert_eq!(
        connections(&host),
        (8, 2),
        "its two shards resumed, once: {:?}",
        alerts(&host)
    );
    let told = alerts(&host).len() - before;
    assert!((1..=2).contains(&told), "once for each run: {told}");
    assert_eq!(ends(&host, "blocked"), 1);
    assert_clean(&host, 11);
}

/// What was written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_blocked_worker_is_logged_once_when_it_begins_and_once_when_it_ends() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let mut host = bot(8, Load::Busy);
    host.run_until_ready(MINUTE);
    host.run_until(Tick(HOUR));
    let before = alerts(&host).len();
    for _ in 0..2 {
        host.lagging.insert(place(1), 20.0);
        host.run_until(Tick(host.now.0 + 4 * MINUTE));
        host.lagging.clear();
        host.run_until(Tick(host.now.0 + 10 * MINUTE));
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains(" is blocked")).collect();
    let begins = |line: &&str| line.contains("worker discord-1 is blocked: its loop has lagged behind");
    let ends = |line: &&str| line.contains("worker discord-1 is blocked no more");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(begins(&lines[0]) && begins(&lines[2]), "{lines:#?}");
    assert!(ends(&lines[1]) && ends(&lines[3]), "{lines:#?}");
    assert_eq!(alerts(&host).len() - before, 2);
    assert_eq!(host.trouble(), Vec::<String>::new());
    assert_clean(&host, 11);
}
