//! A Discord that fits on a laptop: REST, gateway, and a strict referee of
//! Discord's rules. It listens where it is told and calls nobody.
//!
//! [`rules`] decides and [`report`] keeps the score; both are state and time
//! alone, so a virtual world can drive them as well. [`gateway`] and [`rest`]
//! put them on a real socket.

// GUILD_CREATE is one `json!` of more fields than the default allows.
#![recursion_limit = "256"]

pub mod cli;
pub mod faults;
pub mod gateway;
pub mod payload;
pub mod report;
pub mod rest;
pub mod rules;
pub mod server;
pub mod world;

pub use faults::Fault;
pub use report::Report;
pub use server::{Sim, SimConfig, serve, start};
