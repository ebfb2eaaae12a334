//! A few lines below the log on a terminal, that are redrawn in place. A line of
//! the log goes above them, whole.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// What stands below the log. Every clone means the same lines.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    /// One line each, none wider than the terminal.
    lines: String,
    /// Standard error is a terminal that takes them.
    possible: bool,
}

impl Live {
    /// On a terminal.
    pub(super) fn possible() -> Self {
        let shown = Shown {
            lines: String::new(),
            possible: true,
        };
        Self(Arc::new(Mutex::new(shown)))
    }

    /// Whether anything is shown at all.
    pub fn is_possible(&self) -> bool {
        self.lock().possible
    }

    /// Shows these lines instead of the former ones.
    pub fn show(&self, lines: &str) {
        let mut shown = self.lock();
        if shown.possible && shown.lines != lines {
            let coloured = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
            let plain = || anstream::adapter::strip_str(lines).to_string();
            let lines = if coloured { lines.to_owned() } else { plain() };
            let frame = format!("{}{lines}", shown.erase());
            shown.lines = lines;
            put(frame.as_bytes());
        }
    }

    /// Nothing is shown any more.
    pub fn clear(&self) {
        self.show("");
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// What takes the lines off the screen: up to the first, and all below away.
    fn erase(&self) -> String {
        let mut text = String::new();
        let rows = self.lines.lines().count();
        if rows > 0 {
            // Writing to a string never fails.
            let _ = write!(text, "\x1b[{rows}A\r\x1b[J");
        }
        text
    }
}

/// A log that cannot be written is not worth an end.
fn put(bytes: &[u8]) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Where a line of the log goes.
pub struct Above<'a>(&'a Live);

impl Write for Above<'_> {
    /// The log writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = self.0.lock();
        let mut frame = shown.erase().into_bytes();
        frame.extend_from_slice(line);
        frame.extend_from_slice(shown.lines.as_bytes());
        put(&frame);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Live {
    type Writer = Above<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Above(self)
    }
}
