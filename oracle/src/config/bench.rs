//! What `shardman-oracle bench` may be told.

use std::path::PathBuf;

use clap::Args;

/// Measures tokens per second: plain, with drafts, with scouts, and beside
/// llama.cpp's server where there is one.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// The GGUF file that every server runs.
    #[arg(long, env = "ORACLE_MODEL", value_name = "PATH")]
    pub model: PathBuf,

    /// llama.cpp's server; looked for on PATH by default.
    #[arg(long, value_name = "PATH", default_value = "llama-server")]
    pub llama_server: PathBuf,

    /// Threads of each server's model.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,

    /// How often each is measured; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,
}

/// The folders in which programs are looked for.
pub(crate) fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}
