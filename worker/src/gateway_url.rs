//! Where Discord's gateway is said to be.

use hyper::Uri;

/// Whether a gateway URL from elsewhere can be used; the gateway client panics
/// on a malformed one.
pub(crate) fn gateway_url(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/');
    // The gateway client appends its query to the path.
    let uri: Uri = format!("{text}/?v=10").parse().ok()?;
    let usable = matches!(uri.scheme_str(), Some("ws" | "wss"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && !text.contains(['?', '#']);
    usable.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_websocket_urls_are_used() {
        assert_eq!(
            gateway_url("wss://gateway.discord.gg/").as_deref(),
            Some("wss://gateway.discord.gg")
        );
        assert_eq!(
            gateway_url("ws://127.0.0.1:80/path").as_deref(),
            Some("ws://127.0.0.1:80/path")
        );
        for bad in [
            "",
            "gateway.discord.gg",
            "https://x",
            "ws://",
            "wss://a b",
            "wss://x/?v=9",
            "wss://x#y",
        ] {
            assert_eq!(gateway_url(bad), None, "{bad}");
        }
    }
}
