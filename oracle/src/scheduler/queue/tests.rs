use proptest::prelude::*;

use super::*;

const ROOM: Room = Room {
    taken_answers: 2,
    answers: 4,
    taken_kv_bytes: 50,
    kv_bytes: 100,
};

fn need(answers: usize, kv_bytes: usize) -> Need {
    Need { answers, kv_bytes }
}

fn line(most: usize) -> (Line<&'static str>, Instant) {
    (Line::new(most, Duration::from_secs(30)), Instant::now())
}

fn after(start: Instant, seconds: f64) -> Instant {
    start + Duration::from_secs_f64(seconds)
}

#[test]
fn a_request_begins_when_its_worst_case_fits() {
    assert!(ROOM.fits(need(2, 50)));
    assert!(!ROOM.fits(need(3, 50)), "too many answers");
    assert!(!ROOM.fits(need(2, 51)), "too much memory");
    let empty = Room {
        taken_answers: 0,
        taken_kv_bytes: 0,
        ..ROOM
    };
    assert!(
        empty.fits(need(9, 100)),
        "with more choices than places it has its turn alone"
    );
}

#[test]
fn a_small_request_does_not_overtake_a_large_one() {
    let (mut line, now) = line(9);
    line.join("large", 0, need(1, 90), 0, now).unwrap();
    line.join("small", 0, need(1, 1), 0, now).unwrap();
    assert!(line.next(ROOM).is_none());
    let empty = Room {
        taken_answers: 0,
        taken_kv_bytes: 0,
        ..ROOM
    };
    assert_eq!(line.next(empty).unwrap().item, "large");
    assert_eq!(line.next(ROOM).unwrap().item, "small");
    assert!(line.next(ROOM).is_none());
}

#[test]
fn those_that_nobody_wants_leave_the_line() {
    let (mut line, now) = line(2);
    line.join("a", 0, need(1, 1), 0, now).unwrap();
    line.join("b", 1, need(1, 1), 0, now).unwrap();
    line.join("c", 2, need(1, 1), 0, now).unwrap_err();
    assert_eq!(line.forget(|&item| item == "a"), 1);
    line.join("c", 2, need(1, 1), 0, now).unwrap();
    assert_eq!(line.take_all().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(line.len(), 0);
}

#[test]
fn those_that_waited_too_long_are_told() {
    let (mut line, now) = line(9);
    line.join("a", 0, need(1, 1), 0, now).unwrap();
    line.join("b", 0, need(1, 1), 0, after(now, 10.0)).unwrap();
    assert!(line.take_overdue(after(now, 29.9)).is_empty());
    let overdue: Vec<_> = line
        .take_overdue(after(now, 30.0))
        .into_iter()
        .map(|(item, _)| item)
        .collect();
    assert_eq!(overdue, ["a"]);
    assert_eq!(line.len(), 1);
}

/// Fills a line, and says who has a turn in what order.
fn order(line: &mut Line<&'static str>) -> Vec<&'static str> {
    let empty = Room {
        taken_answers: 0,
        taken_kv_bytes: 0,
        ..ROOM
    };
    std::iter::from_fn(|| line.next(empty).map(|waiting| waiting.item)).collect()
}

#[test]
fn clients_take_turns_and_each_has_its_own_in_order() {
    let (mut line, now) = line(20);
    for item in ["a1", "a2", "a3", "a4"] {
        line.join(item, 1, need(1, 1), 0, now).unwrap();
    }
    for (item, client) in [("b1", 2), ("c1", 3), ("b2", 2), ("a5", 1)] {
        line.join(item, client, need(1, 1), 0, now).unwrap();
    }
    assert_eq!(order(&mut line), ["a1", "b1", "c1", "a2", "b2", "a3", "a4", "a5"]);
    assert!(line.turns.is_empty(), "nobody is remembered");
}

#[test]
fn whose_turn_it_is_waits_for_memory_and_no_other_client_overtakes() {
    let (mut line, now) = line(20);
    line.join("large", 1, need(1, 90), 0, now).unwrap();
    for item in ["small", "smaller"] {
        line.join(item, 2, need(1, 1), 0, now).unwrap();
    }
    assert!(line.next(ROOM).is_none());
    assert_eq!(order(&mut line), ["large", "small", "smaller"]);
}

#[test]
fn who_leaves_the_line_leaves_its_turn() {
    let (mut line, now) = line(20);
    for (item, client) in [("a1", 1), ("b1", 2), ("a2", 1), ("c1", 3)] {
        line.join(item, client, need(1, 1), 0, now).unwrap();
    }
    assert_eq!(line.forget(|item| item.starts_with('a')), 2);
    assert_eq!(order(&mut line), ["b1", "c1"]);
}

#[test]
fn a_client_has_at_most_half_of_the_places_and_is_told_when_one_of_its_own_is_free() {
    let (mut line, now) = line(8);
    line.expect_interval(3.0);
    for item in ["a1", "a2", "a3", "a4"] {
        line.join(item, 1, need(1, 1), 0, now).unwrap();
    }
    let mut refused = || {
        let refused = line.join("a5", 1, need(1, 1), 0, now);
        refused.unwrap_err().as_secs_f64().round() as u32
    };
    assert_eq!((refused(), refused()), (3, 6), "alone, each turn is its own");
    for item in ["b1", "b2"] {
        line.join(item, 2, need(1, 1), 0, now).unwrap();
    }
    let refused = line.join("a5", 1, need(1, 1), 0, now).unwrap_err();
    assert_eq!(refused.as_secs(), 12, "with another client, every second one");
    for item in ["b3", "b4"] {
        line.join(item, 2, need(1, 1), 0, now).unwrap();
    }
    let full = line.join("c1", 3, need(1, 1), 0, now).unwrap_err();
    assert_eq!(full.as_secs(), 3, "who was not told before comes first");
    // A line of one has a place for somebody.
    let mut short = Line::new(1, Duration::from_secs(30));
    short.join("x", 1, need(1, 1), 0, now).unwrap();
}

#[test]
fn who_could_not_have_a_turn_in_time_is_told_at_once() {
    let (mut line, start) = line(100);
    // One every four seconds, eight together: the line lasts thirty seconds.
    let mut now = start;
    for round in 1..=4 {
        assert_eq!(line.drain.is_measured(), round > 1, "only what is known refuses");
        now = after(start, f64::from(round) * 32.0);
        for _ in 0..8 {
            line.done(now, start);
        }
    }
    let took = (0..50)
        .take_while(|_| line.join("a", 1, need(1, 1), 0, now).is_ok())
        .count();
    assert_eq!(
        took, 8,
        "the eighth has its turn after 28 seconds, or 32 if it is late"
    );
    line.join("b", 2, need(1, 1), 0, now)
        .expect("another client has its turn soon");
    line.join("a", 1, need(1, 1), 5, now)
        .expect("there is room for five at once");
}

#[test]
fn whoever_is_turned_away_is_told_when_there_may_be_a_place() {
    let (mut line, start) = line(0);
    let refused = |line: &mut Line<_>, now| line.join("x", 0, need(1, 1), 0, now).unwrap_err().as_secs_f64();
    // Eight every 32 seconds.
    let mut now = start;
    for count in 1..=6 {
        now = after(start, f64::from(count) * 32.0);
        for _ in 0..8 {
            line.done(now, start);
        }
    }
    let near = |seconds: f64, expected: f64| (seconds - expected).abs() < 0.1;
    let (first, second) = (refused(&mut line, now), refused(&mut line, now));
    assert!(near(first, 4.0), "{first}");
    assert!(near(second, 8.0), "the next place is the first one's: {second}");
    // What was promised stays promised when a request ends.
    let later = after(now, 4.0);
    line.done(later, start);
    let third = refused(&mut line, later);
    assert!((7.0..9.0).contains(&third), "{third}");
    for _ in 0..1000 {
        assert!(refused(&mut line, later) <= 60.0);
    }
    // Time without work says nothing about how long work takes.
    let busy_since = after(start, 1000.0);
    line.done(after(start, 1004.0), busy_since);
    let after_a_pause = refused(&mut line, after(start, 1004.0));
    assert!((3.0..5.0).contains(&after_a_pause), "{after_a_pause}");
    for count in 0..100 {
        line.done(after(start, 1004.0 + f64::from(count) * 0.01), busy_since);
    }
    let soon = refused(&mut line, after(start, 2000.0));
    assert!(near(soon, 1.0), "and never less than a second: {soon}");
}

proptest! {
    #[test]
    fn everybody_has_a_turn_within_a_round_for_each_of_its_own(clients in prop::collection::vec(0u64..5, 0..40)) {
        let now = Instant::now();
        let mut line = Line::new(100, Duration::from_secs(30));
        for (index, &client) in clients.iter().enumerate() {
            line.join((index, client), client, need(1, 1), 100, now).unwrap();
        }
        let empty = Room { taken_answers: 0, taken_kv_bytes: 0, ..ROOM };
        let order: Vec<(usize, u64)> = std::iter::from_fn(|| line.next(empty).map(|waiting| waiting.item)).collect();
        prop_assert_eq!(order.len(), clients.len());
        for (place, &(index, client)) in order.iter().enumerate() {
            let before = order[..place].iter().filter(|&&(_, other)| other == client);
            prop_assert!(before.clone().all(|&(other, _)| other < index), "first in, first out");
            prop_assert!(place < 5 * (before.count() + 1), "a round for each of its own");
        }
    }
}
