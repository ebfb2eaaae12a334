//! Who receives alerts, as the configuration says.

use hyper::Uri;

use super::courier::Form;
use crate::config::{ConfigError, SecretSettings};

/// Who receives alerts. Hides itself from `Debug`: who knows a webhook's URL may
/// write to it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Targets {
    discord: Option<Target>,
    json: Option<Target>,
}

/// One receiver.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: String,
    /// The whole value of its Authorization header.
    pub(super) authorization: Option<String>,
    /// `WEBHOOK_CONTENT`.
    pub(super) content: Option<String>,
}

impl std::fmt::Debug for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Targets(…)")
    }
}

impl Targets {
    /// # Errors
    ///
    /// If a URL cannot be one.
    pub fn new(secrets: &SecretSettings, content: Option<&str>) -> Result<Self, ConfigError> {
        let discord = secrets.webhook_url.as_deref();
        let json = secrets.alert_url.as_deref();
        let remedy = "copy it whole from the channel's settings: https://discord.com/api/webhooks/…";
        let discord = discord
            .map(|url| checked("WEBHOOK_URL", url, remedy))
            .transpose()?;
        let remedy = "write it whole, such as https://alerts.example/hook";
        let json = json.map(|url| checked("ALERT_URL", url, remedy)).transpose()?;
        if secrets.alert_token.is_some() && json.is_none() {
            return Err(ConfigError(
                "ALERT_TOKEN is set and ALERT_URL is not: set ALERT_URL, or unset ALERT_TOKEN".to_owned(),
            ));
        }
        Ok(Self {
            discord: discord.map(|url| Target {
                url,
                authorization: None,
                content: content.map(str::to_owned),
            }),
            json: json.map(|url| Target {
                url,
                authorization: secrets
                    .alert_token
                    .as_ref()
                    .map(|token| format!("Bearer {token}")),
                content: None,
            }),
        })
    }

    pub(super) fn of(&self, form: Form) -> Option<&Target> {
        match form {
            Form::Discord => self.discord.as_ref(),
            Form::Json => self.json.as_ref(),
        }
    }
}

/// The value is a secret, so it is not shown.
fn checked(variable: &str, url: &str, remedy: &str) -> Result<String, ConfigError> {
    let parsed: Option<Uri> = url.parse().ok();
    let sound = parsed.is_some_and(|uri| {
        let http = matches!(uri.scheme_str(), Some("http" | "https"));
        http && uri.host().is_some_and(|host| !host.is_empty())
    });
    match sound {
        true => Ok(url.to_owned()),
        false => Err(ConfigError(format!(
            "{variable} is set to what is not an http or https URL (hidden: it is a secret); {remedy}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_and_not_shown() {
        for url in [
            "discord.com/api/webhooks/1/hush",
            "ftp://x/hush",
            "https:///hush",
            "hush hush",
        ] {
            let secrets = SecretSettings {
                webhook_url: Some(url.to_owned()),
                ..SecretSettings::default()
            };
            let error = Targets::new(&secrets, None).unwrap_err().to_string();
            assert!(
                error.starts_with("WEBHOOK_URL") && !error.contains("hush"),
                "{error}"
            );
        }
        let secrets = SecretSettings {
            alert_url: Some("http://localhost:9000/hook".to_owned()),
            alert_token: Some("hush".to_owned()),
            ..SecretSettings::default()
        };
        let targets = Targets::new(&secrets, None).unwrap();
        assert_eq!(
            targets.of(Form::Json).unwrap().authorization.as_deref(),
            Some("Bearer hush")
        );
        assert_eq!(format!("{targets:?}"), "Targets(…)");
    }
}
