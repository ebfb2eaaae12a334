//! Every flag and every variable of the worker, declared once.

use clap::Args;
use hyper::Uri;
use shardman_lease::{Secret, server_url};
use twilight_gateway::Intents;

use crate::sink::SinkKind;

/// What a worker needs to know. Secrets come from the environment alone, so
/// that no process list ever shows them.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// Where the manager is.
    #[arg(long, env = "SHARDMAN_URL", value_name = "URL", default_value = "http://127.0.0.1:7878", value_parser = server_url)]
    pub shardman_url: Uri,

    /// The shared secret of manager and workers (`SECRET_KEY` works too). Read from the environment only.
    #[arg(skip = Secret::from_env(&["SECRET", "SECRET_KEY"]))]
    pub secret: Secret,

    /// The bot's token. Read from the environment only.
    #[arg(skip = Secret::from_env(&["BOT_TOKEN"]))]
    pub bot_token: Secret,

    /// The gateway intents: a number, or names separated by commas. None of the default ones needs Discord's approval.
    #[arg(long, env = "INTENTS", value_name = "INTENTS", default_value = "guilds,guild_messages,direct_messages", value_parser = intents)]
    pub intents: Intents,

    /// How many shards this process holds at most.
    #[arg(long, env = "SHARDMAN_SHARDS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shardman_shards: u16,

    /// The name under which the manager started this process; set by the manager.
    #[arg(long, env = "SHARDMAN_WORKER_ID", value_name = "ID")]
    pub shardman_worker_id: Option<String>,

    /// Where events go. Standard output by default, nowhere when a manager started this process.
    #[arg(long, env = "EVENT_SINK", value_name = "SINK")]
    pub event_sink: Option<SinkKind>,
}

impl WorkerArgs {
    /// Whether a manager started this process.
    pub(crate) const fn is_child(&self) -> bool {
        self.shardman_worker_id.is_some()
    }

    pub(crate) fn sink(&self) -> SinkKind {
        self.event_sink.unwrap_or(if self.is_child() {
            SinkKind::None
        } else {
            SinkKind::Stdout
        })
    }

    /// One line that says what is missing, and the remedy.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.secret.is_empty() {
            return Some("SECRET is not set: set it to the manager's SECRET");
        }
        if !self.secret.is_header_safe() {
            return Some("SECRET contains control characters: use printable ASCII characters");
        }
        if self.bot_token.is_empty() {
            return Some("BOT_TOKEN is not set: copy it from the bot's page in Discord's developer portal");
        }
        None
    }
}

/// A number is taken as it is, so that an intent newer than this program can
/// be asked for.
fn intents(text: &str) -> Result<Intents, String> {
    if let Ok(bits) = text.trim().parse() {
        return Ok(Intents::from_bits_retain(bits));
    }
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .try_fold(Intents::empty(), |sum, name| {
            Intents::from_name(&name.to_ascii_uppercase())
                .map(|intent| sum | intent)
                .ok_or_else(|| format!("unknown intent '{name}'; known are {}", known_intents()))
        })
}

fn known_intents() -> String {
    let names: Vec<_> = Intents::all()
        .iter_names()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        worker: WorkerArgs,
    }

    #[test]
    fn intents_are_a_number_or_names() {
        assert_eq!(intents("513").unwrap(), Intents::GUILDS | Intents::GUILD_MESSAGES);
        assert_eq!(
            intents("guilds, GUILD_MESSAGES").unwrap(),
            Intents::GUILDS | Intents::GUILD_MESSAGES
        );
        assert_eq!(intents("0").unwrap(), Intents::empty());
        assert_eq!(intents("1073741824").unwrap().bits(), 1 << 30);
        assert!(intents("guild").unwrap_err().contains("guild_presences"));
    }

    #[test]
    fn secrets_are_no_flags_and_never_shown() {
        assert!(Cli::try_parse_from(["worker", "--secret", "x"]).is_err());
        assert!(Cli::try_parse_from(["worker", "--bot-token", "x"]).is_err());
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "redacted");
    }

    #[test]
    fn a_child_of_a_manager_writes_no_events_unless_told_to() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).unwrap().worker.sink();
        assert_eq!(
            parse(&["worker", "--shardman-worker-id", "discord-0"]),
            SinkKind::None
        );
        assert_eq!(
            parse(&[
                "worker",
                "--shardman-worker-id",
                "discord-0",
                "--event-sink",
                "stdout"
            ]),
            SinkKind::Stdout
        );
        assert_eq!(parse(&["worker"]), SinkKind::Stdout);
    }
}
