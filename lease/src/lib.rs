//! What every worker needs that leases from a manager, whatever it runs: the
//! documented calls, the moment at which it must let go, and how long it waits
//! before it asks again. It has no private door, and knows nothing of Discord.

mod deadline;
mod jitter;
mod manager;
mod retry;
mod secret;
mod tls;
mod url;

pub use deadline::{Deadline, now};
pub use jitter::jittered;
pub use manager::{Ask, CallError, Manager};
pub use retry::wait_after;
pub use secret::Secret;
pub use tls::tls;
pub use url::server_url;
