//! Where a manager or an oracle is said to be.

use hyper::Uri;

/// Reads the URL of a server.
///
/// # Errors
///
/// The remedy, if it is none.
pub fn server_url(text: &str) -> Result<Uri, String> {
    let remedy = "use the form http://HOST:PORT or https://HOST";
    let uri: Uri = text
        .trim_end_matches('/')
        .parse()
        .map_err(|_| format!("not a URL; {remedy}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(remedy.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_an_http_url() {
        let port = |text| server_url(text).unwrap().port_u16();
        assert_eq!(port("http://127.0.0.1:7878/"), Some(7878));
        assert_eq!(port("https://example.org/base/"), None);
        for bad in [
            "",
            "127.0.0.1",
            "10.0.0.1:8000",
            "ftp://host",
            "ws://host",
            "http://",
            "/path",
        ] {
            assert!(server_url(bad).unwrap_err().contains("http://HOST:PORT"), "{bad}");
        }
    }
}
