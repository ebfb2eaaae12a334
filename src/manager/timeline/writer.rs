//! The file of events: one JSON object a line, appended to. When it has grown
//! by its limit, or some lines are missing, it begins anew with everything that
//! is kept, and the file before it stays as the older one. It is for people: no
//! decision rests on it, so nothing waits until it is on the disk.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shardman_core::timeline::{Event, Timeline};
use tracing::{info, warn};

use super::{Job, Kept};

/// How much a file grows before the next one begins.
const GROWS: u64 = 8 << 20;

/// The most that is read of one file, from its end.
const READ: u64 = 32 << 20;

/// No line of ours is longer.
const LONGEST_LINE: usize = 16 << 10;

/// Between two tries while the disk takes nothing.
const RETRY: Duration = Duration::from_secs(5);

/// The last line of a manager that came to its end.
#[derive(Serialize, Deserialize)]
struct Closed {
    closed: u64,
}

#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    kept: Arc<Kept>,
    /// None before the first event, and while the disk takes nothing.
    file: Option<File>,
    grown: u64,
    /// The highest number that the file has.
    written: u64,
    failed_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(path: &Path, kept: Arc<Kept>) -> Self {
        let written = kept.timeline().last();
        Self {
            path: path.to_owned(),
            kept,
            file: None,
            grown: 0,
            written,
            failed_at: None,
        }
    }

    pub(super) fn run(&mut self, job: Job) {
        match job {
            Job::Write(events) => {
                if self.failed_at.is_none_or(|at| at.elapsed() >= RETRY) {
                    let written = self.write(&events);
                    self.report(written);
                }
            }
            Job::Close(done) => {
                let written = self.close();
                self.report(written);
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }

    fn report(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) if self.failed_at.take().is_some() => info!("events are written down again"),
            Ok(()) => {}
            Err(error) => {
                if self.failed_at.replace(Instant::now()).is_none() {
                    warn!("events are not written down: {}: {error}", self.path.display());
                }
                self.file = None;
            }
        }
    }

    fn write(&mut self, events: &[Arc<Event>]) -> io::Result<()> {
        let behind = self.kept.behind.swap(false, Ordering::Relaxed);
        if behind || self.failed_at.is_some() || self.grown > GROWS {
            return self.begin_anew();
        }
        let written = self.written;
        let new = events.iter().filter(|event| event.number > written);
        let lines = lines(new.map(Arc::as_ref));
        self.append(&lines)?;
        self.written = events.last().map_or(written, |event| written.max(event.number));
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => self.file.insert(file),
            None => {
                let (file, length) = open(&self.path)?;
                self.grown = length;
                self.file.insert(file)
            }
        };
        file.write_all(lines)?;
        self.grown = self.grown.saturating_add(lines.len() as u64);
        Ok(())
    }

    /// Everything that is kept goes to a new file.
    fn begin_anew(&mut self) -> io::Result<()> {
        self.file = None;
        let all = self.kept.timeline().all();
        let unfinished = self.path.with_extension("ndjson.new");
        let write = || {
            let options = &mut File::options();
            options.create(true).write(true).truncate(true).mode(0o600);
            let mut file = options.open(&unfinished)?;
            file.write_all(&lines(all.iter().map(Arc::as_ref)))?;
            match fs::rename(&self.path, older(&self.path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            fs::rename(&unfinished, &self.path)?;
            Ok(file)
        };
        let file = write().inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
        self.file = Some(file);
        self.grown = 0;
        self.written = all.last().map_or(self.written, |event| event.number);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if self.kept.behind.swap(false, Ordering::Relaxed) || self.failed_at.is_some() {
            self.begin_anew()?;
        }
        let closed = Closed { closed: self.written };
        let mut line = serde_json::to_vec(&closed)?;
        line.push(b'\n');
        self.append(&line)
    }
}

fn lines<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<u8> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event).expect("an event is plain data with string keys");
        lines.push(b'\n');
    }
    lines
}

/// The file, ready for a new line, and its length. The last line may have been
/// torn by a crash.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(path)?;
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok((file, length))
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("ndjson.1")
}

/// Takes up what the files hold. Lines that are torn or make no sense are left
/// out.
pub(super) fn read(path: &Path, timeline: &mut Timeline) {
    let mut closed = None;
    for path in [older(path), path.to_owned()] {
        let text = match tail(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                warn!("earlier events cannot be read: {}: {error}", path.display());
                continue;
            }
        };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            closed = None;
            if line.len() > LONGEST_LINE {
                continue;
            }
            if let Some(event) = Event::parse(line) {
                timeline.restore(event);
            } else if let Ok(last) = serde_json::from_slice::<Closed>(line) {
                closed = Some(last.closed);
            }
        }
    }
    timeline.go_on(closed);
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
    let mut text = Vec::new();
    file.take(READ).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
