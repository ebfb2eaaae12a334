//! From text to final types. An error says what to write instead.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

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

pub(super) fn max_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 1.0, 86_400.0, "60")
}

pub(super) fn stop_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 3_600.0, "10")
}

pub(super) fn register_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 1.0, 86_400.0, "60")
}

/// Less than any worker can live on is taken for a slip of the pen.
const LEAST_MEMORY: u64 = 16 << 20;

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let remedy = || "give at least 16M, such as 512M or 2G".to_owned();
    let text = text.trim().to_ascii_uppercase();
    let text = text.trim_end_matches('B').trim_end_matches('I');
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(remedy()),
    };
    let number: u64 = digits.parse().map_err(|_| remedy())?;
    let bytes = number.checked_mul(1 << shift);
    bytes
        .filter(|bytes| (LEAST_MEMORY..1 << 50).contains(bytes))
        .ok_or_else(remedy)
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

fn seconds(text: &str, least: f64, most: f64, example: &str) -> Result<Duration, String> {
    let remedy = || format!("give seconds from {least} to {most}, such as {example}");
    let seconds: f64 = text.trim().parse().map_err(|_| remedy())?;
    // A range also keeps NaN and infinity out.
    if (least..=most).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(remedy())
    }
}

pub(super) fn count<const LEAST: u32, const MOST: u32>(text: &str) -> Result<u32, String> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|number| (LEAST..=MOST).contains(number));
    number.ok_or_else(|| format!("give a whole number from {LEAST} to {MOST}"))
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
    fn seconds_are_positive_and_finite() {
        assert_eq!(max_seconds("60"), Ok(Duration::from_secs(60)));
        assert_eq!(max_seconds("2.5"), Ok(Duration::from_millis(2500)));
        for bad in ["", "0", "-1", "abc", "NaN", "inf", "1e99"] {
            assert!(max_seconds(bad).is_err(), "{bad}");
        }
    }

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
    fn memory_is_a_number_with_a_unit() {
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes(" 33554432 "), Ok(32 << 20));
        for bad in [
            "",
            "M",
            "512",
            "15M",
            "-1G",
            "1.5G",
            "1MM",
            "1P",
            "99999999999T",
            "512 M",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert!(open_files("63").is_err() && open_files("1024") == Ok(1024));
    }

    #[test]
    fn workers_are_auto_or_a_number() {
        assert_eq!(workers("AUTO"), Ok(Workers::Auto));
        assert_eq!(workers("0"), Ok(Workers::AtMost(0)));
        assert!(workers("-1").is_err() && workers("many").is_err());
    }
}
