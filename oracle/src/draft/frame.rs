//! What goes between the oracle and a scout, as JSON text frames of a WebSocket.
//!
//! The scout dials `GET /v1/scouts/draft` of the oracle with its `SECRET` in the
//! `Authorization` header, as a manager takes it, and says `hello`. The oracle
//! has the manager confirm that this secret and session hold this slot and
//! epoch; only then it says `welcome`. From then on it tells which answers
//! begin, grow and end, and the scout sends what may follow, as tokens of the
//! vocabulary that both have: for each `open` and `advance` at most as many
//! drafts as `welcome` said tokens. Who breaks a rule is closed with a
//! [`Closing`], and stays out for a moment.

use serde::{Deserialize, Serialize};

use super::AnswerId;
use crate::engine::Token;
use crate::sampling::Sampling;

/// What a scout says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromScout {
    /// The first frame: who this is, by its lease.
    Hello {
        /// The slot of the pool that it holds.
        slot: u32,
        session_id: String,
        epoch: u64,
        vocabulary_hash: String,
    },
    /// What may follow the first `base` tokens of an answer's prompt and text.
    Draft {
        answer: AnswerId,
        base: usize,
        tokens: Vec<Token>,
    },
}

/// What the oracle says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromOracle {
    /// The scout is known, and may draft at most `limit` tokens at a time.
    Welcome {
        limit: usize,
    },
    Open {
        answer: AnswerId,
        prompt: Vec<Token>,
        sampling: Sampling,
    },
    Advance {
        answer: AnswerId,
        base: usize,
        tokens: Vec<Token>,
    },
    Close {
        answer: AnswerId,
    },
}

/// The longest frame that a scout may send, in bytes.
pub const FROM_SCOUT_MAX_BYTES: usize = 4 << 10;
/// The longest frame that the oracle sends, in bytes: a prompt of a large model.
pub const FROM_ORACLE_MAX_BYTES: usize = 4 << 20;

/// Why the oracle closes a connection, as the WebSocket's close code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It stops.
    Stopping,
    /// Whether the lease is held cannot be found out now.
    TryAgain,
    /// The lease of the hello is not held by who said it, or not any more.
    NotHeld,
    /// The scout's tokens mean something else.
    OtherVocabulary,
    /// A frame that makes no sense.
    Malformed,
    /// More drafts than there was to draft.
    TooMany,
    /// The same slot said hello on another connection.
    Replaced,
    /// It does not read what it is told.
    TooSlow,
}

impl Closing {
    const ALL: [Self; 8] = [
        Self::Stopping,
        Self::TryAgain,
        Self::NotHeld,
        Self::OtherVocabulary,
        Self::Malformed,
        Self::TooMany,
        Self::Replaced,
        Self::TooSlow,
    ];

    /// Those below 4000 are the WebSocket protocol's own (RFC 6455, section
    /// 7.4.1, and its registry).
    pub const fn code(self) -> u16 {
        match self {
            Self::Stopping => 1001,
            Self::TryAgain => 1013,
            Self::NotHeld => 4001,
            Self::OtherVocabulary => 4002,
            Self::Malformed => 4003,
            Self::TooMany => 4004,
            Self::Replaced => 4005,
            Self::TooSlow => 4006,
        }
    }

    pub fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|closing| closing.code() == code)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::TryAgain => "try_again",
            Self::NotHeld => "not_held",
            Self::OtherVocabulary => "other_vocabulary",
            Self::Malformed => "malformed",
            Self::TooMany => "too_many",
            Self::Replaced => "replaced",
            Self::TooSlow => "too_slow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_what_the_documents_say() {
        let draft = r#"{"type":"draft","answer":7,"base":12,"tokens":[3,4]}"#;
        let read: FromScout = serde_json::from_str(draft).unwrap();
        assert_eq!(
            read,
            FromScout::Draft {
                answer: AnswerId(7),
                base: 12,
                tokens: vec![3, 4]
            }
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), draft);
        let close = serde_json::to_string(&FromOracle::Close { answer: AnswerId(7) }).unwrap();
        assert_eq!(close, r#"{"type":"close","answer":7}"#);
    }

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        for closing in Closing::ALL {
            assert_eq!(Closing::of_code(closing.code()), Some(closing));
        }
        assert_eq!(Closing::of_code(1000), None);
    }
}
