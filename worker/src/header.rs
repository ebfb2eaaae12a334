//! Reads `op`, `s` and `t` of a gateway payload and nothing more.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use twilight_model::gateway::event::GatewayEventDeserializer;

pub(crate) const DISPATCH: u8 = 0;
pub(crate) const RECONNECT: u8 = 7;
pub(crate) const INVALID_SESSION: u8 = 9;
pub(crate) const HELLO: u8 = 10;

/// What routing needs to know of a payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) op: u8,
    pub(crate) sequence: Option<u64>,
    pub(crate) kind: Option<Cow<'a, str>>,
}

/// The payload's outer object, with `d` left as it is.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    op: u8,
    s: Option<u64>,
    #[serde(borrow)]
    t: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) d: Option<&'a RawValue>,
}

impl<'a> Header<'a> {
    /// The substring scan costs a tenth of a microsecond, but takes the first
    /// `"op":` in the text, so it is trusted only in Discord's own key order.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        if text.starts_with(r#"{"t":"#) {
            let (op, sequence, kind) = GatewayEventDeserializer::from_json(text)?.into_parts();
            return Some(Self { op, sequence, kind });
        }
        let envelope: Envelope<'a> = serde_json::from_str(text).ok()?;
        Some(Self {
            op: envelope.op,
            sequence: envelope.s,
            kind: envelope.t,
        })
    }
}

/// Whether an op 9 says that the session may be resumed.
pub(crate) fn is_resumable(text: &str) -> bool {
    serde_json::from_str::<Envelope<'_>>(text)
        .is_ok_and(|envelope| envelope.d.is_some_and(|d| d.get() == "true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, op: u8, sequence: Option<u64>, kind: Option<&str>) {
        let header = Header::read(text).unwrap();
        assert_eq!(
            header,
            Header {
                op,
                sequence,
                kind: kind.map(Cow::from)
            },
            "{text}"
        );
    }

    #[test]
    fn a_header_is_read_in_any_key_order() {
        check(
            r#"{"t":"READY","s":1,"op":0,"d":{"op":7}}"#,
            0,
            Some(1),
            Some("READY"),
        );
        check(r#"{"t":null,"s":null,"op":11,"d":null}"#, 11, None, None);
        check(
            r#"{"d":{"op":7,"t":"X","s":3},"op":0,"s":9,"t":"TYPING_START"}"#,
            0,
            Some(9),
            Some("TYPING_START"),
        );
        check(r#"{"op":10,"d":{"heartbeat_interval":41250}}"#, 10, None, None);
    }

    #[test]
    fn what_is_no_payload_has_no_header() {
        assert_eq!(Header::read("[]"), None);
        assert_eq!(Header::read(r#"{"d":1}"#), None);
    }

    #[test]
    fn only_a_plain_true_makes_an_invalid_session_resumable() {
        assert!(is_resumable(r#"{"t":null,"s":null,"op":9,"d":true}"#));
        assert!(!is_resumable(r#"{"t":null,"s":null,"op":9,"d":false}"#));
        assert!(!is_resumable(r#"{"op":9}"#));
    }
}
