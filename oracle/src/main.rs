//! The `shardman-oracle` binary: parse, log, run, exit code.

fn main() {}
