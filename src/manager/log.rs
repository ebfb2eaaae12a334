//! What workers printed, for those who ask the manager. Reading never passes
//! through its turn.

use shardman_core::WorkerId;

use super::handle::ManagerHandle;
use crate::supervisor::LogPart;

/// The most bytes of a log at once.
const MAX_BYTES: u64 = 1024 * 1024;

/// Which part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSpan {
    /// So many of the last lines.
    Lines(usize),
    /// What follows behind a position that [`LogPart::next`] told.
    After(u64),
}

impl ManagerHandle {
    /// What this worker printed; `None` for a name that no worker has. Only
    /// names of our own making lead to a file.
    pub async fn log(&self, worker: &str, span: LogSpan) -> Option<LogPart> {
        let worker = WorkerId::from(worker);
        if !self.shared.of_worker(&worker).workers.contains_key(&worker) {
            return None;
        }
        let logs = self.shared.logs.clone();
        let read = tokio::task::spawn_blocking(move || match span {
            LogSpan::Lines(lines) => {
                let mut part = logs.last(&worker, 0, MAX_BYTES);
                let from = last_lines(&part.bytes, lines);
                drop(part.bytes.drain(..from));
                part
            }
            LogSpan::After(position) => logs.after(&worker, position, MAX_BYTES),
        });
        // Only a shutdown ends it early.
        read.await.ok()
    }
}

/// Where the last lines of a text begin; one that is not ended yet counts.
fn last_lines(text: &[u8], lines: usize) -> usize {
    let Some(last) = lines.checked_sub(1) else {
        return text.len();
    };
    let ended = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = ended.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(last).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_text_begin_behind_the_line_before_them() {
        let last = |text: &'static str, lines| &text[last_lines(text.as_bytes(), lines)..];
        assert_eq!(last("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(last("a\nb\nc", 2), "b\nc");
        assert_eq!(last("a\nb\n", 2), "a\nb\n");
        assert_eq!(last("a\n\n", 1), "\n");
        assert_eq!(last("a\n", 9), "a\n");
        assert_eq!(last("a\n", 0), "");
        assert_eq!(last("", 3), "");
    }
}
