//! How an oracle is reached.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, http::uri::InvalidUri};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::Oracle;
use crate::draft::frame::FROM_ORACLE_MAX_BYTES;
use crate::scouts::PATH;

/// From the dial to the oracle's answer.
const DIAL_TIME: Duration = Duration::from_secs(5);
/// An answer of a refusal that is shown.
const SHOWN_BYTES: usize = 300;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the oracle cannot be reached: {0}")]
    Unreachable(String),
    #[error("the oracle refuses: {status} {body}")]
    Refused { status: u16, body: String },
}

impl From<InvalidUri> for DialError {
    fn from(error: InvalidUri) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// Where an oracle's scouts connect.
pub(super) fn endpoint(oracle: &Uri) -> String {
    let text = oracle.to_string();
    let rest = text.trim_end_matches('/');
    // `http` becomes `ws`, and `https` becomes `wss`.
    let rest = rest.strip_prefix("http").unwrap_or(rest);
    format!("ws{rest}{PATH}")
}

/// Connects, and shows the secret of the manager.
pub(super) async fn dial(oracle: &Oracle) -> Result<Socket, DialError> {
    let unreachable = |error: Error| DialError::Unreachable(error.to_string());
    let mut request = endpoint(&oracle.url).into_client_request().map_err(unreachable)?;
    request.headers_mut().insert(AUTHORIZATION, oracle.secret.clone());
    let config = WebSocketConfig::default()
        .max_message_size(Some(FROM_ORACLE_MAX_BYTES))
        .max_frame_size(Some(FROM_ORACLE_MAX_BYTES));
    let tls = Connector::Rustls(Arc::clone(&oracle.tls));
    let dialled = connect_async_tls_with_config(request, Some(config), true, Some(tls));
    match tokio::time::timeout(DIAL_TIME, dialled).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(response))) => {
            let status = response.status().as_u16();
            let body = response.into_body().unwrap_or_default();
            let shown = &body[..body.len().min(SHOWN_BYTES)];
            let body = String::from_utf8_lossy(shown).into_owned();
            Err(DialError::Refused { status, body })
        }
        Ok(Err(error)) => Err(unreachable(error)),
        Err(_) => Err(DialError::Unreachable(format!("no answer within {DIAL_TIME:?}"))),
    }
}

#[cfg(test)]
mod tests;
