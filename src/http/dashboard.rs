//! `GET /` and `GET /assets/{name}`: the dashboard, compiled in.
//!
//! The page itself holds no secret and needs none. It may run its own scripts
//! alone and talk to this manager alone.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::error::{self, Refusal};

/// Name and content of a file of the dashboard.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../dashboard/", $name)) as &[u8])),*]
    };
}

/// Every file there is. The page is the one of them that is not an asset.
const FILES: &[(&str, &[u8])] = files![
    "index.html",
    "api.js",
    "app.js",
    "budget.js",
    "change.js",
    "dialog.js",
    "docs-call.js",
    "docs.css",
    "docs.js",
    "dom.js",
    "format.js",
    "grid.js",
    "icon.svg",
    "live.js",
    "overview.js",
    "plot.js",
    "shard.js",
    "signin.js",
    "status.js",
    "style.css",
    "timeline.js",
    "words.js",
    "workers.js",
];

const PAGE: &str = "index.html";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// A file as it is sent.
struct Asset {
    name: &'static str,
    content: &'static [u8],
    /// Its hash, in quotes.
    tag: HeaderValue,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |&(name, content): &(&'static str, &'static [u8])| Asset {
        name,
        content,
        tag: tag(content),
    };
    FILES.iter().map(asset).collect()
});

pub(super) async fn page(headers: HeaderMap) -> Result<Response, Refusal> {
    sent(PAGE, &headers)
}

pub(super) async fn asset(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    match name {
        Ok(Path(name)) if name != PAGE => sent(&name, &headers),
        Ok(_) | Err(_) => Err(Refusal::UnknownPath),
    }
}

fn sent(name: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or(Refusal::UnknownPath)?;
    let known = [
        (ETAG, asset.tag.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    if has(headers, &asset.tag) {
        return Ok((known, error::not_modified()).into_response());
    }
    let kind = [(CONTENT_TYPE, content_type(name))];
    Ok((known, kind, asset.content).into_response())
}

/// Whether the reader has this version already.
fn has(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let names = |value: &HeaderValue| {
        let mut tags = value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii);
        // A proxy that compresses weakens the tag; the content is the same.
        tags.any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
    };
    headers.get_all(IF_NONE_MATCH).iter().any(names)
}

fn tag(content: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hex}\"")).expect("quotes and digits may stand in a header")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, kind)| kind) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" => "application/json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_the_reader_has_is_not_sent_again() {
        let asset = &ASSETS[0];
        let tag = asset.tag.to_str().unwrap();
        for known in [tag, "*", &format!("\"x\", {tag}"), &format!("W/{tag}")] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, known.parse().unwrap())]);
            let answer = sent(asset.name, &headers).unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.headers()[ETAG].to_str().unwrap()),
                (304, tag)
            );
        }
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, "\"x\"".parse().unwrap())]);
        let answer = sent(asset.name, &headers).unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-cache");
    }

    #[test]
    fn every_file_has_a_kind_and_asks_no_other_host_for_anything() {
        for (name, content) in FILES {
            assert_ne!(content_type(name), "application/octet-stream", "{name}");
            if let Ok(text) = std::str::from_utf8(content) {
                let loads = ["src=\"http", "href=\"http", "url(http", "import \"http", "//cdn"];
                assert!(!loads.iter().any(|load| text.contains(load)), "{name}");
            }
        }
    }

    #[test]
    fn the_page_names_files_that_are_there() {
        let page = std::str::from_utf8(FILES[0].1).unwrap();
        let mut named = page
            .split("\"/assets/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap());
        assert!(named.all(|name| FILES.iter().any(|(file, _)| *file == name)));
        assert!(!page.contains("<style") && !page.contains("style=\"") && !page.contains("<script>"));
    }
}
