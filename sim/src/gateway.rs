//! The gateway's door: upgrades, and what the query of the URL asks for.

mod codec;
mod connection;
mod incoming;

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::server::Shared;
use codec::Codec;
use connection::Connection;

/// Where `resume_gateway_url` points, so that a RESUME that uses it can be told
/// from one that does not.
const RESUME_PATH: &str = "/resume";

#[derive(Debug, Deserialize)]
struct Wanted {
    v: Option<String>,
    encoding: Option<String>,
    compress: Option<String>,
}

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(open))
        .route(RESUME_PATH, get(open))
        .route("/resume/", get(open))
}

/// The gateway as the client sees it: on the host that it called.
pub(crate) fn url(shared: &Shared, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.map_or_else(|| format!("ws://{}", shared.addr), |host| format!("ws://{host}"))
}

async fn open(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return (
            StatusCode::UPGRADE_REQUIRED,
            "this is a gateway: connect with a WebSocket\n",
        )
            .into_response();
    };
    let by_resume_url = uri.path().starts_with(RESUME_PATH);
    if by_resume_url && shared.lock().standing.dead_resume_url {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let resume_url = format!("{}{RESUME_PATH}", url(&shared, &headers));
    upgrade.on_upgrade(move |socket| async move {
        let codec = Codec::from_query(wanted.compress.as_deref());
        let connection = Connection::open(shared, by_resume_url, resume_url, codec);
        let asks_right = wanted.asks_right();
        connection.run(socket, asks_right).await;
    })
}

impl Wanted {
    /// Discord speaks versions up to 10; this gateway speaks JSON alone.
    fn asks_right(&self) -> Result<(), String> {
        let version = self.v.as_deref().unwrap_or("10");
        if !matches!(version, "6" | "7" | "8" | "9" | "10") {
            return Err(format!("v={version}"));
        }
        let encoding = self.encoding.as_deref().unwrap_or("json");
        if encoding != "json" {
            return Err(format!("encoding={encoding}"));
        }
        Ok(())
    }
}
