//! Requests to the published server and what it answered, as observed. `same`
//! are the answers that hold here too; `put_right` those that were wrong, or where
//! something is by now.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Cases {
    pub(super) same: Vec<Case>,
    pub(super) put_right: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) version: String,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    body: Option<String>,
    body_hex: Option<String>,
    pub(super) status: u16,
    pub(super) answer: Option<String>,
    pub(super) allow: Option<String>,
    pub(super) location: Option<String>,
    /// What a beat that was read said.
    pub(super) read: Option<Read>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Read {
    pub(super) guild_count: Option<i64>,
    pub(super) latency: Option<f64>,
    pub(super) extra: Option<serde_json::Value>,
}

pub(super) fn load() -> Cases {
    serde_json::from_str(include_str!("../../tests/fixtures/reference.json")).unwrap()
}

impl Case {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match (&self.body, &self.body_hex) {
            (Some(body), _) => body.clone().into_bytes(),
            (None, Some(hex)) => hex.as_bytes().chunks(2).map(hex_byte).collect(),
            (None, None) => Vec::new(),
        }
    }
}

fn hex_byte(pair: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()
}
