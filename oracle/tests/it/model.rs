//! Where the real model is.

use std::path::{Path, PathBuf};

/// The model that `oracle/fetch-model.sh` fetches. Where it must be there
/// (`SHARDMAN_TEST_ALL`), its absence is a failure.
pub fn path(test: &str) -> Option<PathBuf> {
    let path = match std::env::var_os("SHARDMAN_ORACLE_MODEL") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models/smollm2.gguf"),
    };
    if path.is_file() {
        return Some(path);
    }
    assert!(
        std::env::var_os("SHARDMAN_TEST_ALL").is_none(),
        "{test} needs the model: run oracle/fetch-model.sh"
    );
    eprintln!(
        "\n*** SKIPPED: {test}: there is no {}: run oracle/fetch-model.sh ***\n",
        path.display()
    );
    None
}
