//! What we need of a terminal: its size, a screen of our own, and keys.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Where nobody knows better.
const USUAL: (usize, usize) = (80, 24);

/// Columns and rows; `None` where this is no terminal.
pub(super) fn size(of: impl AsFd) -> Option<(usize, usize)> {
    let size = tcgetwinsize(of).ok()?;
    Some(match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => USUAL,
        (columns, rows) => (columns.into(), rows.into()),
    })
}

/// The columns that standard output has; `None` without a bound.
pub(super) fn width() -> Option<usize> {
    size(io::stdout()).map(|(columns, _)| columns)
}

/// Standard output as a screen that is redrawn in place and gone in the end,
/// with what was there before.
pub(super) struct Screen {
    coloured: bool,
    /// How the keyboard was before.
    keyboard: Option<Termios>,
    drawn: Vec<u8>,
}

impl Screen {
    /// # Errors
    ///
    /// If the terminal takes nothing.
    pub(super) fn open() -> io::Result<Self> {
        let coloured = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let mut screen = Self {
            coloured,
            keyboard: None,
            drawn: Vec::new(),
        };
        screen.enter()?;
        Ok(screen)
    }

    /// Takes the terminal, again after [`Self::leave`].
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.keyboard = self.keyboard.take().or_else(single_keys);
        self.forget();
        write(b"\x1b[?1049h\x1b[?25l")
    }

    /// Gives it back as it was.
    pub(super) fn leave(&mut self) {
        // There is nobody to tell that the terminal is gone.
        let _ = write(b"\x1b[?25h\x1b[?1049l");
        if let Some(before) = self.keyboard.take() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }

    /// Shows this, from the first row on. Rows that do not fit are left out.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        let rows = size(io::stdout()).map_or(USUAL.1, |(_, rows)| rows);
        let plain;
        let text = if self.coloured {
            text
        } else {
            plain = anstream::adapter::strip_str(text).to_string();
            &plain
        };
        let all: Vec<_> = text.lines().collect();
        let mut frame = b"\x1b[?2026h\x1b[H".to_vec();
        let fit = if all.len() > rows { rows - 1 } else { all.len() };
        for (row, line) in all.iter().take(fit).enumerate() {
            let end = if row == 0 { "" } else { "\r\n" };
            frame.extend_from_slice(format!("{end}{line}\x1b[K").as_bytes());
        }
        if fit < all.len() {
            let more = format!("\r\n… {} more lines in a taller window\x1b[K", all.len() - fit);
            frame.extend_from_slice(more.as_bytes());
        }
        frame.extend_from_slice(b"\x1b[J\x1b[?2026l");
        // What has not changed is left alone.
        if frame != self.drawn {
            write(&frame)?;
            self.drawn = frame;
        }
        Ok(())
    }

    /// After another window size nothing is as it was drawn.
    pub(super) fn forget(&mut self) {
        self.drawn.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Stops this process as Ctrl-Z does, until a shell continues it. Ctrl-Z itself
/// is a signal that one may hear first, and no longer stops anybody then.
pub(super) async fn stop_here() -> io::Result<()> {
    let mut continued = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
    kill_process(getpid(), Signal::STOP)?;
    continued.recv().await;
    Ok(())
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Keys come one by one, and are not shown. Ctrl-C still is a signal. Returns
/// how it was; `None` where no terminal types.
fn single_keys() -> Option<Termios> {
    let before = tcgetattr(io::stdin()).ok()?;
    let mut single = before.clone();
    single.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    tcsetattr(io::stdin(), OptionalActions::Now, &single).ok()?;
    Some(before)
}

/// What is typed, where somebody can. The thread ends with the process.
pub(super) fn keys() -> mpsc::Receiver<u8> {
    let (sender, keys) = mpsc::channel(16);
    if io::stdin().is_terminal() {
        std::thread::spawn(move || {
            let mut key = [0];
            while let Ok(1) = io::Read::read(&mut io::stdin().lock(), &mut key) {
                if sender.blocking_send(key[0]).is_err() {
                    break;
                }
            }
        });
    }
    keys
}
