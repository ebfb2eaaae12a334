//! Transport compression: one stream per connection, flushed after each payload.

use std::io::Write as _;

use axum::extract::ws::Message;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;
use zstd::zstd_safe::CParameter;

/// Discord's frames have a window of 256 KiB; clients size their buffers by it.
const ZSTD_WINDOW_LOG: u32 = 18;
const ZSTD_LEVEL: i32 = 1;

pub(super) enum Codec {
    Plain,
    Zlib(ZlibEncoder<Vec<u8>>),
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
}

impl Codec {
    /// What `compress=` asks for; anything unknown is not compressed.
    pub(super) fn from_query(compress: Option<&str>) -> Self {
        match compress {
            Some("zlib-stream") => Self::Zlib(ZlibEncoder::new(Vec::new(), Compression::fast())),
            Some("zstd-stream") => {
                let mut encoder =
                    ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).expect("the level is one that zstd has");
                encoder
                    .set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))
                    .expect("the window is one that zstd has");
                Self::Zstd(Box::new(encoder))
            }
            Some(_) | None => Self::Plain,
        }
    }

    pub(super) fn encode(&mut self, text: String) -> Message {
        const INTO_MEMORY: &str = "writing to memory does not fail";
        match self {
            Self::Plain => Message::Text(text.into()),
            Self::Zlib(encoder) => {
                encoder.write_all(text.as_bytes()).expect(INTO_MEMORY);
                encoder.flush().expect(INTO_MEMORY);
                Message::Binary(std::mem::take(encoder.get_mut()).into())
            }
            Self::Zstd(encoder) => {
                encoder.write_all(text.as_bytes()).expect(INTO_MEMORY);
                encoder.flush().expect(INTO_MEMORY);
                Message::Binary(std::mem::take(encoder.get_mut()).into())
            }
        }
    }
}
