//! Where a manager is said to be.

use hyper::Uri;

/// Reads the URL of a manager.
///
/// # Errors
///
/// The remedy, if it is none.
pub fn manager_url(text: &str) -> Result<Uri, String> {
    let remedy = "use the form http://HOST:PORT";
    let uri: Uri = text
        .trim_end_matches('/')
        .parse()
        .map_err(|_| format!("not a URL; {remedy}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(remedy.to_owned()),
    }
}
