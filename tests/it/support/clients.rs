//! Where bots under test find the client helpers: in this tree.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// What the variables are to be that name module folders: ours, then those that
/// are there.
pub(super) fn paths() -> [(&'static str, OsString); 2] {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/src");
    [("PYTHONPATH", python), ("NODE_PATH", MODULES.clone())].map(|(name, ours)| {
        let others = std::env::var_os(name).unwrap_or_default();
        let others = std::env::split_paths(&others).filter(|path| !path.as_os_str().is_empty());
        (
            name,
            std::env::join_paths([ours].into_iter().chain(others)).unwrap(),
        )
    })
}

/// A folder in which the JavaScript client has its name.
static MODULES: LazyLock<PathBuf> = LazyLock::new(|| {
    let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node_modules");
    fs::create_dir_all(&modules).unwrap();
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js");
    match symlink(client, modules.join("shardman")) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{error}"),
        Ok(()) | Err(_) => modules,
    }
});
