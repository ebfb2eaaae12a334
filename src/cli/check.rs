//! `shardman check`: everything that can be wrong before anything is started.

use std::process::ExitCode;

use tracing::info;

use crate::alerts::Targets;
use crate::config::{ConfigError, SecretSettings, UpArgs, pool_settings};
use crate::{discord, http};

pub(super) async fn check(args: UpArgs) -> anyhow::Result<ExitCode> {
    let secrets = SecretSettings::from_env()?;
    http::parse_origins(&args.cors_origins.join(","))
        .map_err(|error| ConfigError(format!("CORS_ORIGINS: {error}")))?;
    pool_settings(&args)?;
    args.assigns()?;
    Targets::new(&secrets, args.webhook_content.as_deref())?;
    info!("the settings can be used");
    if args.sim.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    let token = match &secrets.bot_token {
        Some(token) => token.clone(),
        None if args.discord_api_url.is_local() => "simulated".to_owned(),
        None if args.is_without_bot(None) => {
            info!("neither BOT_TOKEN nor MAX_SHARDS is set: no bot is run, only the pools of POOLS");
            return Ok(ExitCode::SUCCESS);
        }
        None if args.max_shards.is_some() => {
            info!(
                "no BOT_TOKEN is set: Discord is not asked, {} shards are leased",
                args.max_shards.unwrap_or(0)
            );
            return Ok(ExitCode::SUCCESS);
        }
        None => return Err(ConfigError("BOT_TOKEN is not set: set it, or MAX_SHARDS".to_owned()).into()),
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
    Ok(ExitCode::SUCCESS)
}
