//! The oracle's own program, on real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "nothing outside can reach a test binary")]

mod model;
#[expect(dead_code, reason = "for all who need a model that costs nothing")]
mod tiny;
