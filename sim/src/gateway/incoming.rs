//! What a client sends: decoded here, judged by the rules, answered.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::connection::{Connection, End};
use crate::faults::Phase;
use crate::payload;
use crate::rules::{CloseCode, Event, Identify, Refusal, Resume};

/// The longest payload that Discord takes.
const PAYLOAD_BYTES: usize = 4096;

#[derive(Deserialize)]
struct Incoming {
    op: i64,
    #[serde(default)]
    d: Value,
}

#[derive(Deserialize)]
struct IdentifyBody {
    token: String,
    shard: Option<(i64, i64)>,
    intents: Option<i64>,
    #[serde(rename = "properties")]
    _properties: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct ResumeBody {
    token: String,
    session_id: String,
    /// Null when the client has seen nothing yet.
    seq: Option<u64>,
}

#[derive(Deserialize)]
struct MembersBody {
    guild_id: GuildIds,
    nonce: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GuildIds {
    One(String),
    Many(Vec<String>),
    Number(u64),
}

impl Connection {
    /// Takes one payload.
    pub(super) async fn take(&mut self, bytes: &[u8]) -> Result<(), End> {
        let now = self.shared.now();
        let limited = self.shared.lock().rules.command(self.id, now);
        if let Err(refusal) = limited {
            return self.answer(refusal).await;
        }
        if bytes.len() > PAYLOAD_BYTES {
            let detail = format!("a payload of {} bytes", bytes.len());
            return Err(self.refuse(CloseCode::DecodeError, &detail));
        }
        let incoming: Incoming = serde_json::from_slice(bytes).map_err(|error| self.undecodable(&error))?;
        match incoming.op {
            1 => self.heartbeat().await,
            2 => self.identify(incoming.d).await,
            6 => self.resume(incoming.d).await,
            // Presence, voice state, members, soundboard sounds, channel info.
            3 | 4 | 8 | 31 | 43 if self.shared.lock().rules.shard_of(self.id).is_none() => {
                let detail = format!("op {} before IDENTIFY", incoming.op);
                Err(self.refuse(CloseCode::NotAuthenticated, &detail))
            }
            8 => self.members(incoming.d),
            3 | 4 | 31 | 43 => Ok(()),
            op => Err(self.refuse(CloseCode::UnknownOpcode, &format!("op {op}"))),
        }
    }

    fn undecodable(&self, error: &serde_json::Error) -> End {
        self.refuse(CloseCode::DecodeError, &error.to_string())
    }

    async fn heartbeat(&mut self) -> Result<(), End> {
        let now = self.shared.now();
        let mute = {
            let mut state = self.shared.lock();
            state.rules.heartbeat(self.id, now);
            state.standing.no_ack
        };
        if mute {
            Ok(())
        } else {
            self.send(payload::frame(11, &Value::Null)).await
        }
    }

    async fn identify(&mut self, body: Value) -> Result<(), End> {
        let body: IdentifyBody = serde_json::from_value(body).map_err(|error| self.undecodable(&error))?;
        let identify = Identify {
            token: &body.token,
            shard: body.shard,
            intents: body.intents,
        };
        let now = self.shared.now();
        let (answer, slow_ms) = {
            let mut state = self.shared.lock();
            let was_dead = state.rules.token_is_dead();
            let mut answer = state.rules.identify(self.id, &identify, now);
            if answer.is_ok()
                && let Some(resumable) = state.standing.take_invalid_session(now)
            {
                answer = Err(state.rules.refuse_session(self.id, resumable, now));
            }
            if state.rules.token_is_dead() && !was_dead {
                let others: Vec<_> = state
                    .all_conns()
                    .into_iter()
                    .filter(|conn| *conn != self.id)
                    .collect();
                others.into_iter().for_each(|conn| state.close(conn, 4004, now));
            }
            (answer, state.standing.slow_ready_ms)
        };
        self.end_after(Phase::Identify)?;
        match answer {
            Ok(_) => {
                self.hold_until = (slow_ms > 0).then(|| Instant::now() + Duration::from_millis(slow_ms));
                Ok(())
            }
            Err(refusal) => self.answer(refusal).await,
        }
    }

    async fn resume(&mut self, body: Value) -> Result<(), End> {
        let body: ResumeBody = serde_json::from_value(body).map_err(|error| self.undecodable(&error))?;
        let sequence = body.seq.unwrap_or(0);
        let resume = Resume {
            token: &body.token,
            session_id: &body.session_id,
            sequence,
        };
        self.end_after(Phase::Resume)?;
        let now = self.shared.now();
        let answer = {
            let mut state = self.shared.lock();
            let answer = match state.standing.take_invalid_session(now) {
                Some(resumable) => Err(state.rules.refuse_resume(self.id, &resume, resumable, now)),
                None => state.rules.resume(self.id, &resume, now),
            };
            if let Ok(resumed) = &answer
                && let Some(kicked) = resumed.kicked
            {
                state.close(kicked, 4000, now);
            }
            answer
        };
        match answer {
            Ok(_) => Ok(()),
            Err(refusal) => self.answer(refusal).await,
        }
    }

    fn members(&mut self, body: Value) -> Result<(), End> {
        let body: MembersBody = serde_json::from_value(body).map_err(|error| self.undecodable(&error))?;
        let ids = match body.guild_id {
            GuildIds::One(id) => vec![id],
            GuildIds::Many(ids) => ids,
            GuildIds::Number(id) => vec![id.to_string()],
        };
        let mut state = self.shared.lock();
        for guild_id in ids.iter().filter_map(|id| id.parse().ok()) {
            state.rules.answer(
                self.id,
                Event::Members {
                    guild_id,
                    nonce: body.nonce.clone(),
                },
            );
        }
        Ok(())
    }

    async fn answer(&mut self, refusal: Refusal) -> Result<(), End> {
        match refusal {
            Refusal::Close(code) => Err(End::Close {
                code: code.number(),
                told: false,
            }),
            Refusal::InvalidSession { resumable } => self.send(payload::frame(9, &json!(resumable))).await,
        }
    }
}
