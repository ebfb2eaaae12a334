//! The settings of a scout: the flags and variables of `shardman-oracle scout`.

use axum::http::Uri;
use clap::Args;
use shardman_lease::server_url;

use super::manager::ManagerArgs;
use super::parse::{self, ModelSource};

/// Settings of a scout.
#[derive(Args, Clone, Debug)]
pub struct ScoutArgs {
    /// Where the oracle is, for its scouts.
    #[arg(long, env = "ORACLE_URL", default_value = "http://127.0.0.1:8000", value_name = "URL", value_parser = server_url)]
    pub oracle_url: Uri,

    /// The model that guesses, with the oracle's vocabulary: a GGUF file of the llama family, or `fake` for an oracle that has the made-up one.
    #[arg(long, env = "ORACLE_MODEL", value_name = "PATH", value_parser = parse::model)]
    pub model: ModelSource,

    /// Threads with which a scout computes.
    #[arg(long, env = "SCOUT_THREADS", default_value = "1", value_name = "N", value_parser = parse::count::<1, 256>)]
    pub threads: u32,

    #[command(flatten)]
    pub manager: ManagerArgs,
}
