//! The end of an incident, how it comes and goes, and what is refused.

use super::*;

pub(super) fn over(now: Tick) -> Notice {
    Notice {
        kind: AlertKind::Recovered,
        shard: None,
        cause: "all shards are ready again".to_owned(),
        ..lost(0, now)
    }
}

fn kinds(told: &[(Tick, Vec<Entry>)]) -> Vec<(u64, AlertKind)> {
    let each = told
        .iter()
        .flat_map(|(at, entries)| entries.iter().map(|entry| (at.0, entry.kind)));
    each.collect()
}

#[test]
fn after_the_end_was_told_a_new_loss_is_told_at_once() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.raise(lost(0, Tick(0)), Tick(0));
    told_until(&mut outbox, Tick(5_000));
    outbox.raise(lost(0, Tick(6_000)), Tick(6_000));
    outbox.raise(over(Tick(20_000)), Tick(20_000));
    let told = told_until(&mut outbox, Tick(30_000));
    let expected = [AlertKind::Disconnect, AlertKind::Recovered];
    let found: Vec<_> = kinds(&told).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(found, expected, "the sum goes along, and the end is last");
    outbox.raise(lost(0, Tick(40_000)), Tick(40_000));
    let told = told_until(&mut outbox, Tick(60_000));
    assert_eq!(kinds(&told), [(40_500, AlertKind::Disconnect)]);
    assert_eq!(told[0].1[0].again_since_ms, None);
}

#[test]
fn the_end_is_not_told_once_something_new_has_begun_nor_without_a_beginning() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.raise(over(Tick(0)), Tick(0));
    assert_eq!((outbox.due(), outbox.waiting()), (None, 0), "nobody knows of it");
    outbox.raise(lost(0, Tick(0)), Tick(0));
    told_until(&mut outbox, Tick(5_000));
    outbox.raise(over(Tick(6_000)), Tick(6_000));
    outbox.raise(over(Tick(6_100)), Tick(6_100));
    assert_eq!(outbox.waiting(), 1, "one at most");
    outbox.raise(lost(1, Tick(6_200)), Tick(6_200));
    let told = told_until(&mut outbox, Tick(60_000));
    assert_eq!(kinds(&told), [(6_700, AlertKind::Disconnect)]);
    // While it is on its way the fleet is hurt, and then it must be sent again.
    outbox.raise(over(Tick(70_000)), Tick(70_000));
    assert_eq!(outbox.take(10, Tick(70_500))[0].kind, AlertKind::Recovered);
    outbox.raise(crash(1, "exit code 1", Tick(70_600)), Tick(70_600));
    outbox.settle(Outcome::Unavailable { chance: 0 }, Tick(70_700));
    let told = told_until(&mut outbox, Tick(90_000));
    assert_eq!(
        kinds(&told).iter().map(|(_, kind)| *kind).collect::<Vec<_>>(),
        [AlertKind::CrashLoop]
    );
}

#[test]
fn a_fleet_that_comes_and_goes_is_told_seldom_and_last_how_it_is() {
    let mut outbox = Outbox::new(Tick(0));
    let mut told = Vec::new();
    let mut now = Tick(0);
    for _ in 0..90 {
        for down in [true, false] {
            now = now + Duration::from_secs(20);
            told.extend(told_until(&mut outbox, now));
            let notice = if down { lost(0, now) } else { over(now) };
            outbox.raise(notice, now);
        }
    }
    println!("{} messages of 90 outages in an hour", told.len());
    assert!((14..=28).contains(&told.len()), "{}", told.len());
    // This one lasts.
    now = now + Duration::from_secs(20);
    told.extend(told_until(&mut outbox, now));
    outbox.raise(lost(0, now), now);
    let last = told_until(&mut outbox, Tick(now.0 + 3_600_000));
    assert_eq!(kinds(&last).last().unwrap().1, AlertKind::Disconnect);
    assert!(
        last[0].0.ms_since(now) <= 300_000,
        "{:?} after {now:?}",
        last[0].0
    );
}

#[test]
fn a_halt_is_told_each_time_at_once() {
    let mut outbox = Outbox::new(Tick(0));
    for minute in 0..4 {
        let now = Tick(minute * 60_000);
        let kind = AlertKind::Halted;
        let cause = "the fleet is halted".to_owned();
        outbox.raise(
            Notice {
                kind,
                cause,
                ..over(now)
            },
            now,
        );
        let told = told_until(&mut outbox, Tick(now.0 + 30_000));
        assert_eq!(kinds(&told), [(now.0 + 500, kind)]);
    }
}

#[test]
fn of_a_message_that_is_refused_only_what_is_refused_alone_is_handed_back() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.raise(lost(0, Tick(0)), Tick(0));
    outbox.raise(crash(1, "exit code 1", Tick(0)), Tick(0));
    assert_eq!(outbox.take(10, Tick(500)).len(), 2);
    assert_eq!(
        outbox.settle(Outcome::Refused, Tick(600)),
        [],
        "not one of them yet"
    );
    assert!(outbox.goes_singly());
    let due = outbox.due().unwrap();
    let entries = outbox.take(10, due);
    assert_eq!((entries.len(), entries[0].kind), (1, AlertKind::CrashLoop));
    assert_eq!(outbox.settle(Outcome::Refused, due)[0].count, 1);
    let told = told_until(&mut outbox, Tick(60_000));
    assert_eq!(told[0].1[0].kind, AlertKind::Disconnect);
    assert_eq!(
        (outbox.waiting(), outbox.is_given_up(), outbox.goes_singly()),
        (0, false, false)
    );
}
