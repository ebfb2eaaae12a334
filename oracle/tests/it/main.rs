//! The oracle's own program, on real sockets.
