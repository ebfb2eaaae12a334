//! Numbers written in strings, read as the published server read them: spaces
//! around them, underscores between digits, and every script's decimal digits.

/// The longest text that the published server took for an integer.
const MAX_INTEGER_CHARS: usize = 4300;

/// An integer in a string; one that no `i128` holds becomes the nearest that does.
pub(super) fn integer(text: &str) -> Option<i128> {
    if text.chars().count() > MAX_INTEGER_CHARS {
        return None;
    }
    let plain = plain(text)?;
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_integer.then(|| saturating(&plain))
}

/// A decimal integer literal; one that no `i128` holds becomes the nearest that does.
pub(super) fn saturating(literal: &str) -> i128 {
    let nearest = if literal.starts_with('-') {
        i128::MIN
    } else {
        i128::MAX
    };
    literal.parse().unwrap_or(nearest)
}

/// A number in a string, also `nan` and the infinities.
pub(super) fn float(text: &str) -> Option<f64> {
    plain(text)?.parse().ok()
}

/// The text in ASCII, without spaces around it and underscores between digits.
fn plain(text: &str) -> Option<String> {
    let text = if text.is_ascii() {
        text.trim_matches(ASCII_SPACES)
    } else {
        text.trim_matches(is_space)
    };
    let mut plain = String::with_capacity(text.len());
    let mut characters = text
        .chars()
        .map(|character| digit(character).unwrap_or(character))
        .peekable();
    while let Some(character) = characters.next() {
        if character != '_' {
            plain.push(character);
            continue;
        }
        let is_between_digits = plain.ends_with(|last: char| last.is_ascii_digit())
            && characters.peek().is_some_and(char::is_ascii_digit);
        if !is_between_digits {
            return None;
        }
    }
    Some(plain)
}

/// What counts as a space in a text of ASCII alone.
const ASCII_SPACES: [char; 6] = ['\t', '\n', '\u{b}', '\u{c}', '\r', ' '];

/// What counts as a space in any other text: ASCII's four separators too.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The ASCII form of another script's decimal digit.
fn digit(character: char) -> Option<char> {
    let code = u32::from(character);
    let zero = ZEROS[..ZEROS.partition_point(|&zero| zero <= code)].last()?;
    char::from_digit(code.checked_sub(*zero).filter(|digit| *digit < 10)?, 10)
}

/// Every decimal zero beyond ASCII (Unicode 14, category Nd); nine digits follow each.
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50,
    0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140,
    0x1e2f0, 0x1e950, 0x1fbf0,
];
