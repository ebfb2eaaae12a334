//! Reads one JSON string, escapes and surrogates included.

use super::Fault;

/// A JSON string.
#[derive(Debug)]
pub(in crate::http) struct Text {
    /// The characters; each lone surrogate is replaced by U+FFFD.
    pub(in crate::http) text: String,
    /// Whether no lone surrogate had to be replaced.
    pub(in crate::http) is_unicode: bool,
}

const BAD_UNICODE_ESCAPE: &str = "Invalid \\uXXXX escape";

/// Reads from behind the opening quote to behind the closing one.
pub(super) fn read(source: &str, at: &mut usize) -> Result<Text, Fault> {
    let bytes = source.as_bytes();
    let unterminated = Fault::Syntax {
        msg: "Unterminated string starting at",
        at: *at - 1,
    };
    let mut read = Text {
        text: String::new(),
        is_unicode: true,
    };
    loop {
        let run = bytes[*at..]
            .iter()
            .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
        let Some(run) = run else { return Err(unterminated) };
        read.text.push_str(&source[*at..*at + run]);
        *at += run;
        match bytes[*at] {
            b'"' => {
                *at += 1;
                return Ok(read);
            }
            b'\\' => {}
            _ => {
                return Err(Fault::Syntax {
                    msg: "Invalid control character at",
                    at: *at,
                });
            }
        }
        let simple = match bytes.get(*at + 1) {
            None => return Err(unterminated),
            Some(b'u') => {
                unicode_escape(bytes, at, &mut read)?;
                continue;
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(_) => {
                return Err(Fault::Syntax {
                    msg: "Invalid \\escape",
                    at: *at,
                });
            }
        };
        read.text.push(simple);
        *at += 2;
    }
}

/// Reads `\uXXXX`, or two of them that make one character.
fn unicode_escape(bytes: &[u8], at: &mut usize, read: &mut Text) -> Result<(), Fault> {
    let first = hex_escape(bytes, *at)?;
    *at += 6;
    if (0xd800..0xdc00).contains(&first) && bytes[*at..].starts_with(b"\\u") {
        let second = hex_escape(bytes, *at)?;
        if (0xdc00..0xe000).contains(&second) {
            *at += 6;
            let joined = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            read.text
                .push(char::from_u32(joined).expect("a surrogate pair is one character"));
            return Ok(());
        }
    }
    match char::from_u32(first) {
        Some(character) => read.text.push(character),
        None => {
            read.text.push(char::REPLACEMENT_CHARACTER);
            read.is_unicode = false;
        }
    }
    Ok(())
}

/// The number in the `\uXXXX` that begins at `at`.
fn hex_escape(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let fault = Fault::Syntax {
        msg: BAD_UNICODE_ESCAPE,
        at: at + 1,
    };
    // Something must follow the digits, at least the closing quote.
    if at + 6 >= bytes.len() {
        return Err(fault);
    }
    let mut number = 0;
    for &digit in &bytes[at + 2..at + 6] {
        let Some(digit) = char::from(digit).to_digit(16) else {
            return Err(fault);
        };
        number = number * 16 + digit;
    }
    Ok(number)
}
