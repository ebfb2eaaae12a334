use proptest::prelude::*;

use super::*;

/// The text of all bytes, cut before the stop that is whole first.
fn cut(bytes: &[u8], stops: &[String]) -> (String, bool) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let ends = text.char_indices().map(|(at, char)| at + char.len_utf8());
    for end in ends {
        let ending = stops
            .iter()
            .filter(|stop| !stop.is_empty() && text[..end].ends_with(stop.as_str()));
        if let Some(stop) = ending.max_by_key(|stop| stop.len()) {
            return (text[..end - stop.len()].into(), true);
        }
    }
    (text, false)
}

fn check(pieces: &[&[u8]], stops: &[&str], sent: &[&str]) {
    let stops: Vec<String> = stops.iter().map(|&stop| stop.into()).collect();
    let mut stream = TextStream::new(&stops);
    let mut got: Vec<String> = pieces.iter().map(|piece| stream.push(piece)).collect();
    got.push(stream.finish());
    assert_eq!(got, sent, "{pieces:?}");
    assert_eq!(cut(&pieces.concat(), &stops), (got.concat(), stream.stopped()));
}

#[test]
fn half_a_character_waits_for_the_other() {
    check(&[b"caf\xc3", b"\xa9!"], &[], &["caf", "é!", ""]);
    check(&[b"\xf0\x9f", b"\xa6", b"\x80"], &[], &["", "", "🦀", ""]);
    check(&[b"\xf0\x9f", b"a"], &[], &["", "\u{FFFD}a", ""]);
    check(&[b"a\xff", b"\xe2\x9c"], &[], &["a\u{FFFD}", "", "\u{FFFD}"]);
}

#[test]
fn nothing_of_a_stop_is_sent() {
    check(&[b"one E", b"N", b"D two"], &["END"], &["one ", "", "", ""]);
    check(
        &[b"one E", b"N", b"T two"],
        &["END"],
        &["one ", "", "ENT two", ""],
    );
    check(&[b"one E", b"N"], &["END"], &["one ", "", "EN"]);
    check(&[b"aab"], &["ab"], &["a", ""]);
    check(&[b"aa", b"aab"], &["aaab"], &["", "a", ""]);
}

#[test]
fn the_stop_that_is_whole_first_wins() {
    check(&[b"abcX"], &["abcX", "bc"], &["a", ""]);
    check(&[b"abc"], &["c", "abc"], &["", ""]);
    check(&[b"xy", b"z"], &["", "z"], &["xy", "", ""]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_the_whole_cut_before_the_stop(
        pieces in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![4 => prop::sample::select(b"ab\xc3\xa9\xe2\x9c\x93".to_vec()), 1 => any::<u8>()],
                0..4,
            ),
            0..14,
        ),
        stops in prop::collection::vec("[abé✓\u{FFFD}]{0,4}", 0..4),
    ) {
        let mut stream = TextStream::new(&stops);
        let mut text = String::new();
        let (whole, stopped) = cut(&pieces.concat(), &stops);
        for piece in &pieces {
            text.push_str(&stream.push(piece));
            prop_assert!(whole.starts_with(&text), "{text:?} was sent of {whole:?}");
            prop_assert_eq!(stream.sent(), text.len());
        }
        text.push_str(&stream.finish());
        prop_assert_eq!((text, stream.stopped()), (whole, stopped));
    }
}
