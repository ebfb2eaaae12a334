//! Which of the Unicode encodings a JSON body is in, told from its first bytes
//! (RFC 4627, section 3), and the body as text.

/// The body as text, or `None` when it is no text in the encoding it seems to have.
pub(super) fn decode(body: &[u8]) -> Option<String> {
    match Encoding::of(body) {
        (Encoding::Utf8, mark) => String::from_utf8(body[mark..].to_vec()).ok(),
        (Encoding::Utf16(order), mark) => {
            let (units, rest) = body[mark..].as_chunks::<2>();
            let units = units.iter().map(|unit| match order {
                Order::Big => u16::from_be_bytes(*unit),
                Order::Little => u16::from_le_bytes(*unit),
            });
            rest.is_empty()
                .then(|| char::decode_utf16(units).collect::<Result<_, _>>().ok())?
        }
        (Encoding::Utf32(order), mark) => {
            let (units, rest) = body[mark..].as_chunks::<4>();
            let units = units.iter().map(|unit| match order {
                Order::Big => u32::from_be_bytes(*unit),
                Order::Little => u32::from_le_bytes(*unit),
            });
            rest.is_empty().then(|| units.map(char::from_u32).collect())?
        }
    }
}

#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16(Order),
    Utf32(Order),
}

impl Encoding {
    /// The encoding, and the length of the byte order mark that says so.
    fn of(body: &[u8]) -> (Self, usize) {
        match body {
            [0, 0, 0xfe, 0xff, ..] => (Self::Utf32(Order::Big), 4),
            [0xff, 0xfe, 0, 0, ..] => (Self::Utf32(Order::Little), 4),
            [0xfe, 0xff, ..] => (Self::Utf16(Order::Big), 2),
            [0xff, 0xfe, ..] => (Self::Utf16(Order::Little), 2),
            [0xef, 0xbb, 0xbf, ..] => (Self::Utf8, 3),
            // A JSON text begins with ASCII, so zero bytes tell the width.
            [0, 0, _, _, ..] => (Self::Utf32(Order::Big), 0),
            [0, _, _, _, ..] | [0, _] => (Self::Utf16(Order::Big), 0),
            [_, 0, 0, 0, ..] => (Self::Utf32(Order::Little), 0),
            [_, 0, _, _, ..] | [_, 0] => (Self::Utf16(Order::Little), 0),
            _ => (Self::Utf8, 0),
        }
    }
}
