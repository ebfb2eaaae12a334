//! The oracle's own program, on real sockets.

mod fleet;
mod leases;
mod rogue;
mod up;
