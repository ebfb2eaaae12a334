//! The running manager, as the commands that ask it see it.

use anyhow::{Context as _, anyhow};
use hyper::StatusCode;
use hyper::body::Incoming;
use shardman_core::wire::FleetView;

use crate::client::{Answer, CallError, Client};
use crate::config::{ConfigError, ManagerArgs, SecretSettings, kept_secret};

/// What a manager says to a secret that it does not know.
const INVALID: &str = "Invalid Token";

pub(super) async fn get(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let (client, url) = (Client::new()?, url(args, path));
    ask(args, async |secret| client.get(&url, secret).await).await
}

pub(super) async fn post_json(args: &ManagerArgs, path: &str, json: Vec<u8>) -> anyhow::Result<Answer> {
    let (client, url) = (Client::new()?, url(args, path));
    ask(args, async |secret| {
        client.post_json(&url, Some(secret), json.clone()).await
    })
    .await
}

pub(super) async fn post(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let (client, url) = (Client::new()?, url(args, path));
    ask(args, async |secret| client.post(&url, secret).await).await
}

pub(super) async fn delete(args: &ManagerArgs, path: &str) -> anyhow::Result<Answer> {
    let (client, url) = (Client::new()?, url(args, path));
    ask(args, async |secret| client.delete(&url, secret).await).await
}

/// A stream of events, from behind event `seen` on, or what was said instead.
pub(super) async fn follow(
    args: &ManagerArgs,
    path: &str,
    seen: Option<u64>,
) -> anyhow::Result<Result<Incoming, Answer>> {
    let (client, url) = (Client::new()?, url(args, path));
    ask_for(args, async |secret| client.follow(&url, secret, seen).await).await
}

async fn ask(
    args: &ManagerArgs,
    call: impl AsyncFn(&str) -> Result<Answer, CallError>,
) -> anyhow::Result<Answer> {
    let (Ok(answer) | Err(answer)) = ask_for(args, async |secret| {
        let answer = call(secret).await?;
        Ok(Err::<Answer, _>(answer))
    })
    .await?;
    Ok(answer)
}

/// Asks with the secret that is set, or with those that managers made here, one
/// after the other: which of them is the running one's, it alone can say.
async fn ask_for<T>(
    args: &ManagerArgs,
    call: impl AsyncFn(&str) -> Result<Result<T, Answer>, CallError>,
) -> anyhow::Result<Result<T, Answer>> {
    let mut secrets = secrets(args)?;
    let (mut secret, mut from) = secrets.next().unwrap_or_else(|| Err(no_secret()))?;
    loop {
        let answer = match call(&secret).await.with_context(|| absent(args))? {
            Ok(heard) => return Ok(Ok(heard)),
            Err(answer) => answer,
        };
        match secrets.next() {
            Some(other) if is_unknown(&answer) => (secret, from) = other?,
            Some(_) | None => return understood(args, answer, from).map(Err),
        }
    }
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

/// Whether the manager knows another secret than this one.
fn is_unknown(answer: &Answer) -> bool {
    answer.status == StatusCode::FORBIDDEN && detail(answer).as_deref() == Some(INVALID)
}

/// Whether the manager and we mean the same: that it knows the secret, what it
/// may be used for, and what is asked. Other refusals are the caller's.
fn understood(args: &ManagerArgs, answer: Answer, from: Source) -> anyhow::Result<Answer> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let detail = detail(&answer);
    match (answer.status, detail.as_deref()) {
        (StatusCode::FORBIDDEN, Some(INVALID)) => Err(anyhow!(
            "the manager at {} refused the secret {}: set SECRET or OPERATOR_SECRET to the manager's, or {} if it made one",
            args.url,
            from.words(),
            from.otherwise()
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

    /// How a secret that the manager made is found.
    const fn otherwise(self) -> &'static str {
        match self {
            Self::Operator | Self::Shared => "unset it and give --data-dir",
            Self::Kept => "give --data-dir",
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

type Found = Result<(String, Source), ConfigError>;

/// The secret that is set, or every one that a manager made in the data folder:
/// one with a bot, and one on a simulated Discord.
fn secrets(args: &ManagerArgs) -> Result<Box<dyn Iterator<Item = Found>>, ConfigError> {
    let set = SecretSettings::from_env()?;
    let operator = set.operator.map(|secret| (secret, Source::Operator));
    let set = operator.or(set.secret.map(|secret| (secret, Source::Shared)));
    if let Some(set) = set {
        return Ok(Box::new(std::iter::once(Ok(set))));
    }
    let folders = [args.data_dir.clone(), args.data_dir.join("sim")];
    let kept = folders.into_iter().filter_map(|folder| {
        let secret = kept_secret(&folder.join("secret")).transpose()?;
        Some(secret.map(|secret| (secret, Source::Kept)))
    });
    Ok(Box::new(kept))
}

fn no_secret() -> ConfigError {
    ConfigError(
        "SECRET is not set: set it to the manager's, or run this where the manager's DATA_DIR is".to_owned(),
    )
}
