//! The HTTP API: two published versions side by side, and the native routes.
//!
//! This layer turns bytes into requests to the manager and answers into bytes.
//! It decides nothing about leases and keeps no state between requests.
//!
//! Nothing stands before a route but its counters, and what `CORS_ORIGINS` asks
//! for: a beat costs little more than its parsing.

mod beat;
mod body;
mod connect;
mod cors;
mod dashboard;
mod docs;
mod error;
mod events;
mod field;
mod fleet;
mod health;
mod history;
mod identify;
mod json;
mod live;
mod logs;
#[cfg(test)]
mod manager_tests;
mod measure;
mod metrics;
mod number;
mod plan;
mod query;
#[cfg(test)]
mod reference;
mod reload;
mod restart;
mod router;
mod secret;
mod session;
mod sign_in;
mod status;
mod stop;
#[cfg(test)]
mod wall_tests;
mod who;

pub use docs::OPENAPI;
pub use router::router;
pub use shardman_serve::{serve, serve_current};

use crate::manager::ManagerHandle;

/// What every route has at hand.
#[derive(Clone, Debug)]
pub struct HttpState {
    pub manager: ManagerHandle,
    /// Whether `GET /status` needs no secret.
    pub public_status: bool,
}
