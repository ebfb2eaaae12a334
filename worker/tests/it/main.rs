//! The worker between a manager and a gateway that tests script.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests may unwrap, and print what they measured"
)]

mod lease;
mod stop;
mod storm;
mod support;
