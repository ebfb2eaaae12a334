//! A real terminal: what a program writes to it becomes what a person would see.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::eventually;
use super::process::{Program, Running};

/// A program in a terminal of its own.
pub struct Terminal {
    master: File,
    screen: Arc<Mutex<Seen>>,
    running: Running,
}

struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
}

impl Program {
    /// Starts it in a terminal of so many columns and rows.
    pub fn in_terminal(mut self, columns: u16, rows: u16, log: &Path) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let child = self
            .command
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave))
            .spawn()
            .unwrap();
        // It would keep the terminal open.
        drop(self.command);
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Seen {
            parser: vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0),
            bytes: Vec::new(),
        }));
        let (mut reader, seen) = (master.try_clone().unwrap(), Arc::clone(&screen));
        let mut log_file = File::options().create(true).append(true).open(log).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with an error when nobody has the terminal open any more.
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                let mut seen = seen.lock().unwrap();
                seen.parser.process(&buffer[..read]);
                seen.bytes.extend_from_slice(&buffer[..read]);
                log_file.write_all(&buffer[..read]).unwrap();
            }
        });
        Terminal {
            master,
            screen,
            running: Running {
                child,
                mark: self.mark,
                log: log.to_owned(),
            },
        }
    }
}

impl Terminal {
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn pid(&self) -> i32 {
        self.running.pid()
    }

    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        self.running.wait(within)
    }

    /// The rows of the screen, without blanks at their ends.
    pub fn rows(&self) -> Vec<String> {
        let seen = self.screen.lock().unwrap();
        let (_, columns) = seen.parser.screen().size();
        let rows = seen.parser.screen().rows(0, columns.get());
        rows.map(|row| row.trim_end().to_owned()).collect()
    }

    /// The rows that go on in the next one, because they were too long.
    pub fn wrapped(&self) -> Vec<String> {
        let seen = self.screen.lock().unwrap();
        let (rows, columns) = seen.parser.screen().size();
        let texts: Vec<_> = seen.parser.screen().rows(0, columns.get()).collect();
        let wrapped = (0..rows.get()).filter(|row| seen.parser.screen().row_wrapped(*row));
        wrapped.map(|row| texts[usize::from(row)].clone()).collect()
    }

    /// Whether a program has a screen of its own now.
    pub fn is_alternate(&self) -> bool {
        self.screen.lock().unwrap().parser.screen().alternate_screen()
    }

    /// All that was written, with what moves the cursor.
    pub fn bytes(&self) -> Vec<u8> {
        self.screen.lock().unwrap().bytes.clone()
    }

    /// Waits for a screen on which this is.
    #[track_caller]
    pub fn shows(&self, within: Duration, text: &str) -> Vec<String> {
        eventually(within, &format!("{text:?} on the screen"), || {
            let rows = self.rows();
            rows.iter().any(|row| row.contains(text)).then_some(rows)
        })
    }

    /// Waits for a screen on which it is no more.
    #[track_caller]
    pub fn hides(&self, within: Duration, text: &str) -> Vec<String> {
        eventually(within, &format!("{text:?} gone from the screen"), || {
            let rows = self.rows();
            (!rows.iter().any(|row| row.contains(text))).then_some(rows)
        })
    }
}
