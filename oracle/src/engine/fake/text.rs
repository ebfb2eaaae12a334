//! The fake model's vocabulary: what ends an answer and what begins a role, all
//! bytes, some words, and pieces that cut characters in two.

use super::super::{Message, Role, Text, TextError, Token};
use super::ask::Ask;
use super::mix;

/// Ends an answer, and each message of a prompt.
pub const END: Token = 0;
const SYSTEM: Token = 1;
const USER: Token = 2;
/// After this the answer begins.
pub const ASSISTANT: Token = 3;
/// The first of the 256 bytes.
const BYTES: Token = 4;
/// The first of the words.
const WORDS: Token = BYTES + 256;

const WORDS_LIST: &[&[u8]] = &[
    b" the",
    b" a",
    b" shard",
    b" holds",
    b" its",
    b" lease",
    b" and",
    b" beats",
    b" while",
    b" one",
    b" worker",
    b" waits",
    b" for",
    b" another",
    b".",
    b",",
    b" epoch",
    b" never",
    b" comes",
    b" back",
    b"\n",
    b" so",
    b" nobody",
    b" is",
    b" told",
    b" twice",
    b" when",
    b" of",
    b" time",
    b" to",
    b" begin",
    b" STOP",
    b" ST",
    b"OP",
    b"END",
    b"##",
    b"#",
    b" caf\xc3",
    b"\xa9",
    b" na\xc3",
    b"\xafve",
    b" \xf0\x9f",
    b"\xa6\x80",
    b"\xe2\x9c",
    b"\x93",
    " é".as_bytes(),
    " 漢".as_bytes(),
    "字".as_bytes(),
    " über".as_bytes(),
    b" 1",
    b" 2",
    b" 3",
    b"4",
    b"5",
    b" yes",
    b" no",
    b" maybe",
    b"!",
    b"?",
    b" (",
    b")",
    b" \"",
    b"\"",
];

pub const VOCABULARY: usize = WORDS as usize + WORDS_LIST.len();

/// The fake model's text.
#[derive(Clone, Debug)]
pub struct FakeText {
    bytes: Vec<Vec<u8>>,
}

impl FakeText {
    pub fn new() -> Self {
        let mut bytes = vec![Vec::new(); BYTES as usize];
        bytes.extend((0..=u8::MAX).map(|byte| vec![byte]));
        bytes.extend(WORDS_LIST.iter().map(|word| word.to_vec()));
        Self { bytes }
    }

    /// The tokens of a text: at each place the longest that fits.
    pub fn tokens(&self, text: &str) -> Vec<Token> {
        let mut rest = text.as_bytes();
        let mut tokens = Vec::new();
        while let Some(&byte) = rest.first() {
            let fitting = (WORDS as usize..VOCABULARY).filter(|&token| rest.starts_with(&self.bytes[token]));
            let longest = fitting.max_by_key(|&token| self.bytes[token].len());
            let token = longest.map_or(BYTES + Token::from(byte), |token| token as Token);
            tokens.push(token);
            rest = &rest[self.bytes[token as usize].len()..];
        }
        tokens
    }
}

impl Default for FakeText {
    fn default() -> Self {
        Self::new()
    }
}

impl Text for FakeText {
    fn prompt(&self, messages: &[Message]) -> Result<Vec<Token>, TextError> {
        let mut tokens = Vec::new();
        for message in messages {
            tokens.push(match message.role {
                Role::System => SYSTEM,
                Role::User => USER,
                Role::Assistant => ASSISTANT,
            });
            tokens.extend(self.tokens(&message.content));
            tokens.push(END);
        }
        tokens.push(ASSISTANT);
        Ok(tokens)
    }

    fn bytes(&self, token: Token) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn name(&self, token: Token) -> String {
        match token {
            END => "<end>".to_owned(),
            SYSTEM | USER | ASSISTANT => format!("<role {token}>"),
            _ => String::from_utf8_lossy(self.bytes(token)).into_owned(),
        }
    }

    fn is_end(&self, token: Token) -> bool {
        token == END
    }
}

/// Writes a row: words are likely, bytes are not, the end comes now and then,
/// and what begins a role never. `written` is how many tokens the answer has.
pub(super) fn logits(seed: u64, noise: u64, written: Option<(usize, &Ask)>, row: &mut Vec<f32>) {
    let ask = written.map(|(_, ask)| ask);
    let nan = written.is_some_and(|(count, ask)| ask.nan_after.is_some_and(|after| count >= after));
    let end = match ask {
        Some(ask) if ask.long => f32::NEG_INFINITY,
        Some(ask) if ask.short => 5.0,
        _ => 1.0,
    };
    row.extend((0..VOCABULARY as Token).map(|token| {
        if nan {
            return f32::NAN;
        }
        let bits = mix(seed ^ u64::from(token).wrapping_mul(0xd6e8_feb8_6659_fd93)) >> 40;
        let chance = bits as f32 / (1u64 << 24) as f32 * 6.0 + noise as f32 * 0.01 * chance_sign(bits);
        match token {
            END => chance + end,
            SYSTEM | USER | ASSISTANT => f32::NEG_INFINITY,
            WORDS.. => chance + 2.0,
            _ => chance - 2.0,
        }
    }));
}

fn chance_sign(bits: u64) -> f32 {
    if bits & 1 == 0 { 1.0 } else { -1.0 }
}
