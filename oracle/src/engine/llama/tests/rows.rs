//! Rows are the same bits however they are fed, taken back, or shared.

use super::super::check;
use super::super::kernel::Level;
use super::*;
use crate::engine::{EngineError, Facts, Logits};

/// The logits of all of them, fed `width` by `width`.
fn in_chunks(engine: &mut Llama, tokens: &[Token], width: usize) -> Vec<u32> {
    let sequence = engine.open();
    let all = tokens
        .chunks(width)
        .flat_map(|chunk| feed(engine, sequence, chunk))
        .collect();
    engine.close(sequence);
    all
}

#[test]
fn a_row_is_the_same_bits_however_it_is_fed() {
    let tokens = tokens(200, 1);
    let expected = in_chunks(&mut engine(1), &tokens, 1);
    for threads in [1, 2] {
        let mut engine = engine(threads);
        for level in Level::all() {
            engine.level = level;
            for width in [1, 3, 8, 17, 200] {
                assert_eq!(
                    in_chunks(&mut engine, &tokens, width),
                    expected,
                    "{threads} {level:?} {width}"
                );
            }
        }
    }
}

#[test]
fn a_row_is_the_same_bits_beside_others() {
    for threads in [1, 2] {
        let mut engine = engine(threads);
        let all: Vec<Vec<Token>> = (0..5).map(|index| tokens(60 + 7 * index, index as u64)).collect();
        let alone: Vec<Vec<u32>> = all
            .iter()
            .map(|tokens| in_chunks(&mut engine, tokens, 1))
            .collect();
        let sequences: Vec<SequenceId> = all.iter().map(|_| engine.open()).collect();
        let mut shared = vec![Vec::new(); all.len()];
        let mut random = fastrand::Rng::with_seed(9);
        let mut fed = vec![0; all.len()];
        while fed.iter().zip(&all).any(|(fed, all)| *fed < all.len()) {
            let widths: Vec<usize> = fed
                .iter()
                .zip(&all)
                .map(|(fed, all)| random.usize(0..12).min(all.len() - fed))
                .collect();
            let feeds: Vec<Feed<'_>> = (0..all.len())
                .map(|index| Feed {
                    sequence: sequences[index],
                    tokens: &all[index][fed[index]..fed[index] + widths[index]],
                    want: Want::All,
                })
                .collect();
            let logits = engine.forward(&feeds).unwrap();
            let mut rows = logits.values.chunks_exact(logits.vocabulary);
            for (index, width) in widths.iter().enumerate() {
                for row in rows.by_ref().take(*width) {
                    shared[index].extend(bits(row));
                }
                fed[index] += width;
            }
        }
        assert!(shared == alone, "with {threads} threads");
    }
}

#[test]
fn only_the_wanted_rows_are_given_in_order() {
    let mut engine = engine(1);
    let (first, second, third) = (engine.open(), engine.open(), engine.open());
    let tokens = tokens(6, 3);
    let feed = |sequence, want| Feed {
        sequence,
        tokens: &tokens,
        want,
    };
    let logits = engine
        .forward(&[
            feed(first, Want::Last),
            feed(second, Want::Nothing),
            feed(third, Want::All),
        ])
        .unwrap();
    assert_eq!(logits.rows(), 7);
    assert_eq!(logits.row(0), logits.row(6));
    assert_ne!(logits.row(0), logits.row(5));
    let none = engine.forward(&[feed(first, Want::Nothing)]).unwrap();
    assert_eq!(none.rows(), 0);
}

#[test]
fn what_is_taken_back_leaves_no_trace() {
    let mut engine = engine(1);
    let (kept, wrong, right) = (tokens(21, 1), tokens(30, 2), tokens(40, 3));
    let path: Vec<Token> = kept.iter().chain(&right).copied().collect();
    let expected = in_chunks(&mut engine, &path, 100);
    let sequence = engine.open();
    let mut found = feed(&mut engine, sequence, &kept);
    feed(&mut engine, sequence, &wrong);
    engine.truncate(sequence, kept.len());
    // Taking back what is not there does nothing.
    engine.truncate(sequence, 1000);
    found.extend(feed(&mut engine, sequence, &right));
    assert!(found == expected);
    engine.truncate(sequence, 0);
    assert!(feed(&mut engine, sequence, &path) == expected);
}

#[test]
fn a_fork_goes_its_own_way() {
    let mut engine = engine(1);
    let (shared, left, right) = (tokens(37, 1), tokens(20, 2), tokens(25, 3));
    let with = |rest: &[Token]| shared.iter().chain(rest).copied().collect::<Vec<_>>();
    let alone = [&left, &right].map(|rest| in_chunks(&mut engine, &with(rest), 100));
    let first = engine.open();
    let before = feed(&mut engine, first, &shared);
    let second = engine.fork(first);
    let forks = [(first, &left), (second, &right)].map(|(sequence, rest)| {
        let mut all = before.clone();
        all.extend(feed(&mut engine, sequence, rest));
        engine.close(sequence);
        all
    });
    assert!(forks == alone);
    assert!(engine.sequences.is_empty());
}

#[test]
fn a_feed_longer_than_a_pass_is_cut_and_still_exact() {
    let mut engine = engine(2);
    let tokens = tokens(super::super::MAX_ROWS + 70, 5);
    let expected = in_chunks(&mut engine, &tokens, 50);
    assert!(in_chunks(&mut engine, &tokens, tokens.len()) == expected);
}

#[test]
fn what_cannot_be_computed_is_refused_and_changes_nothing() {
    let mut engine = engine(1);
    let sequence = engine.open();
    let tokens = tokens(10, 1);
    let expected = feed(&mut engine, sequence, &tokens);
    engine.truncate(sequence, 5);
    let one = |tokens| Feed {
        sequence,
        tokens,
        want: Want::Last,
    };
    let long = vec![1; tiny::CONTEXT];
    let unknown = Feed {
        sequence: SequenceId(99),
        ..one(&tokens)
    };
    for (feeds, why) in [
        (vec![one(&long)], "1029 tokens in a context of 1024"),
        (vec![one(&[1, 70_000])], "there is no token 70000"),
        (vec![one(&[1]), one(&[2])], "SequenceId(4) is fed twice in a pass"),
        (vec![one(&[1]), unknown], "SequenceId(99) is not open"),
    ] {
        let error = engine.forward(&feeds).unwrap_err();
        assert_eq!(error.to_string(), format!("the model cannot compute: {why}"));
    }
    let vocabulary = engine.facts().vocabulary;
    assert!(feed(&mut engine, sequence, &tokens[5..]) == expected[5 * vocabulary..]);
    let left = engine.forward(&[one(&vec![1; tiny::CONTEXT - 10])]).unwrap();
    assert_eq!(left.rows(), 1);
}

#[test]
fn facts_say_what_was_loaded() {
    let (first, text) = read(&tiny::model(1).bytes(), 1).unwrap();
    let (again, _) = read(&tiny::model(1).bytes(), 2).unwrap();
    let (other, _) = read(&tiny::model(2).bytes(), 1).unwrap();
    assert_eq!(first.facts(), again.facts());
    assert_ne!(first.facts().fingerprint, other.facts().fingerprint);
    assert_eq!(first.facts().vocabulary_hash, other.facts().vocabulary_hash);
    assert_eq!(first.facts().vocabulary_hash, text.vocabulary_hash());
    assert_eq!(first.facts().name, "Tiny");
    assert_eq!(first.facts().kv_bytes_per_token, 2 * 2 * 16 * 4);
    assert!(first.facts().row_exact);
    assert!(first.sequences.is_empty(), "the check closes what it opened");
}

#[test]
fn keys_and_values_take_what_is_said() {
    let mut engine = engine(1);
    let sequence = engine.open();
    for token in tokens(900, 1) {
        feed(&mut engine, sequence, &[token]);
        let cache = &engine.sequences[&sequence];
        let said = engine.facts.kv_bytes(cache.length());
        assert!(cache.bytes() <= said, "{} of {said}", cache.bytes());
    }
    let half = engine.fork(sequence);
    for token in tokens(70, 2) {
        feed(&mut engine, half, &[token]);
    }
    engine.truncate(sequence, 500);
    feed(&mut engine, sequence, &tokens(300, 3));
    for (sequence, length) in [(half, 970), (sequence, 900)] {
        let taken = engine.sequences[&sequence].bytes();
        assert!(taken <= engine.facts.kv_bytes(length), "{taken} for {length}");
    }
}

/// An engine whose logits tell how many rows shared the pass.
struct Telling(Llama);

impl Engine for Telling {
    fn facts(&self) -> &Facts {
        self.0.facts()
    }
    fn open(&mut self) -> SequenceId {
        self.0.open()
    }
    fn fork(&mut self, sequence: SequenceId) -> SequenceId {
        self.0.fork(sequence)
    }
    fn close(&mut self, sequence: SequenceId) {
        self.0.close(sequence);
    }
    fn truncate(&mut self, sequence: SequenceId, tokens: usize) {
        self.0.truncate(sequence, tokens);
    }
    fn forward(&mut self, feeds: &[Feed<'_>]) -> Result<Logits, EngineError> {
        let rows: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        let mut logits = self.0.forward(feeds)?;
        if rows > 8
            && let Some(last) = logits.values.last_mut()
        {
            *last = f32::from_bits(last.to_bits() ^ 1);
        }
        Ok(logits)
    }
}

#[test]
fn one_wrong_bit_is_seen_at_start_up() {
    assert!(check::row_exact(&mut engine(1)));
    assert!(!check::row_exact(&mut Telling(engine(1))));
}

#[test]
fn a_fingerprint_names_the_file_and_the_platform() {
    let of = |bytes: &[u8], target| super::super::fingerprint(std::io::Cursor::new(bytes), target).unwrap();
    let here = of(b"model", super::super::TARGET);
    assert_eq!(here, of(b"model", super::super::TARGET));
    assert_ne!(here, of(b"Model", super::super::TARGET));
    for other in [
        ["other", "linux", ""],
        ["x86_64", "other", ""],
        ["x86_64", "linux", "other"],
    ] {
        assert_ne!(here, of(b"model", other), "{other:?}");
    }
}
