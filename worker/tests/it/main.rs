//! The worker between a manager and a gateway that tests script.

mod lease;
mod stop;
mod storm;
mod support;
