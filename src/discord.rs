//! Asks Discord what the bot may run: `GET /gateway/bot`, at start and then
//! every few hours (Discord, "Gateway", Get Gateway Bot: its answer must not
//! be cached for long).

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use shardman_core::budget::{Budget, DAY_MS};
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::client::{Answer, CallError, Client};
use crate::config::DiscordApi;
use crate::manager::{Alert, AlertKind, DiscordNews, ManagerHandle};
use crate::store::DiscordFacts;

/// How often Discord is asked while nothing is wrong.
const ASK_EVERY: Duration = Duration::from_secs(3 * 60 * 60);

/// The longest pause between tries while Discord cannot be reached, unless it
/// asks for more itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The most patience that an answer can ask for: a day, in seconds.
const LONGEST_PATIENCE: f64 = 86_400.0;

/// How the line about a refused token begins.
pub const TOKEN_REFUSED: &str = "BOT_TOKEN was refused";

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Trying again cannot help.
    #[error("{TOKEN_REFUSED} by Discord: copy the token anew from the developer portal, Bot, Reset Token")]
    TokenRefused,
    #[error("{0}")]
    Unreachable(String),
    /// Asking again earlier makes it worse: ten thousand refused calls in ten
    /// minutes ban the address (Discord, "Rate Limits", Invalid Request Limit).
    #[error("{reason}, and wants {} s of patience", .patience.as_secs_f64())]
    Patience { reason: String, patience: Duration },
}

/// The answer to `GET /gateway/bot`.
#[derive(Deserialize)]
struct GatewayBot {
    url: String,
    shards: u32,
    session_start_limit: StartLimit,
}

#[derive(Deserialize)]
struct StartLimit {
    total: u32,
    remaining: u32,
    /// Milliseconds.
    reset_after: u64,
    max_concurrency: u32,
}

/// Asks once. Discord's word on when to ask again is handed on, not acted on:
/// a client library that waits by itself, or does not wait at all, cannot be
/// put between.
pub async fn ask(api: &DiscordApi, token: &str) -> Result<DiscordFacts, AskError> {
    let token = token.strip_prefix("Bot ").unwrap_or(token);
    let client = Client::new().map_err(|error| AskError::Unreachable(error.to_string()))?;
    let answer = client
        .get(&format!("{api}/api/v10/gateway/bot"), &format!("Bot {token}"))
        .await
        .map_err(|error| match error {
            // What is no header value is no token either.
            CallError::BadSecret => AskError::TokenRefused,
            CallError::Unreachable(_) | CallError::BadUrl => AskError::Unreachable(format!("{api}: {error}")),
        })?;
    if !answer.status.is_success() {
        return Err(refusal(api, &answer));
    }
    let info: GatewayBot = serde_json::from_slice(&answer.body).map_err(|error| {
        AskError::Unreachable(format!(
            "{api} answered something else than Discord would: {error}"
        ))
    })?;
    let limit = info.session_start_limit;
    if info.shards == 0 || limit.max_concurrency == 0 {
        return Err(AskError::Unreachable(format!(
            "{api} recommends 0 shards, which cannot be"
        )));
    }
    Ok(DiscordFacts {
        gateway_url: info.url,
        recommended_shards: info.shards,
        max_concurrency: limit.max_concurrency,
        starts: Budget {
            total: limit.total,
            remaining: limit.remaining,
            // 0 before the first start of a day: then the day has not begun.
            resets_at_ms: crate::clock::wall_ms()
                + if limit.reset_after == 0 {
                    DAY_MS
                } else {
                    limit.reset_after
                },
        },
    })
}

fn refusal(api: &DiscordApi, answer: &Answer) -> AskError {
    if answer.status == StatusCode::UNAUTHORIZED {
        return AskError::TokenRefused;
    }
    let reason = format!("{api} answered {} to GET /gateway/bot", answer.status.as_u16());
    match answer.retry_after.filter(|seconds| *seconds > 0.0) {
        Some(seconds) => AskError::Patience {
            reason,
            patience: Duration::from_secs_f64(seconds.min(LONGEST_PATIENCE)),
        },
        None => AskError::Unreachable(reason),
    }
}

/// Tells the manager what Discord says, for ever. Where the manager is there for
/// this bot alone (`alone`), it returns when the token is refused before it ever
/// worked: nothing can run. Otherwise what runs goes on, an alert says why no
/// more follows, and Discord is asked again.
pub async fn watch(
    api: DiscordApi,
    mut token: watch::Receiver<String>,
    manager: ManagerHandle,
    alone: bool,
    alerts: mpsc::Sender<Alert>,
) -> AskError {
    let mut worked = false;
    let mut told = false;
    let mut backoff = Duration::from_secs(1);
    loop {
        let current = token.borrow_and_update().clone();
        let refused = match ask(&api, &current).await {
            Ok(facts) => {
                worked = true;
                told = false;
                backoff = Duration::from_secs(1);
                manager.discord(DiscordNews::Facts(facts)).await;
                rest(ASK_EVERY, &mut token).await;
                continue;
            }
            Err(refused) => refused,
        };
        let mut pause = backoff;
        backoff = (backoff * 2).min(LONGEST_PAUSE);
        match &refused {
            AskError::TokenRefused if alone && !worked => return refused,
            AskError::TokenRefused => {
                error!("{refused}");
                manager.discord(unreachable(&refused, pause)).await;
                if !std::mem::replace(&mut told, true) {
                    // Told, never waited for.
                    let wall = crate::clock::wall_ms();
                    drop(alerts.try_send(Alert::new(AlertKind::TokenRefused, refused.to_string(), wall)));
                }
            }
            AskError::Unreachable(_) | AskError::Patience { .. } => {
                if let AskError::Patience { patience, .. } = &refused {
                    pause = pause.max(*patience);
                }
                manager.discord(unreachable(&refused, pause)).await;
            }
        }
        // Whoever asked for patience asked all tokens of this address.
        let patience = matches!(refused, AskError::Patience { .. });
        if patience {
            tokio::time::sleep(pause).await;
        } else {
            rest(pause, &mut token).await;
        }
    }
}

fn unreachable(why: &AskError, pause: Duration) -> DiscordNews {
    DiscordNews::Unreachable {
        reason: why.to_string(),
        retry_seconds: pause.as_secs_f64().ceil() as u64,
    }
}

/// A pause that ends early for another token.
async fn rest(pause: Duration, token: &mut watch::Receiver<String>) {
    let other = async {
        if token.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let _ = tokio::time::timeout(pause, other).await;
}
