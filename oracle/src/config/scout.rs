//! The settings of a scout: the flags and variables of `shardman-oracle scout`.

use clap::Args;

/// Settings of a scout.
#[derive(Args, Clone, Debug)]
pub struct ScoutArgs {}
