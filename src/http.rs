//! The HTTP API: two published versions side by side, and the native routes.
//!
//! This layer turns bytes into requests to the manager and answers into bytes.
//! It decides nothing about leases and keeps no state between requests.
//!
//! No middleware stands before a route unless `CORS_ORIGINS` asks for it: a
//! beat costs little more than its parsing.

mod beat;
mod body;
mod connect;
mod cors;
mod docs;
mod error;
mod events;
mod field;
mod fleet;
mod health;
mod identify;
mod json;
mod logs;
#[cfg(test)]
mod manager_tests;
mod number;
mod plan;
mod query;
#[cfg(test)]
mod reference;
mod reload;
mod restart;
mod router;
mod secret;
mod serve;
mod session;
mod status;
mod stop;

pub use cors::{OriginError, parse_origins};
pub use docs::OPENAPI;
pub use router::router;
pub use serve::{serve, serve_current};

use crate::manager::ManagerHandle;

/// What every route has at hand.
#[derive(Clone, Debug)]
pub struct HttpState {
    pub manager: ManagerHandle,
    /// Whether `GET /status` needs no secret.
    pub public_status: bool,
}
