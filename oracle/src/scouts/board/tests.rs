mod lost;

use std::collections::BTreeMap;

use prometheus::Registry;

use super::*;

const LIMIT: usize = 4;

fn board() -> Board {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let mut board = Board::new(metrics, LIMIT);
    board.set_vocabulary(100);
    board
}

fn sampling() -> Sampling {
    Sampling {
        temperature: 0.0,
        top_p: 1.0,
        seed: 1,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        logit_bias: BTreeMap::new(),
    }
}

/// A scout that is seen from outside.
struct Seen {
    slot: u32,
    connection: ConnectionId,
    frames: mpsc::Receiver<Outgoing>,
}

impl Seen {
    fn join(board: &mut Board, slot: u32, epoch: u64) -> Self {
        let (sender, mut frames) = mpsc::channel(OUTGOING_MAX);
        let connection = board.join(slot, epoch, sender, Instant::now()).unwrap();
        let welcome = Outgoing::Frame(FromOracle::Welcome { limit: LIMIT });
        assert_eq!(frames.try_recv().unwrap(), welcome);
        Self {
            slot,
            connection,
            frames,
        }
    }

    fn told(&mut self) -> Vec<Outgoing> {
        std::iter::from_fn(|| self.frames.try_recv().ok()).collect()
    }

    fn says(&self, board: &mut Board, answer: u64, base: usize, tokens: &[Token]) -> Arrival {
        let by = (self.slot, self.connection);
        board.arrived(by, AnswerId(answer), base, tokens, Instant::now())
    }
}

fn open(board: &mut Board, answer: u64, prompt: &[Token]) {
    board.open(AnswerId(answer), prompt, &sampling(), Instant::now());
    assert_eq!(draft(board, answer, prompt.len()), None, "it is asked for");
}

fn advance(board: &mut Board, answer: u64, base: usize, tokens: &[Token]) {
    board.advance(AnswerId(answer), base, tokens, Instant::now());
}

fn draft(board: &mut Board, answer: u64, base: usize) -> Option<Vec<Token>> {
    board
        .draft(AnswerId(answer), base, LIMIT, Instant::now())
        .map(|draft| draft.tokens)
}

fn frame_open(answer: u64, prompt: &[Token]) -> Outgoing {
    Outgoing::Frame(FromOracle::Open {
        answer: AnswerId(answer),
        prompt: prompt.to_vec(),
        sampling: sampling(),
    })
}

fn frame_advance(answer: u64, base: usize, tokens: &[Token]) -> Outgoing {
    Outgoing::Frame(FromOracle::Advance {
        answer: AnswerId(answer),
        base,
        tokens: tokens.to_vec(),
    })
}

#[test]
fn a_draft_is_good_for_what_it_says_beyond_the_certain() {
    let mut board = board();
    let scout = Seen::join(&mut board, 0, 1);
    open(&mut board, 7, &[1, 2]);
    assert_eq!(scout.says(&mut board, 7, 2, &[3, 4, 5]), Arrival::Kept);
    assert_eq!(draft(&mut board, 7, 2), Some(vec![3, 4, 5]));
    assert_eq!(draft(&mut board, 7, 3), None, "for another base it is none");
    advance(&mut board, 7, 2, &[3]);
    assert_eq!(draft(&mut board, 7, 3), Some(vec![4, 5]));
    assert_eq!(
        scout.says(&mut board, 7, 2, &[3, 4, 6]),
        Arrival::Kept,
        "said before it knew"
    );
    assert_eq!(draft(&mut board, 7, 3), Some(vec![4, 6]));
    advance(&mut board, 7, 3, &[9]);
    assert_eq!(draft(&mut board, 7, 4), None, "it was wrong");
}

#[test]
fn what_is_late_or_for_another_prefix_is_dropped() {
    let mut board = board();
    let scout = Seen::join(&mut board, 0, 1);
    open(&mut board, 7, &[1, 2]);
    advance(&mut board, 7, 2, &[3, 4]);
    for (base, tokens) in [
        (2, &[3, 4][..]),
        (2, &[3]),
        (3, &[5, 6]),
        (5, &[9]),
        (1, &[2, 3, 4, 5]),
        (usize::MAX, &[1]),
    ] {
        assert_eq!(
            scout.says(&mut board, 7, base, tokens),
            Arrival::Stale,
            "{base} {tokens:?}"
        );
    }
    assert_eq!(scout.says(&mut board, 8, 4, &[5]), Arrival::Stray);
    assert_eq!(draft(&mut board, 7, 4), None);
    assert_eq!(scout.says(&mut board, 7, 2, &[3, 4, 5]), Arrival::Kept);
    assert_eq!(draft(&mut board, 7, 4), Some(vec![5]));
    board.close(AnswerId(7), Instant::now());
    assert_eq!(scout.says(&mut board, 7, 4, &[5]), Arrival::Stray);
}

#[test]
fn an_answer_whose_scout_goes_is_another_ones_with_all_that_is_certain() {
    let mut board = board();
    let mut first = Seen::join(&mut board, 0, 1);
    let mut second = Seen::join(&mut board, 1, 2);
    open(&mut board, 7, &[1, 2]);
    assert_eq!(first.told(), [frame_open(7, &[1, 2])]);
    advance(&mut board, 7, 2, &[3]);
    assert_eq!(first.told(), [frame_advance(7, 2, &[3])]);
    assert_eq!(first.says(&mut board, 7, 3, &[4]), Arrival::Kept);
    assert_eq!(second.told(), []);
    assert_eq!(second.says(&mut board, 7, 3, &[5]), Arrival::Stray);

    board.leave(0, first.connection, Instant::now());
    assert_eq!(second.told(), [frame_open(7, &[1, 2]), frame_advance(7, 2, &[3])]);
    assert_eq!(draft(&mut board, 7, 3), None, "the draft went with who made it");
    assert_eq!(second.says(&mut board, 7, 3, &[4, 5]), Arrival::Kept);
    assert_eq!(draft(&mut board, 7, 3), Some(vec![4, 5]));
    assert_eq!(
        first.says(&mut board, 7, 3, &[9]),
        Arrival::Refused(Closing::Replaced)
    );

    board.leave(1, second.connection, Instant::now());
    assert_eq!(draft(&mut board, 7, 3), None);
    let mut third = Seen::join(&mut board, 5, 9);
    assert_eq!(third.told(), [frame_open(7, &[1, 2]), frame_advance(7, 2, &[3])]);
}

#[test]
fn the_newer_epoch_of_a_slot_replaces_the_older() {
    let mut board = board();
    let mut old = Seen::join(&mut board, 0, 5);
    let (sender, _receiver) = mpsc::channel(OUTGOING_MAX);
    assert_eq!(board.join(0, 4, sender, Instant::now()), Err(Closing::NotHeld));
    let mut new = Seen::join(&mut board, 0, 6);
    assert_eq!(old.told(), [Outgoing::Close(Closing::Replaced)]);
    board.leave(0, old.connection, Instant::now());
    assert!(
        board.is_connected(0, 6),
        "the end of the older is none of the newer"
    );
    board.keep_only(|slot, epoch| (slot, epoch) == (0, 7), Instant::now());
    assert_eq!(new.told(), [Outgoing::Close(Closing::NotHeld)]);
    assert_eq!(board.connected(), 0);
}

#[test]
fn who_reads_nothing_loses_its_place_and_nobody_waits() {
    let mut board = board();
    let frozen = Seen::join(&mut board, 0, 1);
    open(&mut board, 7, &[1]);
    let end = 2 * OUTGOING_MAX;
    for base in 1..end {
        advance(&mut board, 7, base, &[2]);
        assert_eq!(draft(&mut board, 7, base + 1), None);
    }
    assert!(!board.is_connected(0, 1));
    let mut other = Seen::join(&mut board, 1, 2);
    assert_eq!(
        other.told(),
        [frame_open(7, &[1]), frame_advance(7, 1, &vec![2; end - 1])]
    );
    assert_eq!(other.says(&mut board, 7, end, &[2]), Arrival::Kept);
    drop(frozen);
}

#[test]
fn who_has_nothing_when_asked_loses_its_answers_to_another() {
    let mut board = board();
    let mut silent = Seen::join(&mut board, 0, 1);
    open(&mut board, 7, &[1]);
    let mut other = Seen::join(&mut board, 1, 2);
    silent.told();
    let asked = (1..).find(|base| {
        assert_eq!(draft(&mut board, 7, *base), None);
        advance(&mut board, 7, *base, &[2]);
        !other.told().is_empty()
    });
    assert!(asked.unwrap() <= 20, "{asked:?}");
    assert!(
        silent
            .told()
            .contains(&Outgoing::Frame(FromOracle::Close { answer: AnswerId(7) }))
    );
    open(&mut board, 8, &[1]);
    assert_eq!(silent.told(), [], "new ones are not given to it either");
    assert_eq!(other.told(), [frame_open(8, &[1])]);
}

#[test]
fn nobody_waits_twice_for_who_was_late() {
    let mut board = board();
    let scout = Seen::join(&mut board, 0, 1);
    open(&mut board, 7, &[1]);
    let asked = [(AnswerId(7), 1)];
    assert!(board.is_hopeful(AnswerId(7), 1));
    board.waited(&asked, Duration::from_secs(60));
    assert!(!board.is_hopeful(AnswerId(7), 1));
    assert_eq!(scout.says(&mut board, 7, 1, &[2]), Arrival::Kept);
    assert!(board.is_hopeful(AnswerId(7), 1), "it was quicker than that");
    board.waited(&asked, Duration::ZERO);
    assert_eq!(scout.says(&mut board, 7, 1, &[2]), Arrival::Kept);
    assert!(!board.is_hopeful(AnswerId(7), 1), "it is as slow as before");
    assert!(!board.is_hopeful(AnswerId(7), 2));
    assert!(!board.is_hopeful(AnswerId(8), 1));
}

#[test]
fn nonsense_and_spam_end_the_connection() {
    let mut board = board();
    let scout = Seen::join(&mut board, 0, 1);
    open(&mut board, 7, &[1]);
    let malformed = Arrival::Refused(Closing::Malformed);
    assert_eq!(scout.says(&mut board, 7, 1, &[]), malformed);
    assert_eq!(
        scout.says(&mut board, 7, 1, &[100]),
        malformed,
        "not in the vocabulary"
    );
    assert_eq!(scout.says(&mut board, 7, 1, &[1; LIMIT + 1]), malformed);
    let allowed = (0..).find(|_| scout.says(&mut board, 7, 1, &[1]) != Arrival::Kept);
    assert_eq!(
        scout.says(&mut board, 7, 1, &[1]),
        Arrival::Refused(Closing::TooMany)
    );
    assert!(allowed.unwrap() < 100, "{allowed:?}");
    advance(&mut board, 7, 1, &[1]);
    for _ in 0..LIMIT {
        assert_eq!(
            scout.says(&mut board, 7, 2, &[1]),
            Arrival::Kept,
            "it was asked for more"
        );
    }
}

#[test]
fn a_liar_is_heard_seldom_also_when_it_comes_again() {
    let mut board = board();
    let liar = Seen::join(&mut board, 0, 1);
    open(&mut board, 7, &[1]);
    let mut given = 0;
    for base in 1..=100 {
        assert_eq!(liar.says(&mut board, 7, base, &[9, 9]), Arrival::Kept);
        if let Some(draft) = board.draft(AnswerId(7), base, LIMIT, Instant::now()) {
            board.verdict(&draft, 0);
            given += 1;
        }
        advance(&mut board, 7, base, &[1]);
    }
    assert!((2..20).contains(&given), "{given}");
    assert!(!board.is_hopeful(AnswerId(7), 101));
    let mut again = Seen::join(&mut board, 0, 1);
    assert_eq!(again.says(&mut board, 7, 101, &[9]), Arrival::Kept);
    assert!(!board.has_draft(AnswerId(7), 101));
    again.told();
    let mut honest = Seen::join(&mut board, 1, 2);
    advance(&mut board, 7, 101, &[1]);
    assert_eq!(
        honest.told().len(),
        2,
        "the answer goes to who is not known for lies"
    );
    assert_eq!(
        again.told().last(),
        Some(&Outgoing::Frame(FromOracle::Close { answer: AnswerId(7) }))
    );
}

#[test]
fn who_broke_the_rules_stays_out_for_a_moment() {
    let mut board = board();
    let scout = Seen::join(&mut board, 0, 1);
    let (by, now) = ((0, scout.connection), Instant::now());
    board.closing(by, Closing::TooMany, now);
    board.leave(0, scout.connection, now);
    assert!(board.rests(0, 1, now));
    assert!(!board.rests(0, 2, now), "the next lease is another's");
    assert!(!board.rests(1, 1, now));
    assert!(!board.rests(0, 1, now + Duration::from_secs(1)));
    let again = Seen::join(&mut board, 0, 1);
    board.closing((0, again.connection), Closing::Stopping, now);
    board.leave(0, again.connection, now);
    assert!(
        !board.rests(0, 1, now + Duration::from_secs(1)),
        "that was no offence"
    );
}

#[test]
fn nobody_computes_what_nobody_asks_for() {
    let mut board = board();
    let mut scout = Seen::join(&mut board, 0, 1);
    board.open(AnswerId(7), &[1], &sampling(), Instant::now());
    for base in 1..20 {
        advance(&mut board, 7, base, &[2]);
    }
    assert_eq!(scout.told(), [], "no draft of it is wanted");
    assert_eq!(draft(&mut board, 7, 20), None);
    assert_eq!(scout.told(), [frame_open(7, &[1]), frame_advance(7, 1, &[2; 19])]);
    for base in 20..40 {
        advance(&mut board, 7, base, &[2]);
    }
    assert!(scout.told().len() <= 3);
    assert_eq!(draft(&mut board, 7, 40), None);
    let told = scout.told();
    let [Outgoing::Frame(FromOracle::Advance { base, tokens, .. })] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(base + tokens.len(), 40, "all that it missed");
    let mut second = Seen::join(&mut board, 1, 2);
    for base in 40..60 {
        advance(&mut board, 7, base, &[2]);
    }
    board.leave(0, scout.connection, Instant::now());
    assert_eq!(second.told(), [], "nor is it given to another then");
}

#[test]
fn answers_are_spread_and_a_newcomer_gets_its_share() {
    let mut board = board();
    let _first = Seen::join(&mut board, 0, 1);
    for answer in 0..6 {
        open(&mut board, answer, &[1]);
    }
    let _second = Seen::join(&mut board, 1, 2);
    assert_eq!((board.load(0), board.load(1)), (3, 3));
    let _third = Seen::join(&mut board, 2, 3);
    assert_eq!((board.load(0), board.load(1), board.load(2)), (2, 2, 2));
    for answer in 6..12 {
        open(&mut board, answer, &[1]);
    }
    assert_eq!((board.load(0), board.load(1), board.load(2)), (4, 4, 4));
}
