//! Shardman's rules as plain functions of state and time.
//!
//! Nothing here reads a clock, sleeps, or does I/O: time comes in as [`Tick`],
//! chance as a value, and what must happen outside goes out as data. The
//! manifest lists no runtime, so the compiler keeps that promise.

pub mod alerting;
pub mod brake;
pub mod budget;
pub mod close_code;
pub mod count;
pub mod health;
pub mod id;
pub mod identify;
pub mod lease;
pub mod ledger;
pub mod live;
pub mod plan;
pub mod rate;
pub mod reconcile;
pub mod reload;
pub mod rescale;
pub mod restart;
pub mod resume;
pub mod rolling;
pub mod series;
pub mod setting;
pub mod tick;
pub mod timeline;
pub mod tries;
pub mod wall;
pub mod wire;

pub use id::{Epoch, PoolId, PoolIdError, SessionId, ShardId, WorkerId};
pub use plan::Plan;
pub use tick::Tick;
