//! What is kept under a flood, and what is found again.

use proptest::prelude::*;

use super::*;
use crate::id::{ShardId, WorkerId};

fn event(kind: Kind, subject: Subject) -> Event {
    Event::new(kind, subject, "because", 1)
}

fn of_shard(number: u32) -> Event {
    event(Kind::Ready, Subject::shard(ShardId::new(number, 65_536).unwrap()))
}

fn of_worker(number: u32) -> Event {
    event(
        Kind::WorkerEnded,
        Subject::worker(&WorkerId::from(&*format!("w{number}"))),
    )
}

#[test]
fn rare_events_survive_a_flood_of_states_and_a_worker_that_crashes_for_ever() {
    let mut timeline = Timeline::default();
    let halted = timeline.push(event(Kind::Halted, Subject::fleet())).number;
    let ended = timeline.push(of_worker(7)).number;
    let quiet = timeline.push(of_shard(3)).number;
    for _ in 0..50_000 {
        timeline.push(of_shard(4));
        timeline.push(of_worker(8));
    }
    let kept = |timeline: &Timeline, number| timeline.get(number).is_some();
    assert!(kept(&timeline, halted) && kept(&timeline, ended) && kept(&timeline, quiet));
    // When every shard starts anew, the oldest of shards go, and nothing else.
    for round in 0..40_000 {
        timeline.push(of_shard(10 + round % 20_000));
    }
    assert!(kept(&timeline, halted) && kept(&timeline, ended) && !kept(&timeline, quiet));
}

#[test]
fn pages_go_on_where_the_last_one_ended_and_tell_what_is_gone() {
    let mut timeline = Timeline::default();
    for number in 0..10 {
        timeline.push(of_shard(number % 2));
    }
    let filter = Filter {
        shard: Some((1, None)),
        ..Filter::default()
    };
    let first = timeline.after(0, &filter, 3);
    assert_eq!(numbers(&first.events), [2, 4, 6]);
    let rest = timeline.after(first.next, &filter, 3);
    assert_eq!((numbers(&rest.events), rest.next), (vec![8, 10], 10));
    assert_eq!(timeline.after(10, &filter, 3).next, 10);
    assert_eq!(numbers(&timeline.latest(&filter, 2).events), [8, 10]);
    assert!(timeline.latest(&filter, 0).events.is_empty());
    assert!(!timeline.after(0, &filter, 3).lagged);
    for _ in 0..30 {
        timeline.push(of_shard(0));
    }
    assert!(timeline.after(0, &filter, 3).lagged);
    assert!(!timeline.after(timeline.last(), &filter, 3).lagged);
}

#[test]
fn numbers_go_on_and_leave_out_what_may_have_been_told_and_not_written() {
    let mut timeline = Timeline::default();
    for number in [5, 3, 5] {
        let mut event = of_shard(1);
        event.number = number;
        timeline.restore(event);
    }
    for number in [0, u64::MAX] {
        let mut event = of_shard(1);
        event.number = number;
        timeline.restore(event);
    }
    assert_eq!((timeline.last(), numbers(&timeline.all())), (5, vec![3, 5]));
    timeline.go_on(Some(5));
    assert_eq!(timeline.push(of_shard(1)).number, 6);
    timeline.go_on(Some(5));
    assert_eq!(timeline.push(of_shard(1)).number, 7 + UNWRITTEN);
    let mut fresh = Timeline::default();
    fresh.go_on(None);
    assert_eq!(fresh.push(of_shard(1)).number, 1);
}

#[test]
fn an_event_comes_with_what_led_to_it() {
    let mut timeline = Timeline::default();
    let ended = timeline.push(of_worker(1)).number;
    let mut lost = of_shard(3);
    lost.because_of = Some(ended);
    timeline.push(lost);
    timeline.push(of_worker(2));
    let filter = Filter {
        shard: Some((3, None)),
        ..Filter::default()
    };
    let story = timeline.with_causes(timeline.latest(&filter, 10).events);
    assert_eq!(numbers(&story), [1, 2]);
}

#[test]
fn hostile_lines_are_no_events_and_their_words_are_shown_plain() {
    for line in [
        "",
        "{",
        "null",
        "[]",
        r#"{"number":-1,"at_ms":0,"kind":"ready","cause":""}"#,
        r#"{"number":1,"at_ms":0,"kind":"ready","cause":"","shard":"9/3"}"#,
    ] {
        assert_eq!(Event::parse(line.as_bytes()), None, "{line}");
    }
    assert_eq!(Event::parse(b"\xff\xfe"), None);
    let newer =
        br#"{"number":1,"at_ms":0,"kind":"moon_phase","cause":"a\u001b[2Jb","moon":3,"because_of":9}"#;
    let newer = Event::parse(newer).unwrap();
    assert_eq!((newer.kind, &*newer.cause), (Kind::Other, "a [2Jb"));
    assert_eq!(newer.because_of, None, "no event led to an earlier one");
    let long = Event::new(Kind::Halted, Subject::fleet(), &"é".repeat(5000), 1);
    assert_eq!(long.cause.chars().count(), 401);
}

#[test]
fn a_crash_is_its_own_cause_and_a_stop_that_was_asked_for_is_not() {
    assert!(Kind::WorkerStopAsked.leads_to(Kind::WorkerEnded));
    assert!(!Kind::WorkerRegistered.leads_to(Kind::WorkerEnded));
    assert!(Kind::WorkerEnded.leads_to(Kind::BackOff) && Kind::BackOff.leads_to(Kind::WorkerStarted));
    assert!(Kind::Lost.leads_to(Kind::WorkerStopAsked) && !Kind::Ready.leads_to(Kind::Lost));
}

fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_comes_the_bounds_hold_and_the_newest_of_each_is_there(
        turns in prop::collection::vec((0..3u8, 0..40u32, 1..200usize), 1..150)
    ) {
        let mut timeline = Timeline::default();
        let mut newest = BTreeMap::new();
        for (what, who, times) in turns {
            for _ in 0..times {
                let event = timeline.push(match what {
                    0 => event(Kind::Halted, Subject::fleet()),
                    1 => of_worker(who),
                    _ => of_shard(who),
                });
                newest.insert(event.subject(), event.number);
            }
        }
        for (shelf, (most, of_one)) in timeline.shelves.iter().zip(SHELVES.iter().zip(OF_ONE)) {
            prop_assert!(shelf.events.len() <= *most);
            prop_assert!(shelf.of_one.values().all(|numbers| numbers.len() <= of_one));
            let indexed: usize = shelf.of_one.values().map(VecDeque::len).sum();
            prop_assert_eq!(indexed, shelf.events.len());
        }
        for number in newest.into_values() {
            prop_assert!(timeline.get(number).is_some());
        }
        let all = numbers(&timeline.all());
        prop_assert!(all.is_sorted());
        prop_assert_eq!(all.last().copied(), Some(timeline.last()));
        // Read page by page, they are the same.
        let (mut read, mut behind) = (Vec::new(), 0);
        while behind < timeline.last() {
            let page = timeline.after(behind, &Filter::default(), 64);
            prop_assert!(page.next > behind);
            behind = page.next;
            read.extend(numbers(&page.events));
        }
        prop_assert_eq!(read, all);
    }
}
