//! `shardman check`: everything that can be wrong before anything is started.

use std::process::ExitCode;

use serde::Serialize;
use tracing::info;

use super::out::print;
use super::up::bot_token;
use crate::alerts::Targets;
use crate::config::{CheckArgs, ConfigError, SecretSettings, UpArgs, pool_settings};
use crate::discord;
use crate::store::DiscordFacts;

/// What scripts get.
#[derive(Serialize)]
struct Verdict {
    ok: bool,
    /// What is wrong, in one line.
    error: Option<String>,
    /// What Discord said, where it was asked.
    discord: Option<Discord>,
}

#[derive(Serialize)]
struct Discord {
    recommended_shards: u32,
    max_concurrency: u32,
    starts_remaining: u32,
    starts_total: u32,
}

pub(super) async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let checked = settings_and_token(&args.up).await;
    if args.json {
        let verdict = Verdict {
            ok: checked.is_ok(),
            error: checked.as_ref().err().map(|error| format!("{error:#}")),
            discord: checked.as_ref().ok().and_then(|facts| {
                let facts = facts.as_ref()?;
                Some(Discord {
                    recommended_shards: facts.recommended_shards,
                    max_concurrency: facts.max_concurrency,
                    starts_remaining: facts.starts.remaining,
                    starts_total: facts.starts.total,
                })
            }),
        };
        print(&format!("{}\n", serde_json::to_string(&verdict)?))?;
    }
    checked.map(|_| ExitCode::SUCCESS)
}

/// What Discord says, where it has to be asked.
async fn settings_and_token(args: &UpArgs) -> anyhow::Result<Option<DiscordFacts>> {
    let secrets = SecretSettings::from_env()?;
    shardman_serve::parse_origins(&args.cors_origins.join(","))
        .map_err(|error| ConfigError(format!("CORS_ORIGINS: {error}")))?;
    pool_settings(args)?;
    args.assigns()?;
    Targets::new(&secrets, args.webhook_content.as_deref())?;
    let token = match args.sim {
        Some(_) => None,
        None => bot_token(args, &secrets)?,
    };
    info!("the settings can be used");
    let Some(token) = token else {
        match (args.sim, args.max_shards) {
            (Some(_), _) => {}
            (None, Some(shards)) => {
                info!("no BOT_TOKEN is set: Discord is not asked, {shards} shards are leased");
            }
            (None, None) => {
                info!("neither BOT_TOKEN nor MAX_SHARDS is set: no bot is run, only further pools");
            }
        }
        return Ok(None);
    };
    let facts = discord::ask(&args.discord_api_url, &token)
        .await
        .map_err(|error| match error {
            discord::AskError::TokenRefused => anyhow::Error::from(ConfigError(error.to_string())),
            discord::AskError::Unreachable(_) | discord::AskError::Patience { .. } => error.into(),
        })?;
    info!(
        "Discord takes the token: {} shards recommended, max_concurrency {}, {} of {} session starts left",
        facts.recommended_shards, facts.max_concurrency, facts.starts.remaining, facts.starts.total
    );
    Ok(Some(facts))
}
