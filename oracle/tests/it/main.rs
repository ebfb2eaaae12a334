//! The oracle's own program, on real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "nothing outside can reach a test binary")]

mod ask;
mod away;
mod claims;
mod config;
mod fleet;
mod hostile;
mod http;
mod leases;
mod limits;
mod model;
mod openapi;
mod published;
mod real;
mod rogue;
mod rogues;
mod scouts;
mod sdk;
mod served;
mod slots;
mod stop;
mod stream;
mod support;
#[expect(dead_code, reason = "for all who need a model that costs nothing")]
mod tiny;
mod up;
mod weights;
