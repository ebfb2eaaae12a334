//! What children print: one file each, with one older file kept.
//!
//! A child holds its file open for as long as it runs, and may outlive us, so
//! the file cannot be exchanged under it. What is too long is copied to
//! `WORKER.log.1` and cut off instead. A child's file is open for appending,
//! so it goes on at the new end. What is written in the moment between the
//! copy and the cut is lost. Punching holes would lose nothing, but not every
//! file system can, and whoever reads such a file sees gigabytes of zeros.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use shardman_core::WorkerId;
use tracing::{debug, warn};

use super::LogPart;

mod forget;

/// A log that is longer is cut, and at most this much of it is kept aside.
const KEEP_BYTES: u64 = 8 * 1024 * 1024;

/// Left free in the older file for what is written while we copy.
const WHILE_COPYING: u64 = 1024 * 1024;

/// Between two looks at the length of every log.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The same while a child floods its log.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How much of a log's end is read for its last lines.
const TAIL_BYTES: u64 = 32 * 1024;

/// How many last lines go with the report of a child's end.
const LAST_LINES: usize = 50;

/// The folder of all logs.
///
/// Positions in a log count from the first byte that was ever printed to it,
/// and go on over every cut, also that of the next manager.
#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
    /// Where each live file begins. Held while a log is read or cut, which is
    /// done on blocking threads alone.
    begins: Mutex<BTreeMap<WorkerId, u64>>,
    /// Whose logs this manager needs.
    in_use: Mutex<BTreeSet<WorkerId>>,
}

impl Logs {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            begins: Mutex::default(),
            in_use: Mutex::default(),
        })
    }

    /// Keeps every log within its bound, on a thread of its own, until the
    /// sender is dropped.
    pub(super) fn watch(self: &Arc<Self>) -> io::Result<mpsc::Sender<()>> {
        let (alive, ended) = mpsc::channel();
        let logs = Arc::clone(self);
        std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || {
                let (mut pause, mut troubled) = (LOOK_EVERY, BTreeSet::new());
                let mut looked = Instant::now();
                while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let cut = logs.cut_all(&mut troubled);
                    if looked.elapsed() >= forget::LOOK_EVERY {
                        looked = Instant::now();
                        forget::old_logs(&logs.folder, &logs.in_use(), SystemTime::now());
                    }
                    pause = if cut { LOOK_AGAIN } else { LOOK_EVERY };
                }
            })?;
        Ok(alive)
    }

    /// The file that a child about to start prints to.
    pub(super) fn append(&self, worker: &WorkerId) -> io::Result<File> {
        self.keep(worker);
        File::options().create(true).append(true).open(self.live(worker))
    }

    /// The log of this worker is never too old.
    pub(super) fn keep(&self, worker: &WorkerId) {
        self.in_use().insert(worker.clone());
    }

    fn in_use(&self) -> MutexGuard<'_, BTreeSet<WorkerId>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where what a child prints from now on begins.
    pub(super) fn end(&self, worker: &WorkerId) -> u64 {
        let mut begins = self.begins();
        self.begin(&mut begins, worker) + length(&self.live(worker))
    }

    /// The last lines of a log behind `from`; none when there is no log.
    pub(super) fn last_lines(&self, worker: &WorkerId, from: u64) -> Vec<String> {
        let part = self.last(worker, from, TAIL_BYTES);
        let text = String::from_utf8_lossy(&part.bytes).into_owned();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
    }

    /// The end of a log behind `from`, as much as `limit` bytes.
    pub(crate) fn last(&self, worker: &WorkerId, from: u64, limit: u64) -> LogPart {
        let mut begins = self.begins();
        let begin = self.begin(&mut begins, worker);
        let end = begin + length(&self.live(worker));
        self.read(worker, begin, end.saturating_sub(limit).max(from).min(end)..end)
    }

    /// What follows behind `from`, as much as `limit` bytes. A position that is
    /// not ours, such as that of a log that somebody deleted, counts as
    /// the beginning of the live file.
    pub(crate) fn after(&self, worker: &WorkerId, from: u64, limit: u64) -> LogPart {
        let mut begins = self.begins();
        let begin = self.begin(&mut begins, worker);
        let end = begin + length(&self.live(worker));
        let from = if from > end { begin } else { from };
        let oldest = begin - length(&self.older(worker)).min(begin);
        let from = from.max(oldest);
        self.read(worker, begin, from..end.min(from + limit))
    }

    /// The bytes at these positions, as far as they are still there.
    fn read(&self, worker: &WorkerId, begin: u64, at: std::ops::Range<u64>) -> LogPart {
        let mut bytes = Vec::new();
        if at.start < begin {
            // The older file ends where the live one begins.
            let older = self.older(worker);
            let from = length(&older).saturating_sub(begin - at.start);
            let wanted = at.end.min(begin) - at.start;
            // A log that cannot be read has nothing to say.
            let _ = read_at(&older, from, wanted, &mut bytes);
        }
        if at.end > begin {
            let from = at.start.max(begin);
            let _ = read_at(&self.live(worker), from - begin, at.end - from, &mut bytes);
        }
        LogPart { bytes, next: at.end }
    }

    /// Cuts every log that is too long; true when there was one. Those with
    /// which it did not go well are `troubled`, and told once.
    fn cut_all(&self, troubled: &mut BTreeSet<WorkerId>) -> bool {
        let mut any = false;
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(worker) = name.to_str().and_then(|name| name.strip_suffix(".log")) else {
                continue;
            };
            let too_long = |log: fs::Metadata| log.is_file() && log.len() > KEEP_BYTES;
            if !entry.metadata().is_ok_and(too_long) {
                continue;
            }
            let worker = WorkerId::from(worker);
            match self.cut(&worker) {
                Ok(()) => {
                    any = true;
                    troubled.remove(&worker);
                }
                Err(error) if troubled.insert(worker.clone()) => {
                    warn!(worker.id = %worker, "the log of worker {worker} cannot be put aside: {error}");
                }
                Err(_) => {}
            }
        }
        any
    }

    fn cut(&self, worker: &WorkerId) -> io::Result<()> {
        let mut begins = self.begins();
        let begin = self.begin(&mut begins, worker);
        let mut live = File::options().read(true).write(true).open(self.live(worker))?;
        let kept = live.metadata()?.len().min(KEEP_BYTES - WHILE_COPYING);
        live.seek(SeekFrom::End(-i64::try_from(kept).map_err(io::Error::other)?))?;
        let copied = File::create(self.older(worker))
            .and_then(|mut older| io::copy(&mut (&live).take(KEEP_BYTES), &mut older));
        // A disk that is full is a reason more to cut.
        let length = live.metadata()?.len();
        live.set_len(0)?;
        begins.insert(worker.clone(), begin + length);
        let noted = fs::write(self.note(worker), (begin + length).to_string());
        debug!(worker.id = %worker, "the log of worker {worker} was cut at {length} bytes");
        copied.and(noted)
    }

    /// Where the live file begins: as the last cut noted it, also that of an
    /// earlier manager. Where the note is lost, the older file is all there was.
    fn begin(&self, begins: &mut BTreeMap<WorkerId, u64>, worker: &WorkerId) -> u64 {
        *begins.entry(worker.clone()).or_insert_with(|| {
            let noted = fs::read_to_string(self.note(worker)).ok();
            let noted = noted.and_then(|note| note.parse().ok());
            noted.unwrap_or_else(|| length(&self.older(worker)))
        })
    }

    fn begins(&self) -> MutexGuard<'_, BTreeMap<WorkerId, u64>> {
        self.begins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, worker: &WorkerId) -> PathBuf {
        self.folder.join(format!("{worker}.log"))
    }

    fn note(&self, worker: &WorkerId) -> PathBuf {
        self.folder.join(format!("{worker}.log.begin"))
    }

    fn older(&self, worker: &WorkerId) -> PathBuf {
        self.folder.join(format!("{worker}.log.1"))
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |log| log.len())
}

fn read_at(path: &Path, from: u64, wanted: u64, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    file.take(wanted).read_to_end(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn logs() -> (tempfile::TempDir, Logs, WorkerId) {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path().to_owned()).unwrap();
        (folder, logs, "discord-0".into())
    }

    /// Lines of 16 bytes each, numbered on.
    fn lines(numbers: std::ops::Range<u64>) -> Vec<u8> {
        let lines = numbers.map(|number| format!("line {number:>10}\n"));
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn a_log_that_is_cut_keeps_its_end_and_its_positions() {
        let (_folder, logs, worker) = logs();
        let mut child = logs.append(&worker).unwrap();
        let first = 2 * KEEP_BYTES / 16;
        child.write_all(&lines(0..first)).unwrap();
        assert_eq!(logs.end(&worker), first * 16);
        assert!(logs.cut_all(&mut BTreeSet::new()));
        assert!(!logs.cut_all(&mut BTreeSet::new()), "once is enough");
        assert_eq!(length(&logs.live(&worker)), 0);
        assert_eq!(length(&logs.older(&worker)), KEEP_BYTES - WHILE_COPYING);
        assert_eq!(logs.end(&worker), first * 16);
        child.write_all(&lines(first..first + 2)).unwrap();
        assert_eq!(
            length(&logs.live(&worker)),
            32,
            "the child goes on at the new end"
        );

        let part = logs.after(&worker, (first - 1) * 16, 1024);
        let next = (first + 2) * 16;
        assert_eq!((part.bytes, part.next), (lines(first - 1..first + 2), next));
        assert_eq!(logs.after(&worker, next, 1024).bytes, b"");
        assert_eq!(logs.last(&worker, 0, 64).bytes, lines(first - 2..first + 2));
        assert_eq!(
            logs.last_lines(&worker, first * 16).len(),
            2,
            "its own words alone"
        );
        assert_eq!(logs.last_lines(&worker, 0).len(), LAST_LINES);
    }

    #[test]
    fn a_position_that_is_gone_leads_to_what_is_left() {
        let (_folder, logs, worker) = logs();
        let mut child = logs.append(&worker).unwrap();
        child.write_all(&lines(0..KEEP_BYTES / 8)).unwrap();
        assert!(logs.cut_all(&mut BTreeSet::new()));
        let oldest = KEEP_BYTES + WHILE_COPYING;
        let part = logs.after(&worker, 0, 16);
        assert_eq!(
            (part.bytes, part.next),
            (lines(oldest / 16..oldest / 16 + 1), oldest + 16)
        );
        child.write_all(b"new\n").unwrap();
        let part = logs.after(&worker, u64::MAX, 16);
        assert_eq!((part.bytes, part.next), (b"new\n".to_vec(), 2 * KEEP_BYTES + 4));
    }

    #[test]
    fn the_next_manager_counts_on() {
        let (folder, logs, worker) = logs();
        let mut child = logs.append(&worker).unwrap();
        child.write_all(&lines(0..KEEP_BYTES / 8)).unwrap();
        assert!(logs.cut_all(&mut BTreeSet::new()));
        child.write_all(b"live\n").unwrap();
        let next = Logs::open(folder.path().to_owned()).unwrap();
        assert_eq!(next.end(&worker), 2 * KEEP_BYTES + 5);
        assert_eq!(next.after(&worker, 2 * KEEP_BYTES, 9).bytes, b"live\n");
    }

    #[test]
    fn without_a_note_positions_count_from_the_older_file() {
        let (folder, logs, worker) = logs();
        logs.append(&worker).unwrap().write_all(b"live\n").unwrap();
        fs::write(logs.older(&worker), b"older\n").unwrap();
        let next = Logs::open(folder.path().to_owned()).unwrap();
        assert_eq!(next.end(&worker), 11);
        assert_eq!(next.last(&worker, 0, 100).bytes, b"older\nlive\n");
        assert_eq!(next.after(&worker, 3, 5).bytes, b"er\nli");
    }

    #[test]
    fn a_worker_that_printed_nothing_has_an_empty_log() {
        let (_folder, logs, worker) = logs();
        assert_eq!(logs.last_lines(&worker, 0), Vec::<String>::new());
        let nothing = LogPart {
            bytes: Vec::new(),
            next: 0,
        };
        assert_eq!(logs.after(&worker, 7, 16), nothing);
    }
}
