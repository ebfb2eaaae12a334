//! Asks Discord what the bot may run: `GET /gateway/bot`, at start and then
//! every few hours (Discord, "Gateway", Get Gateway Bot: its answer must not
//! be cached for long).

use std::time::Duration;

use shardman_core::budget::{Budget, DAY_MS};
use tracing::error;
use twilight_http::Client;
use twilight_http::error::ErrorType;

use crate::config::DiscordApi;
use crate::manager::{DiscordNews, ManagerHandle};
use crate::store::DiscordFacts;

/// How often Discord is asked while nothing is wrong.
const ASK_EVERY: Duration = Duration::from_secs(3 * 60 * 60);

/// The longest pause between tries while Discord cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Trying again cannot help.
    #[error(
        "BOT_TOKEN was refused by Discord: copy the token anew from the developer portal, Bot, Reset Token"
    )]
    TokenRefused,
    #[error("{0}")]
    Unreachable(String),
}

/// Asks once.
pub async fn ask(api: &DiscordApi, token: &str) -> Result<DiscordFacts, AskError> {
    // A client of its own for each try: one that met a 401 refuses for good.
    let client = Client::builder()
        .token(token.to_owned())
        .proxy(api.host.clone(), api.plain)
        .ratelimiter(None)
        .timeout(Duration::from_secs(10))
        .build();
    let answer = client
        .gateway()
        .authed()
        .await
        .map_err(|error| refusal(api, &error))?;
    let info = answer.model().await.map_err(|error| {
        AskError::Unreachable(format!(
            "{api} answered something else than Discord would: {error}"
        ))
    })?;
    let limit = info.session_start_limit;
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    if info.shards == 0 || limit.max_concurrency == 0 {
        return Err(AskError::Unreachable(format!(
            "{api} recommends 0 shards, which cannot be"
        )));
    }
    Ok(DiscordFacts {
        gateway_url: info.url,
        recommended_shards: info.shards,
        max_concurrency: u32::from(limit.max_concurrency),
        starts: Budget {
            total: small(u64::from(limit.total)),
            remaining: small(u64::from(limit.remaining)),
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

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's list of errors is open"
)]
fn refusal(api: &DiscordApi, error: &twilight_http::Error) -> AskError {
    match error.kind() {
        ErrorType::Unauthorized => AskError::TokenRefused,
        ErrorType::Response { status, .. } if status.get() == 401 => AskError::TokenRefused,
        ErrorType::Response { status, .. } => {
            AskError::Unreachable(format!("{api} answered {} to GET /gateway/bot", status.get()))
        }
        _ => {
            let mut text = format!("{api}: {error}");
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            AskError::Unreachable(text)
        }
    }
}

/// Tells the manager what Discord says, for ever. Returns when the token is
/// refused before it ever worked: the fleet cannot run.
pub async fn watch(api: DiscordApi, token: String, manager: ManagerHandle) -> AskError {
    let mut worked = false;
    let mut pause = Duration::from_secs(1);
    loop {
        match ask(&api, &token).await {
            Ok(facts) => {
                worked = true;
                pause = Duration::from_secs(1);
                manager.discord(DiscordNews::Facts(facts)).await;
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            Err(AskError::TokenRefused) if !worked => return AskError::TokenRefused,
            Err(refused @ AskError::TokenRefused) => error!("{refused}"),
            Err(AskError::Unreachable(reason)) => {
                let retry_seconds = pause.as_secs().max(1);
                manager
                    .discord(DiscordNews::Unreachable {
                        reason,
                        retry_seconds,
                    })
                    .await;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
