//! Who lost its seat: nothing more is sent to it, and what it drafted is its own.

use super::*;

#[test]
fn a_connection_that_lost_its_seat_knows_at_once() {
    let mut board = board();
    let mut scout = Seen::join(&mut board, 0, 1);
    open(&mut board, 1, &[1, 2, 3]);
    let lost = board.lost(0, scout.connection);
    assert!(!lost.is_cancelled());
    board.keep_only(|_, _| false, Instant::now());
    assert!(lost.is_cancelled(), "whatever it is still to be sent");
    assert_eq!(scout.told().pop(), Some(Outgoing::Close(Closing::NotHeld)));
    assert!(board.lost(0, scout.connection).is_cancelled());

    let old = Seen::join(&mut board, 0, 2);
    let lost = board.lost(0, old.connection);
    let new = Seen::join(&mut board, 0, 3);
    assert!(lost.is_cancelled() && !board.lost(0, new.connection).is_cancelled());
}

#[test]
fn a_verdict_is_for_who_drafted() {
    let mut board = board();
    let _old = Seen::join(&mut board, 0, 1);
    let _new = Seen::join(&mut board, 0, 2);
    let draft = |epoch| Draft {
        source: Source::Scout { slot: 0, epoch },
        tokens: vec![1, 2, 3],
    };
    let fresh = Reputation::default().acceptance();
    for _ in 0..50 {
        board.verdict(&draft(1), 0);
    }
    let acceptance = |board: &Board| board.seats[&0].reputation.acceptance();
    assert!(
        (acceptance(&board) - fresh).abs() < f64::EPSILON,
        "of who had the slot before"
    );
    board.verdict(&draft(2), 0);
    assert!(acceptance(&board) < fresh);
}
