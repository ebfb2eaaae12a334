//! The `shardman` binary.
fn main() {}
