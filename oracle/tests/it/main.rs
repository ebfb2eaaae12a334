//! The oracle's own program, on real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "nothing outside can reach a test binary")]

mod config;
mod hostile;
mod http;
mod limits;
mod openapi;
mod stop;
mod stream;
mod support;
