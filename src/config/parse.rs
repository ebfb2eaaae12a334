//! From text to final types. An error says what to write instead.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

pub(super) use shardman_core::setting::count;
use shardman_core::setting::{self, seconds};

/// `WORKERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// As many as the shards need.
    Auto,
    AtMost(u32),
}

/// Where Discord's REST API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscordApi {
    /// Host and port.
    pub host: String,
    /// Whether it is spoken to without TLS.
    pub plain: bool,
}

impl DiscordApi {
    /// Whether this is Discord itself.
    pub fn is_discord(&self) -> bool {
        self.host == "discord.com" && !self.plain
    }

    /// Whether it is on this machine: a simulator or a proxy beside us.
    pub fn is_local(&self) -> bool {
        let name = self
            .host
            .rsplit_once(':')
            .map_or(self.host.as_str(), |(name, _)| name);
        name == "localhost" || name.starts_with("127.") || name == "[::1]"
    }
}

impl std::fmt::Display for DiscordApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.plain { "http" } else { "https" }, self.host)
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let resolved = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next());
    resolved.ok_or_else(|| "give an address and a port, such as 127.0.0.1:7878 or 0.0.0.0:7878".to_owned())
}

/// Where a command finds the manager.
pub(super) fn manager_url(text: &str) -> Result<String, String> {
    shardman_lease::server_url(text).map(|url| url.to_string().trim_end_matches('/').to_owned())
}

pub(super) fn max_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 1.0, 86_400.0, "60")
}

pub(super) fn stop_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 3_600.0, "10")
}

pub(super) fn register_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 1.0, 86_400.0, "60")
}

/// Less than 16 MiB, on which no worker can live, is taken for a slip of the pen.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    setting::bytes(text, 16)
}

pub(super) fn open_files(text: &str) -> Result<u64, String> {
    count::<64, 1_048_576>(text).map(u64::from)
}

pub(super) fn login_seconds(text: &str) -> Result<Duration, String> {
    // A planned restart gives a worker a minute until its first shard is ready.
    seconds(text, 1.0, 50.0, "10")
}

pub(super) fn canary_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 86_400.0, "30")
}

pub(super) fn deaf_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 86_400.0, "120")
}

pub(super) fn workers(text: &str) -> Result<Workers, String> {
    if text.trim().eq_ignore_ascii_case("auto") {
        return Ok(Workers::Auto);
    }
    let number = text.trim().parse().ok().filter(|number| *number <= 4096);
    number
        .map(Workers::AtMost)
        .ok_or_else(|| "give `auto` or a whole number from 0 to 4096".to_owned())
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

pub(super) fn discord_api(text: &str) -> Result<DiscordApi, String> {
    let remedy =
        || "give a URL without a path, such as https://discord.com or http://127.0.0.1:7979".to_owned();
    let (scheme, rest) = text.trim().split_once("://").ok_or_else(remedy)?;
    let plain = match scheme {
        "http" => true,
        "https" => false,
        _ => return Err(remedy()),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let usual = matches!(path.trim_end_matches('/'), "" | "api" | "api/v10");
    let named = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#'));
    if usual && named {
        Ok(DiscordApi {
            host: host.to_owned(),
            plain,
        })
    } else {
        Err(remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discords_place_is_a_host_with_at_most_the_usual_path() {
        let local = discord_api("http://127.0.0.1:7979/api/v10/").unwrap();
        assert_eq!(local.to_string(), "http://127.0.0.1:7979");
        assert!(local.is_local() && !local.is_discord());
        assert!(discord_api("https://discord.com").unwrap().is_discord());
        for bad in [
            "discord.com",
            "ftp://x",
            "http://",
            "http://a b",
            "http://x/other",
            "http://u@x",
        ] {
            assert!(discord_api(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn workers_are_auto_or_a_number() {
        assert_eq!(workers("AUTO"), Ok(Workers::Auto));
        assert_eq!(workers("0"), Ok(Workers::AtMost(0)));
        assert!(workers("-1").is_err() && workers("many").is_err());
    }
}
