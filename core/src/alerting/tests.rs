use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

mod ends;

use ends::over;

fn shard(number: u32) -> ShardId {
    ShardId::new(number, 2000).unwrap()
}

fn lost(number: u32, now: Tick) -> Notice {
    Notice {
        kind: AlertKind::Disconnect,
        pool: PoolId::discord(),
        worker: None,
        shard: Some(shard(number)),
        cause: format!("no beat for {} s", 60 + number % 2),
        last_lines: String::new(),
        at_ms: now.0,
        last_beat_ms: now.0,
    }
}

fn crash(worker: u32, how: &str, now: Tick) -> Notice {
    let worker = WorkerId::new(&PoolId::discord(), worker);
    Notice {
        kind: AlertKind::CrashLoop,
        cause: format!("worker {worker} is crash looping: {how}"),
        last_lines: format!("last words of {worker}"),
        worker: Some(worker),
        shard: None,
        ..lost(0, now)
    }
}

const TAKEN: Outcome = Outcome::Taken { pause: None };

/// What is told, and when, while everything is taken at once.
fn told_until(outbox: &mut Outbox, end: Tick) -> Vec<(Tick, Vec<Entry>)> {
    let mut told = Vec::new();
    while let Some(due) = outbox.due().filter(|due| *due <= end) {
        let entries: Vec<_> = outbox.take(10, due).into_iter().cloned().collect();
        assert!(!entries.is_empty(), "it was due");
        outbox.settle(TAKEN, due);
        told.push((due, entries));
    }
    told
}

#[test]
fn a_thousand_shards_lost_in_twenty_seconds_are_a_few_entries_that_name_all() {
    let mut outbox = Outbox::new(Tick(0));
    let mut told = Vec::new();
    for number in 0..1000 {
        let now = Tick(u64::from(number) * 20);
        told.extend(told_until(&mut outbox, now));
        outbox.raise(lost(number, now), now);
    }
    told.extend(told_until(&mut outbox, Tick(60_000)));
    assert!(told.len() <= 6, "{} messages", told.len());
    let entries: Vec<_> = told.iter().flat_map(|(_, entries)| entries).collect();
    assert_eq!(entries.iter().map(|entry| entry.count).sum::<u64>(), 1000);
    let shards: BTreeSet<_> = entries.iter().flat_map(|entry| entry.shards()).collect();
    assert_eq!(shards.len(), 1000);
    assert_eq!(ranges(shards.iter().map(|shard| shard.number())), ["0–999"]);
    assert_eq!(entries[0].causes.len(), 2, "what differs is shown");
}

#[test]
fn the_first_word_comes_after_half_a_second_and_takes_along_what_came_with_it() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.raise(lost(0, Tick(1000)), Tick(1000));
    assert_eq!(outbox.due(), Some(Tick(1500)));
    outbox.raise(crash(1, "exit code 1", Tick(1400)), Tick(1400));
    outbox.raise(crash(2, "exit code 2", Tick(1400)), Tick(1400));
    outbox.raise(crash(3, "killed by signal SIGKILL", Tick(1400)), Tick(1400));
    let told = told_until(&mut outbox, Tick(10_000));
    assert_eq!(told.len(), 1);
    let kinds: Vec<_> = told[0].1.iter().map(|entry| (entry.kind, entry.count)).collect();
    assert_eq!(
        kinds,
        [
            (AlertKind::CrashLoop, 2),
            (AlertKind::CrashLoop, 1),
            (AlertKind::Disconnect, 1)
        ],
        "the worst first, by cause"
    );
    let looping = &told[0].1[0];
    assert_eq!(looping.workers().len(), 2);
    assert!(looping.causes[1].contains("exit code 2"));
    assert_eq!(looping.last_lines, "last words of discord-1");
}

#[test]
fn what_was_told_is_counted_and_told_as_a_sum_more_and_more_seldom() {
    let mut outbox = Outbox::new(Tick(0));
    let mut told = Vec::new();
    let day = 24 * 60 * 60 * 1000;
    let mut raised = 0;
    for now in (0..day).step_by(20_000).map(Tick) {
        told.extend(told_until(&mut outbox, now));
        outbox.raise(crash(0, "exit code 1", now), now);
        raised += 1;
    }
    let sums: Vec<_> = told
        .iter()
        .flat_map(|(at, entries)| {
            entries
                .iter()
                .map(|entry| (at.0 / 60_000, entry.count, entry.again_since_ms))
        })
        .collect();
    assert_eq!(sums[0], (0, 1, None));
    assert_eq!(sums[1], (5, 15, Some(0)), "again, 15 times since the first");
    assert_eq!(sums[2].0, 15);
    assert_eq!(sums[3].0, 35);
    assert!((24..=30).contains(&sums.len()), "{}", sums.len());
    let told: u64 = sums.iter().map(|(_, count, _)| count).sum();
    assert_eq!(told + outbox.waiting(), raised);
}

#[test]
fn messages_about_the_fleet_that_differ_are_told_each() {
    let mut outbox = Outbox::new(Tick(0));
    let due = |shards: u32, now: Tick| Notice {
        kind: AlertKind::Plan,
        shard: None,
        cause: format!("{shards} shards are due"),
        ..lost(0, now)
    };
    outbox.raise(due(4, Tick(0)), Tick(0));
    outbox.raise(due(4, Tick(0)), Tick(0));
    outbox.raise(due(8, Tick(0)), Tick(0));
    let told = told_until(&mut outbox, Tick(1000));
    let causes: Vec<_> = told[0]
        .1
        .iter()
        .map(|entry| (&*entry.causes[0], entry.count))
        .collect();
    assert_eq!(causes, [("4 shards are due", 2), ("8 shards are due", 1)]);
}

#[test]
fn good_news_leave_room_for_bad_ones() {
    let mut outbox = Outbox::new(Tick(0));
    let mut told = Vec::new();
    for number in 0..1000 {
        let now = Tick(u64::from(number) * 1000);
        let connect = Notice {
            kind: AlertKind::Connect,
            ..lost(number, now)
        };
        told.extend(told_until(&mut outbox, now));
        outbox.raise(connect, now);
    }
    assert!((30..=40).contains(&told.len()), "{} in 1,000 s", told.len());
    let now = Tick(1_000_000);
    outbox.raise(lost(0, now), now);
    let due = outbox.due().unwrap();
    assert!(due.ms_since(now) <= 12_000, "{}", due.ms_since(now));
}

#[test]
fn the_receivers_word_counts() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.raise(lost(0, Tick(0)), Tick(0));
    assert_eq!(outbox.take(10, Tick(500)).len(), 1);
    assert_eq!(outbox.due(), None, "it is under way");
    let retry_after = Duration::from_millis(64_570);
    outbox.settle(Outcome::Limited { retry_after }, Tick(600));
    outbox.raise(lost(1, Tick(700)), Tick(700));
    assert_eq!(outbox.due(), Some(Tick(65_170)));
    assert!(
        outbox.take_last(10, Tick(65_000)).is_empty(),
        "not even at the end"
    );
    let entry = outbox.take(10, Tick(65_170))[0].clone();
    assert_eq!((entry.count, entry.shards().len()), (2, 2));
    let pause = Some(Duration::from_secs(9));
    outbox.settle(Outcome::Taken { pause }, Tick(65_200));
    outbox.raise(lost(2, Tick(65_200)), Tick(65_200));
    assert_eq!(outbox.due(), Some(Tick(74_200)));
}

#[test]
fn a_receiver_that_is_away_for_hours_is_tried_seldom_and_told_all() {
    let mut outbox = Outbox::new(Tick(0));
    let hours = 3 * 60 * 60 * 1000;
    let (mut tries, mut raised) = (0, 0);
    for now in (0..hours).step_by(1000).map(Tick) {
        outbox.raise(lost(u32::try_from(now.0 / 1000 % 700).unwrap(), now), now);
        raised += 1;
        if !outbox.take(10, now).is_empty() {
            tries += 1;
            outbox.settle(Outcome::Unavailable { chance: 0 }, now);
        }
    }
    assert!((30..=50).contains(&tries), "{tries}");
    assert_eq!(outbox.waiting(), raised);
    let told = told_until(&mut outbox, Tick(hours + 300_000));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].1[0].count, told[0].1[0].shards().len()), (raised, 700));
}

#[test]
fn a_receiver_that_is_gone_is_left_alone_until_it_is_another_one() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.raise(lost(0, Tick(0)), Tick(0));
    outbox.take(10, Tick(500));
    outbox.settle(Outcome::Gone, Tick(600));
    outbox.raise(lost(1, Tick(700)), Tick(700));
    assert!(outbox.is_given_up());
    assert_eq!(outbox.due(), None);
    assert!(outbox.take_last(10, Tick(9_000_000)).is_empty());
    assert!(!outbox.is_ok());
    outbox.retry(Tick(9_000_000));
    let told = told_until(&mut outbox, Tick(9_001_000));
    assert_eq!(told[0].1[0].count, 2, "what was missed is told");
}

#[test]
fn a_receiver_that_forbids_us_is_tried_seldom_and_at_once_when_somebody_asks() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.raise(lost(0, Tick(0)), Tick(0));
    let mut pauses = Vec::new();
    let mut now = outbox.due().unwrap();
    for _ in 0..6 {
        assert_eq!(outbox.take(10, now).len(), 1);
        outbox.settle(Outcome::Misconfigured { chance: 0 }, now);
        let next = outbox.due().unwrap();
        pauses.push(next.ms_since(now) / 60_000);
        now = next;
    }
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    assert!(!outbox.is_ok() && !outbox.is_given_up());
    let soon = Tick(now.0 - 3_000_000);
    outbox.retry(soon);
    assert_eq!(outbox.due(), Some(soon));
    assert_eq!(outbox.take(10, soon).len(), 1);
    outbox.settle(TAKEN, soon);
    assert!(outbox.is_ok());
    // What the receiver asked for is kept all the same.
    let retry_after = Duration::from_secs(60);
    outbox.raise(lost(1, soon), soon);
    outbox.take(10, Tick(soon.0 + 10_000));
    outbox.settle(Outcome::Limited { retry_after }, Tick(soon.0 + 10_000));
    outbox.retry(Tick(soon.0 + 11_000));
    assert_eq!(outbox.due(), Some(Tick(soon.0 + 70_000)));
}

#[test]
fn the_end_of_an_incident_is_told_once_and_only_of_one() {
    let mut incident = Incident::default();
    incident.raise(AlertKind::Connect, Tick(0));
    assert_eq!(incident.look(true, Tick(0)), None);
    incident.raise(AlertKind::Disconnect, Tick(1000));
    incident.raise(AlertKind::CrashLoop, Tick(2000));
    assert_eq!(incident.look(false, Tick(2000)), None);
    assert_eq!(incident.look(true, Tick(61_000)), Some(Tick(66_000)));
    assert_eq!(incident.over(Tick(65_999)), None);
    assert_eq!(incident.look(false, Tick(65_999)), None);
    assert_eq!(incident.over(Tick(70_000)), None, "it was not whole all the time");
    assert_eq!(incident.look(true, Tick(70_000)), Some(Tick(75_000)));
    let over = Over {
        lasted: Duration::from_secs(69),
        alerts: 2,
    };
    assert_eq!(incident.over(Tick(75_000)), Some(over));
    assert_eq!(incident.over(Tick(99_000)), None);
}

#[derive(Clone, Debug)]
enum Step {
    Recover,
    Pass(u64),
    Lose(u32),
    Crash(u32, u32),
    /// An alert that is like no other.
    Odd(u32),
    Settle(Outcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        6 => Just(TAKEN),
        1 => (0u64..9_000).prop_map(|ms| Outcome::Taken { pause: Some(Duration::from_millis(ms)) }),
        2 => (0u64..90_000).prop_map(|ms| Outcome::Limited { retry_after: Duration::from_millis(ms) }),
        1 => any::<u8>().prop_map(|chance| Outcome::Misconfigured { chance }),
        3 => any::<u8>().prop_map(|chance| Outcome::Unavailable { chance }),
    ];
    let step = prop_oneof![
        3 => (0u64..3_000).prop_map(Step::Pass),
        1 => (0u64..900_000).prop_map(Step::Pass),
        6 => (0u32..50).prop_map(Step::Lose),
        3 => (0u32..10, 0u32..3).prop_map(|(worker, how)| Step::Crash(worker, how)),
        1 => (0u32..300).prop_map(Step::Odd),
        1 => Just(Step::Recover),
        6 => outcome.prop_map(Step::Settle),
    ];
    prop::collection::vec(step, 1..400)
}

fn ends(outbox: &Outbox) -> u64 {
    outbox.ends.waiting.len() as u64
}

proptest! {
    #[test]
    fn no_alert_is_lost_and_there_is_no_flood(steps in steps()) {
        let mut now = Tick(0);
        let mut outbox = Outbox::new(now);
        let (mut raised, mut told) = (0, 0);
        let mut unnamed: BTreeSet<ShardId> = BTreeSet::new();
        let mut sent: Vec<Tick> = Vec::new();
        let mut not_before = Tick(0);
        let last = [Step::Pass(3_600_000), Step::Settle(TAKEN)];
        for step in steps.into_iter().chain(std::iter::repeat_n(last, 300).flatten()) {
            match step {
                Step::Pass(ms) => now = Tick(now.0 + ms),
                Step::Lose(number) => {
                    outbox.raise(lost(number, now), now);
                    unnamed.insert(shard(number));
                    raised += 1;
                }
                Step::Crash(worker, how) => {
                    outbox.raise(crash(worker, &"x".repeat(how as usize), now), now);
                    raised += 1;
                }
                Step::Recover => {
                    outbox.raise(over(now), now);
                    prop_assert!(ends(&outbox) <= 1);
                }
                Step::Odd(number) => {
                    let cause = "odd ".repeat(number as usize);
                    outbox.raise(Notice { cause, ..crash(1, "", now) }, now);
                    raised += 1;
                }
                Step::Settle(outcome) => {
                    let entries: Vec<_> = outbox.take(10, now).into_iter().cloned().collect();
                    if entries.is_empty() {
                        continue;
                    }
                    prop_assert!(entries.len() <= 10);
                    prop_assert!(now >= not_before, "before the receiver allows");
                    sent.push(now);
                    prop_assert!(outbox.settle(outcome, now).is_empty());
                    match outcome {
                        Outcome::Taken { pause } => {
                            let alerts = entries.iter().filter(|entry| entry.kind != AlertKind::Recovered);
                            told += alerts.map(|entry| entry.count).sum::<u64>();
                            let named: BTreeSet<_> = entries.iter().flat_map(Entry::shards).collect();
                            unnamed.retain(|shard| !named.contains(shard));
                            not_before = now + pause.unwrap_or_default();
                        }
                        Outcome::Limited { retry_after } => not_before = now + retry_after,
                        Outcome::Unavailable { .. } | Outcome::Misconfigured { .. } | Outcome::Refused | Outcome::Gone | Outcome::Dropped => {}
                    }
                }
            }
            prop_assert_eq!(told + outbox.waiting() - ends(&outbox), raised);
        }
        prop_assert_eq!((told, outbox.waiting()), (raised, 0));
        prop_assert!(unnamed.is_empty(), "{:?}", unnamed);
        let refill = u64::try_from(REFILL.as_millis()).unwrap();
        for (index, first) in sent.iter().enumerate() {
            for (more, last) in sent[index..].iter().enumerate() {
                let most = u64::from(BURST) + last.ms_since(*first) / refill + 1;
                prop_assert!((more as u64) < most, "{} in {}", more + 1, last.ms_since(*first));
            }
        }
    }
}
