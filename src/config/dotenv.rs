//! The file `.env`: found, read, and brought into the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::ConfigError;

/// `.env` as it was brought into the environment.
#[derive(Default)]
pub struct Dotenv {
    pub(super) brought: BTreeSet<String>,
    pub(super) values: BTreeMap<String, String>,
}

/// Reads `.env` of the working directory, or of a folder above it, into the
/// environment, where it does not override what is set. A worker that a manager
/// started has all of it from there: what the file says since then may not have
/// been accepted.
pub fn load_dotenv(args: impl IntoIterator<Item = OsString>) -> Result<Dotenv, ConfigError> {
    let is_worker = args.into_iter().nth(1).is_some_and(|command| command == "worker");
    if is_worker && std::env::var_os("SHARDMAN_WORKER_ID").is_some() {
        return Ok(Dotenv::default());
    }
    let text = text()?;
    let values = read(&text)?;
    let brought = values.keys().filter(|name| std::env::var_os(name).is_none());
    let brought = brought.cloned().collect();
    dotenvy::from_read(text.as_bytes()).map_err(|error| unreadable(&error, &text))?;
    Ok(Dotenv { brought, values })
}

/// The text of `.env`; empty where there is none.
pub(super) fn text() -> Result<String, ConfigError> {
    let found = std::env::current_dir().ok().and_then(|folder| {
        let mut places = folder.ancestors().map(|folder| folder.join(".env"));
        places.find(|place| place.is_file())
    });
    let Some(place) = found else {
        return Ok(String::new());
    };
    std::fs::read_to_string(&place).map_err(|error| {
        ConfigError(format!(
            ".env cannot be read: '{}': {error}; make it readable for this user",
            place.display()
        ))
    })
}

/// The first of several lines for a name counts.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut values = BTreeMap::new();
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = line.map_err(|error| unreadable(&error, text))?;
        values.entry(name).or_insert(value);
    }
    Ok(values)
}

/// Names the line and does not show it: it may hold a secret.
fn unreadable(error: &dotenvy::Error, text: &str) -> ConfigError {
    let why = if let dotenvy::Error::LineParse(rest, _) = error {
        let rest = rest.lines().next().unwrap_or_default();
        let number = text.lines().position(|line| line.contains(rest)).unwrap_or(0);
        let line = text.lines().nth(number).unwrap_or_default();
        let name = line
            .split_once('=')
            .map_or_else(String::new, |(name, _)| format!(", '{}',", name.trim()));
        format!(
            "line {}{name} makes no sense; write NAME=value, and quote spaces: NAME='two words'",
            number + 1
        )
    } else {
        format!("{error}; write NAME=value, one a line")
    };
    ConfigError(format!(".env cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_makes_no_sense_is_named_and_not_shown() {
        let error = read("MAX_SHARDS=2\nBOT_TOKEN=abc def\n").unwrap_err().to_string();
        assert!(error.contains("line 2, 'BOT_TOKEN',"), "{error}");
        assert!(!error.contains("abc") && !error.contains("def"), "{error}");
        let error = read("what is this").unwrap_err().to_string();
        assert!(error.contains("line 1 makes no sense"), "{error}");
    }
}
