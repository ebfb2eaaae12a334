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
    line.join("large", need(1, 90), now).unwrap();
    line.join("small", need(1, 1), now).unwrap();
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
    line.join("a", need(1, 1), now).unwrap();
    line.join("b", need(1, 1), now).unwrap();
    line.join("c", need(1, 1), now).unwrap_err();
    assert_eq!(line.forget(|&item| item == "a"), 1);
    line.join("c", need(1, 1), now).unwrap();
    assert_eq!(line.take_all().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(line.len(), 0);
}

#[test]
fn those_that_waited_too_long_are_told() {
    let (mut line, now) = line(9);
    line.join("a", need(1, 1), now).unwrap();
    line.join("b", need(1, 1), after(now, 10.0)).unwrap();
    assert!(line.take_overdue(after(now, 29.9)).is_empty());
    let overdue: Vec<_> = line
        .take_overdue(after(now, 30.0))
        .into_iter()
        .map(|(item, _)| item)
        .collect();
    assert_eq!(overdue, ["a"]);
    assert_eq!(line.len(), 1);
}

#[test]
fn whoever_is_turned_away_is_told_when_there_may_be_a_place() {
    let (mut line, start) = line(0);
    let refused = |line: &mut Line<_>| line.join("x", need(1, 1), start).unwrap_err().as_secs_f64();
    // One every four seconds.
    for count in 1..=50 {
        line.done(after(start, f64::from(count) * 4.0), start);
    }
    let near = |seconds: f64, expected: f64| (seconds - expected).abs() < 0.1;
    let (first, second) = (refused(&mut line), refused(&mut line));
    assert!(near(first, 4.0), "{first}");
    assert!(near(second, 8.0), "the next place is the first one's: {second}");
    for _ in 0..1000 {
        assert!(refused(&mut line) <= 60.0);
    }
    // Time without work says nothing about how long work takes.
    let busy_since = after(start, 1000.0);
    line.done(after(start, 1004.0), busy_since);
    let after_a_pause = refused(&mut line);
    assert!(near(after_a_pause, 4.0), "{after_a_pause}");
    for count in 0..100 {
        line.done(after(start, 1004.0 + f64::from(count) * 0.01), busy_since);
    }
    assert!(near(refused(&mut line), 1.0), "and never less than a second");
}
