//! What children print: one file each, with one older file kept.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A log that is longer when its child starts is put aside.
const KEEP_BYTES: u64 = 8 * 1024 * 1024;

/// How much of a log's end is read for its last lines.
const TAIL_BYTES: u64 = 16 * 1024;

/// How many last lines go with the report of a child's end.
const LAST_LINES: usize = 10;

/// The file that a child about to start prints to.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > KEEP_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}

/// Where what a child prints from now on begins.
pub(super) fn end(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |log| log.len())
}

/// The last lines of a log behind `from`; none when there is no log.
pub(super) fn last_lines(path: &Path, from: u64) -> Vec<String> {
    let tail = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES).max(from)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&tail().unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}
