//! What a receiver's answer means for the message, and for the next one.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use shardman_core::alerting::Outcome;

use crate::client::{Answer, CallError};

/// The pause after a 429 that says none.
const UNSAID: f64 = 5.0;

/// The webhook was deleted, or its URL is wrong: no other try can help
/// (Discord, "Opcodes and Status Codes", JSON).
const UNKNOWN_WEBHOOK: u64 = 10_015;
const BAD_WEBHOOK_TOKEN: u64 = 50_027;

/// The webhook of a forum channel takes messages of a thread alone.
const NEEDS_THREAD: u64 = 220_001;

/// What a receiver's answer means, and why, in words without the URL.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
}

/// Discord, "Rate Limits", Exceeding A Rate Limit; and "Opcodes and Status
/// Codes", JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    retry_after: Option<f64>,
    global: bool,
    code: Option<u64>,
}

pub(super) fn verdict(answer: &Result<Answer, CallError>, chance: u8) -> Verdict {
    match answer {
        Ok(answer) => of_answer(answer, chance),
        Err(CallError::Unreachable(reason)) => Verdict {
            outcome: Outcome::Unavailable { chance },
            reason: reason.clone(),
        },
        Err(error @ (CallError::BadUrl | CallError::BadSecret)) => Verdict {
            outcome: Outcome::Gone,
            reason: error.to_string(),
        },
    }
}

fn of_answer(answer: &Answer, chance: u8) -> Verdict {
    let status = answer.status;
    let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut reason = format!("it answers {status}");
    if let Some(code) = body.code.filter(|code| *code > 0) {
        reason.push_str(&format!(", code {code}"));
    }
    let outcome = if status.is_success() {
        let none_left = answer.remaining == Some(0);
        Outcome::Taken {
            pause: answer.reset_after.filter(|_| none_left).and_then(seconds),
        }
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        if body.global {
            reason.push_str(", for all that we send to Discord");
        }
        // The header is the same, rounded up.
        let said = [body.retry_after, answer.retry_after];
        let retry_after = said.into_iter().flatten().filter_map(seconds).max();
        Outcome::Limited {
            retry_after: retry_after.unwrap_or(Duration::from_secs_f64(UNSAID)),
        }
    } else if status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_EARLY
    {
        Outcome::Unavailable { chance }
    } else if matches!(
        (status, body.code),
        (StatusCode::NOT_FOUND, Some(UNKNOWN_WEBHOOK)) | (StatusCode::UNAUTHORIZED, Some(BAD_WEBHOOK_TOKEN))
    ) {
        Outcome::Gone
    } else if status.is_redirection()
        || status == StatusCode::UNAUTHORIZED
        || status == StatusCode::FORBIDDEN
        || status == StatusCode::NOT_FOUND
        || status == StatusCode::METHOD_NOT_ALLOWED
        || status == StatusCode::GONE
    {
        // Often a proxy in between; nothing says that it stays so.
        Outcome::Misconfigured { chance }
    } else if body.code == Some(NEEDS_THREAD) {
        Outcome::Misconfigured { chance }
    } else {
        Outcome::Refused
    };
    Verdict { outcome, reason }
}

/// A duration that can be one.
fn seconds(seconds: f64) -> Option<Duration> {
    let sound = (0.0..=1e9).contains(&seconds);
    sound.then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str, change: impl Fn(&mut Answer)) -> Outcome {
        let mut answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            remaining: None,
            reset_after: None,
            log_next: None,
            body: body.to_owned().into(),
        };
        change(&mut answer);
        verdict(&Ok(answer), 7).outcome
    }

    #[test]
    fn the_body_and_the_headers_of_a_limit_count() {
        let limited = |seconds: f64| Outcome::Limited {
            retry_after: Duration::from_secs_f64(seconds),
        };
        // As Discord's documentation shows it.
        let body = r#"{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}"#;
        assert_eq!(
            answer(429, body, |answer| answer.retry_after = Some(65.0)),
            limited(65.0)
        );
        assert_eq!(answer(429, body, |_| {}), limited(64.57));
        assert_eq!(
            answer(429, "", |answer| answer.retry_after = Some(3.0)),
            limited(3.0)
        );
        assert_eq!(answer(429, "", |_| {}), limited(5.0));
        for hostile in ["-1", "1e300", "null", "\"soon\"", "[]"] {
            let body = format!("{{\"retry_after\":{hostile}}}");
            assert_eq!(answer(429, &body, |_| {}), limited(5.0), "{hostile}");
        }
    }

    #[test]
    fn a_bucket_that_is_used_up_is_waited_for() {
        let taken = |remaining: u64| {
            answer(204, "", |answer| {
                answer.remaining = Some(remaining);
                answer.reset_after = Some(1.5);
            })
        };
        assert_eq!(taken(1), Outcome::Taken { pause: None });
        let pause = Some(Duration::from_millis(1500));
        assert_eq!(taken(0), Outcome::Taken { pause });
    }

    #[test]
    fn what_is_gone_is_told_from_what_is_away() {
        let body = r#"{"message": "Unknown Webhook", "code": 10015}"#;
        assert_eq!(answer(404, body, |_| {}), Outcome::Gone);
        let body = r#"{"message": "Invalid Webhook Token", "code": 50027}"#;
        assert_eq!(answer(401, body, |_| {}), Outcome::Gone);
        for status in [301, 302, 307, 401, 403, 404, 405, 410] {
            let seldom = Outcome::Misconfigured { chance: 7 };
            assert_eq!(answer(status, "<html>", |_| {}), seldom, "{status}");
        }
        for status in [408, 500, 502, 503, 504] {
            assert_eq!(
                answer(status, "", |_| {}),
                Outcome::Unavailable { chance: 7 },
                "{status}"
            );
        }
        assert_eq!(answer(400, r#"{"code": 50035}"#, |_| {}), Outcome::Refused);
        assert_eq!(
            answer(400, r#"{"code": 220001}"#, |_| {}),
            Outcome::Misconfigured { chance: 7 }
        );
        let away = Err(CallError::Unreachable("connection refused".to_owned()));
        assert_eq!(verdict(&away, 7).outcome, Outcome::Unavailable { chance: 7 });
        assert_eq!(verdict(&Err(CallError::BadUrl), 7).outcome, Outcome::Gone);
    }
}
