//! `shardman logs`: what a worker printed, and with `-f` what it prints.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::StatusCode;
use serde_json::json;

use super::manager::{self, refusal};
use crate::client::Answer;
use crate::config::LogsArgs;

/// Between two looks at a log that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long the manager may be away, restarted itself, before we give up.
const AWAY: Duration = Duration::from_secs(60);

pub(super) async fn logs(args: LogsArgs) -> anyhow::Result<ExitCode> {
    let worker: String = form_urlencoded::byte_serialize(args.worker.as_bytes()).collect();
    let path = format!("/workers/{}/logs", worker.replace('+', "%20"));
    let answer = manager::get(&args.manager, &format!("{path}?lines={}", args.lines)).await?;
    let mut next = told(&answer)?;
    let mut lines = Lines::new(&args);
    if !lines.print(&answer.body)? || !args.follow {
        lines.end()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut heard = Instant::now();
    loop {
        let answer = match manager::get(&args.manager, &format!("{path}?after={next}")).await {
            Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => answer,
            Err(error) if heard.elapsed() > AWAY => return Err(error),
            Ok(_) | Err(_) => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
        };
        heard = Instant::now();
        let end = told(&answer)?;
        say_lost(end.saturating_sub(answer.body.len() as u64), next);
        next = end;
        if !lines.print(&answer.body)? {
            return Ok(ExitCode::SUCCESS);
        }
        if answer.body.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Where the log goes on.
fn told(answer: &Answer) -> anyhow::Result<u64> {
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    answer.log_next.context("the manager's answer makes no sense")
}

/// A worker that prints faster than we read is not read in full.
#[expect(clippy::print_stderr, reason = "standard output is the worker's alone")]
fn say_lost(from: u64, expected: u64) {
    if from > expected {
        eprintln!("shardman: {} bytes of the log are gone already", from - expected);
    }
}

/// What a worker printed, as it is or line by line.
struct Lines<'a> {
    args: &'a LogsArgs,
    /// The begin of a line whose end is still to come.
    begun: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(args: &'a LogsArgs) -> Self {
        let begun = Vec::new();
        Self { args, begun }
    }

    /// False when nobody reads any more.
    fn print(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if !self.args.json {
            return put(bytes);
        }
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            if !self.put_line(line.get(..end).unwrap_or_default())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A last line may have no end.
    fn end(&mut self) -> io::Result<()> {
        let last = std::mem::take(&mut self.begun);
        if !last.is_empty() {
            self.put_line(&last)?;
        }
        Ok(())
    }

    fn put_line(&self, line: &[u8]) -> io::Result<bool> {
        let line = String::from_utf8_lossy(line);
        let object = json!({ "worker": self.args.worker, "line": line });
        put(format!("{object}\n").as_bytes())
    }
}

/// False when nobody reads any more.
fn put(bytes: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}
