//! The body of `POST /beat`.
//!
//! What nearly every client sends is read in one pass and without a copy. When
//! that pass fails or is not sure, the exact reading decides; it alone refuses.

use serde::Deserialize;
use serde_json::value::RawValue;
use shardman_core::wire::{ResumePoint, ShardState};
use shardman_core::{Epoch, SessionId};

use crate::http::error::{Flaw, Refusal};
use crate::http::field::Fields;
use crate::http::{body as request_body, json};
use crate::manager::BeatReport;

/// A beat as it arrived.
#[derive(Debug)]
pub(in crate::http) struct Beat {
    /// `None` when the text names no session that could ever have been given.
    pub(in crate::http) session: Option<SessionId>,
    pub(in crate::http) report: BeatReport,
}

const STATES: [ShardState; 8] = [
    ShardState::Starting,
    ShardState::Waiting,
    ShardState::Identifying,
    ShardState::Resuming,
    ShardState::StandingBy,
    ShardState::Ready,
    ShardState::Disconnected,
    ShardState::Stopping,
];

/// Seconds that the quick reading takes without a second look.
const PLAIN_SECONDS: std::ops::RangeInclusive<f64> = 0.0..=1e9;

/// Reads the body of a beat.
pub(in crate::http) fn read(body: &[u8]) -> Result<Beat, Refusal> {
    match read_plain(body) {
        Some(beat) => Ok(beat),
        None => read_exactly(body),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    session_id: &'a str,
    #[serde(default)]
    guild_count: Option<i64>,
    #[serde(default)]
    latency: Option<f64>,
    #[serde(borrow, default)]
    extra: Option<&'a RawValue>,
    #[serde(borrow, default)]
    state: Option<&'a str>,
    #[serde(default)]
    epoch: Option<u64>,
    #[serde(borrow, default)]
    gateway: Option<&'a RawValue>,
    #[serde(default)]
    last_event_age: Option<f64>,
    #[serde(default)]
    loop_lag: Option<f64>,
    #[serde(default)]
    event_count: Option<u64>,
    #[serde(default)]
    close_code: Option<u16>,
    #[serde(default)]
    number: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainGateway<'a> {
    session_id: &'a str,
    sequence: u64,
    resume_url: &'a str,
}

/// Reads a body that leaves no doubt.
pub(super) fn read_plain(body: &[u8]) -> Option<Beat> {
    // A list would be taken for an object with its members in order.
    if body.first() != Some(&b'{') {
        return None;
    }
    let plain: Plain<'_> = serde_json::from_slice(body).ok()?;
    let is_plain_time = |seconds: Option<f64>| {
        seconds.is_none_or(|age| age.is_sign_positive() && PLAIN_SECONDS.contains(&age))
    };
    if !is_plain_time(plain.last_event_age) || !is_plain_time(plain.loop_lag) {
        return None;
    }
    // Whether it was written as an integer decides if a zero has its sign.
    if plain
        .latency
        .is_some_and(|latency| latency == 0.0 && latency.is_sign_negative())
    {
        return None;
    }
    let extra = match plain.extra {
        Some(extra) if !is_plainly_storable(extra.get()) => return None,
        extra => extra.map(ToOwned::to_owned),
    };
    let state = match plain.state {
        Some(word) => Some(*STATES.iter().find(|state| state.as_str() == word)?),
        None => None,
    };
    let gateway = match plain.gateway {
        Some(gateway) => Some(plain_gateway(gateway.get())?),
        None => None,
    };
    let report = BeatReport {
        guild_count: plain.guild_count,
        latency: plain.latency,
        extra,
        state,
        epoch: plain.epoch.map(Epoch),
        gateway,
        last_event_age: plain.last_event_age,
        loop_lag: plain.loop_lag,
        event_count: plain.event_count,
        close_code: plain.close_code,
        number: plain.number,
    };
    Some(Beat {
        session: SessionId::parse(plain.session_id),
        report,
    })
}

fn plain_gateway(text: &str) -> Option<ResumePoint> {
    if !text.starts_with('{') {
        return None;
    }
    let plain: PlainGateway<'_> = serde_json::from_str(text).ok()?;
    Some(ResumePoint {
        session_id: plain.session_id.to_owned(),
        sequence: plain.sequence,
        resume_url: plain.resume_url.to_owned(),
        guild_count: None,
    })
}

/// Whether a JSON text certainly holds nothing that cannot be stored: no
/// escape, no number that could be too large, no nesting that could be too deep.
fn is_plainly_storable(text: &str) -> bool {
    const SHORT_NUMBER: u32 = 18;
    let (mut is_in_string, mut digits, mut brackets) = (false, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'\\' => return false,
            b'"' => is_in_string = !is_in_string,
            _ if is_in_string => {}
            b'0'..=b'9' => digits += 1,
            b'e' | b'E' if digits > 0 => return false,
            b'[' | b'{' => brackets += 1,
            _ => digits = 0,
        }
        if digits > SHORT_NUMBER || brackets >= json::MAX_NESTING {
            return false;
        }
    }
    true
}

/// Reads any body, as the published server did.
pub(super) fn read_exactly(body: &[u8]) -> Result<Beat, Refusal> {
    let document = json::read(body)?;
    let mut fields = request_body::fields(&document.source, document.root)?;
    let session = fields.required_text("session_id");
    let report = BeatReport {
        guild_count: fields.i64("guild_count"),
        latency: fields.float("latency"),
        extra: fields.json("extra"),
        state: fields.member("state", &STATES, ShardState::as_str),
        epoch: fields.u64("epoch").map(Epoch),
        gateway: fields.nested("gateway", resume_point),
        last_event_age: fields.seconds("last_event_age"),
        loop_lag: fields.seconds("loop_lag"),
        event_count: fields.u64("event_count"),
        close_code: fields.u64("close_code").and_then(|code| u16::try_from(code).ok()),
        number: fields.u64("number"),
    };
    let session = fields.finish(session).map_err(Refusal::Invalid)?;
    Ok(Beat {
        session: SessionId::parse(&session),
        report,
    })
}

fn resume_point(mut fields: Fields<'_>) -> Result<ResumePoint, Vec<Flaw>> {
    let session_id = fields.required_text("session_id");
    let sequence = fields.required_u64("sequence");
    let resume_url = fields.required_text("resume_url");
    let point = session_id.zip(sequence).zip(resume_url);
    fields.finish(point.map(|((session_id, sequence), resume_url)| ResumePoint {
        session_id,
        sequence,
        resume_url,
        guild_count: None,
    }))
}
