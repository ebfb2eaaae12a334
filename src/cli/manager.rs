//! The running manager, as the commands that ask it see it.

use anyhow::{Context as _, anyhow};
use shardman_core::wire::{Detail, FleetView};

use crate::client::{Answer, Client};
use crate::config::{ConfigError, ManagerArgs, SecretSettings, kept_secret};

pub(super) async fn get(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let secret = secret(args)?;
    Client::new()?
        .get(&url(args, path), &secret)
        .await
        .with_context(|| absent(args))
}

pub(super) async fn post_json(args: &ManagerArgs, path: &str, json: Vec<u8>) -> anyhow::Result<Answer> {
    let secret = secret(args)?;
    Client::new()?
        .post_json(&url(args, path), Some(&secret), json)
        .await
        .with_context(|| absent(args))
}

pub(super) async fn post(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let secret = secret(args)?;
    Client::new()?
        .post(&url(args, path), &secret)
        .await
        .with_context(|| absent(args))
}

pub(super) async fn delete(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let secret = secret(args)?;
    Client::new()?
        .delete(&url(args, path), &secret)
        .await
        .with_context(|| absent(args))
}

/// A stream of events, from behind event `seen` on.
pub(super) async fn follow(
    args: &ManagerArgs,
    path: &str,
    seen: Option<u64>,
) -> anyhow::Result<hyper::Response<hyper::body::Incoming>> {
    let secret = secret(args)?;
    Client::new()?
        .follow(&url(args, path), &secret, seen)
        .await
        .with_context(|| absent(args))
}

/// What `GET /fleet` says.
pub(super) async fn fleet(args: &ManagerArgs) -> anyhow::Result<FleetView> {
    let answer = get(args, "/fleet").await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer));
    }
    serde_json::from_slice(&answer.body).context("the manager's answer makes no sense")
}

/// What the manager said instead of yes.
pub(super) fn refusal(answer: &Answer) -> anyhow::Error {
    let detail = serde_json::from_slice::<Detail>(&answer.body).map(|body| body.detail);
    anyhow!(
        "the manager refused: {}",
        detail.unwrap_or_else(|_| answer.status.to_string())
    )
}

fn url(args: &ManagerArgs, path: &str) -> String {
    format!("{}{path}", args.url.trim_end_matches('/'))
}

fn absent(args: &ManagerArgs) -> String {
    format!(
        "no manager answers at {}; start one with `shardman up`, or give --url",
        args.url
    )
}

fn secret(args: &ManagerArgs) -> Result<String, ConfigError> {
    let secrets = SecretSettings::from_env()?;
    if let Some(secret) = secrets.operator.or(secrets.secret) {
        return Ok(secret);
    }
    for folder in [args.data_dir.clone(), args.data_dir.join("sim")] {
        if let Some(secret) = kept_secret(&folder.join("secret"))? {
            return Ok(secret);
        }
    }
    Err(ConfigError(
        "SECRET is not set: set it to the manager's, or run this where the manager's DATA_DIR is".to_owned(),
    ))
}
