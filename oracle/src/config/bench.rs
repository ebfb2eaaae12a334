//! The settings of a measurement: the flags of `shardman-oracle bench`.

use clap::Args;

/// Settings of a measurement.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {}
