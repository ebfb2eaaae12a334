//! One event as one line of JSON.

use std::io::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use shardman_core::Epoch;

use super::Event;
use crate::header::Envelope;

#[derive(Serialize)]
struct Line<'a> {
    shard: u32,
    total: u32,
    epoch: Option<Epoch>,
    sequence: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    data: Option<&'a RawValue>,
}

/// Appends the event's line to `out`. `data` is the payload's `d` as it came.
pub(super) fn write(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let envelope: Envelope<'_> = serde_json::from_str(&event.payload)?;
    let start = out.len();
    serde_json::to_writer(
        &mut *out,
        &Line {
            shard: event.shard.number(),
            total: event.shard.total(),
            epoch: event.epoch,
            sequence: event.sequence,
            kind: &event.kind,
            data: envelope.d,
        },
    )?;
    // A line break in valid JSON is only ever white space between tokens.
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.write_all(b"\n").map_err(serde_json::Error::io)
}

#[cfg(test)]
mod tests {
    use shardman_core::ShardId;

    use super::*;
    use crate::sink::Acks;

    #[test]
    fn a_line_carries_the_origin_and_the_untouched_data() {
        let event = Event {
            shard: ShardId::new(3, 16).unwrap(),
            epoch: Some(Epoch(7)),
            sequence: 42,
            kind: "MESSAGE_CREATE".into(),
            payload: "{\"t\":\"MESSAGE_CREATE\",\"s\":42,\"op\":0,\"d\":{\"a\": 1e0,\n\"b\":\"\\n\"}}"
                .to_owned(),
            acks: Acks::default(),
        };
        let mut out = Vec::new();
        write(&event, &mut out).unwrap();
        let expected = concat!(
            r#"{"shard":3,"total":16,"epoch":7,"sequence":42,"type":"MESSAGE_CREATE","#,
            r#""data":{"a": 1e0, "b":"\n"}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
