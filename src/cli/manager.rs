//! The running manager, as the commands that ask it see it.

use anyhow::{Context as _, anyhow};
use hyper::StatusCode;
use shardman_core::wire::FleetView;

use crate::client::{Answer, Client};
use crate::config::{ConfigError, ManagerArgs, SecretSettings, kept_secret};

pub(super) async fn get(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let (secret, from) = secret(args)?;
    let answer = Client::new()?.get(&url(args, path), &secret).await;
    understood(args, answer.with_context(|| absent(args))?, from)
}

pub(super) async fn post_json(args: &ManagerArgs, path: &str, json: Vec<u8>) -> anyhow::Result<Answer> {
    let (secret, from) = secret(args)?;
    let answer = Client::new()?
        .post_json(&url(args, path), Some(&secret), json)
        .await;
    understood(args, answer.with_context(|| absent(args))?, from)
}

pub(super) async fn post(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let (secret, from) = secret(args)?;
    let answer = Client::new()?.post(&url(args, path), &secret).await;
    understood(args, answer.with_context(|| absent(args))?, from)
}

pub(super) async fn delete(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let (secret, from) = secret(args)?;
    let answer = Client::new()?.delete(&url(args, path), &secret).await;
    understood(args, answer.with_context(|| absent(args))?, from)
}

/// A stream of events, from behind event `seen` on.
pub(super) async fn follow(
    args: &ManagerArgs,
    path: &str,
    seen: Option<u64>,
) -> anyhow::Result<hyper::Response<hyper::body::Incoming>> {
    let (secret, _) = secret(args)?;
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
    serde_json::from_slice(&answer.body).with_context(|| nonsense(args))
}

/// What the manager said instead of yes.
pub(super) fn refusal(answer: &Answer) -> anyhow::Error {
    anyhow!(
        "the manager refused: {}",
        detail(answer).unwrap_or_else(|| answer.status.to_string())
    )
}

fn detail(answer: &Answer) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let detail = &body["detail"];
    // Of input that is wrong, the first flaw.
    let detail = detail.as_str().or_else(|| detail[0]["msg"].as_str());
    detail.map(str::to_owned)
}

/// Of an answer that is none of ours.
pub(super) fn nonsense(args: &ManagerArgs) -> String {
    format!(
        "what answers at {} does not speak as this shardman ({}) does: see that --url is right, and that both are of one version",
        args.url,
        env!("CARGO_PKG_VERSION")
    )
}

/// Whether the manager and we mean the same: that it knows the secret, what it
/// may be used for, and what is asked. Other refusals are the caller's.
fn understood(args: &ManagerArgs, answer: Answer, from: Source) -> anyhow::Result<Answer> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let detail = detail(&answer);
    match (answer.status, detail.as_deref()) {
        (StatusCode::FORBIDDEN, Some("Invalid Token")) => Err(anyhow!(
            "the manager at {} refused the secret {}: set SECRET or OPERATOR_SECRET to the manager's, or give --data-dir if it made one",
            args.url,
            from.words()
        )),
        (StatusCode::FORBIDDEN, Some(detail)) if detail.starts_with("Operators Only") => Err(anyhow!(
            "the manager at {} lets only operators do this: set OPERATOR_SECRET to the manager's (the secret {} is one for workers)",
            args.url,
            from.words()
        )),
        (StatusCode::NOT_FOUND, Some("Not Found")) => Err(anyhow!(
            "the manager at {} does not know this command: it is older than this shardman ({}); start the new one in its place (SIGUSR2 leaves the workers running), or use the old command",
            args.url,
            env!("CARGO_PKG_VERSION")
        )),
        (_, Some(_)) => Ok(answer),
        (status, None) => Err(anyhow!("it answered {status}").context(nonsense(args))),
    }
}

/// Where the secret is from.
#[derive(Clone, Copy)]
enum Source {
    Operator,
    Shared,
    Kept,
}

impl Source {
    const fn words(self) -> &'static str {
        match self {
            Self::Operator => "in OPERATOR_SECRET",
            Self::Shared => "in SECRET",
            Self::Kept => "in the data folder",
        }
    }
}

fn url(args: &ManagerArgs, path: &str) -> String {
    format!("{}{path}", args.url.trim_end_matches('/'))
}

fn absent(args: &ManagerArgs) -> String {
    format!(
        "no manager answers at {}; start one with `shardman up`, or give --url or SHARDMAN_URL if it is elsewhere",
        args.url
    )
}

fn secret(args: &ManagerArgs) -> Result<(String, Source), ConfigError> {
    let secrets = SecretSettings::from_env()?;
    if let Some(secret) = secrets.operator {
        return Ok((secret, Source::Operator));
    }
    if let Some(secret) = secrets.secret {
        return Ok((secret, Source::Shared));
    }
    for folder in [args.data_dir.clone(), args.data_dir.join("sim")] {
        if let Some(secret) = kept_secret(&folder.join("secret"))? {
            return Ok((secret, Source::Kept));
        }
    }
    Err(ConfigError(
        "SECRET is not set: set it to the manager's, or run this where the manager's DATA_DIR is".to_owned(),
    ))
}
