//! Shardman's manager: a library and one binary.
//!
//! `main` wires. `http` talks to the manager's handle; the manager drives
//! `store` and `supervisor` and asks `shardman-core` what is right. Nothing
//! below knows what is above it.

pub mod alerts;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod discord;
pub mod http;
pub mod manager;
pub mod metrics;
pub mod store;
pub mod supervisor;
pub mod systemd;
pub mod telemetry;
