//! Variables that hold secrets: read from the environment alone, never from
//! flags, because every process of the host can read a command line.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Name and meaning of each, as `.env.example` has them.
pub const SECRET_VARIABLES: &[(&str, &str)] = &[
    (
        "SECRET",
        "What workers must present; unset to have one made in DATA_DIR/secret. `SECRET_KEY` is accepted too.",
    ),
    (
        "OPERATOR_SECRET",
        "What operators must present, if they are to have a secret of their own.",
    ),
    (
        "BOT_TOKEN",
        "The bot's token. Not needed with `--sim`, or with MAX_SHARDS and workers that bring their own.",
    ),
    ("WEBHOOK_URL", "A Discord webhook that gets alerts."),
    (
        "ALERT_URL",
        "Where alerts are posted as JSON, beside or instead of the Discord webhook.",
    ),
    (
        "ALERT_TOKEN",
        "Sent to ALERT_URL as `Authorization: Bearer …`, if it asks for that.",
    ),
];

/// The secrets that are set. Hides itself from `Debug`.
#[derive(Clone, Default)]
pub struct SecretSettings {
    pub secret: Option<String>,
    pub operator: Option<String>,
    pub bot_token: Option<String>,
    pub webhook_url: Option<String>,
    pub alert_url: Option<String>,
    pub alert_token: Option<String>,
}

impl std::fmt::Debug for SecretSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSettings(…)")
    }
}

impl SecretSettings {
    /// Reads the process environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    pub(super) fn from_lookup(
        lookup: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Self, ConfigError> {
        let read = |name: &str| -> Result<Option<String>, ConfigError> {
            let Some(value) = lookup(name).filter(|value| !value.is_empty()) else {
                return Ok(None);
            };
            let value = value.into_string().ok().map(|value| value.trim().to_owned());
            let sound = |value: &String| value.chars().all(|c| !c.is_control());
            value.filter(sound).map(Some).ok_or_else(|| {
                ConfigError(format!(
                    "{name} holds characters that no header can carry: use printable text"
                ))
            })
        };
        let secret = match (read("SECRET")?, read("SECRET_KEY")?) {
            (Some(secret), Some(key)) if secret != key => {
                return Err(ConfigError(
                    "SECRET and SECRET_KEY are both set and differ: keep SECRET alone".to_owned(),
                ));
            }
            (secret, key) => secret.or(key),
        };
        let token =
            read("BOT_TOKEN")?.map(|token| token.strip_prefix("Bot ").map_or(token.clone(), str::to_owned));
        Ok(Self {
            secret,
            operator: read("OPERATOR_SECRET")?,
            bot_token: token,
            webhook_url: read("WEBHOOK_URL")?,
            alert_url: read("ALERT_URL")?,
            alert_token: read("ALERT_TOKEN")?,
        })
    }

    /// The workers' secret: the one that is set, or the one in `data_dir`,
    /// which is made when there is none.
    pub fn worker_secret(&self, data_dir: &Path) -> Result<(String, Option<PathBuf>), ConfigError> {
        if let Some(secret) = &self.secret {
            return Ok((secret.clone(), None));
        }
        let path = data_dir.join("secret");
        match kept_secret(&path)? {
            Some(secret) => Ok((secret, Some(path))),
            None => Ok((make_secret(data_dir, &path)?, Some(path))),
        }
    }
}

/// The secret that an earlier run made, if one did.
pub fn kept_secret(path: &Path) -> Result<Option<String>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn make_secret(data_dir: &Path, path: &Path) -> Result<String, ConfigError> {
    let mut bits = [0u8; 24];
    getrandom::fill(&mut bits).expect("the operating system has random numbers");
    let secret: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    let unfinished = path.with_extension("new");
    let write = || {
        fs::create_dir_all(data_dir)?;
        let mut file = fs::File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        writeln!(file, "{secret}")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error| unusable(path, &error))?;
    Ok(secret)
}

fn unusable(path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError(format!(
        "DATA_DIR: '{}' cannot be used: {error}; set SECRET, or make the folder writable",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<SecretSettings, ConfigError> {
        SecretSettings::from_lookup(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_old_name_of_the_secret_is_accepted_and_a_contradiction_is_not() {
        assert_eq!(read(&[("SECRET_KEY", "a")]).unwrap().secret.as_deref(), Some("a"));
        assert_eq!(
            read(&[("SECRET", ""), ("SECRET_KEY", "a")])
                .unwrap()
                .secret
                .as_deref(),
            Some("a")
        );
        assert!(read(&[("SECRET", "a"), ("SECRET_KEY", "b")]).is_err());
    }

    #[test]
    fn a_secret_that_no_header_can_carry_is_refused_without_being_shown() {
        let error = read(&[("SECRET", "a\nb")]).unwrap_err().to_string();
        assert!(error.contains("SECRET") && !error.contains("a\nb"), "{error}");
    }

    #[test]
    fn a_made_secret_is_kept_and_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (made, path) = SecretSettings::default().worker_secret(folder.path()).unwrap();
        let (again, _) = SecretSettings::default().worker_secret(folder.path()).unwrap();
        assert_eq!(made, again);
        assert_eq!(
            fs::metadata(path.unwrap()).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
