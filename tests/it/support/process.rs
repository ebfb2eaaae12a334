//! The program as a user starts it. What a test leaves behind fails it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A process with an environment of its own, marked so that what it starts can
/// be found.
pub struct Program {
    pub(super) command: Command,
    pub(super) mark: String,
}

impl Program {
    pub fn new(program: impl AsRef<std::ffi::OsStr>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("SHARDMAN_TEST_MARK", &mark)
            .stdin(Stdio::null());
        for name in ["PATH", "HOME", "NODE_PATH", "PYTHONPATH", "RUST_LOG"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(super::clients::paths());
        Self { command, mark }
    }

    /// `shardman` with these arguments.
    pub fn shardman(args: &[&str]) -> Self {
        let mut program = Self::new(env!("CARGO_BIN_EXE_shardman"));
        program.command.args(args);
        program
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, stdin: TcpListener) -> Self {
        self.command.stdin(Stdio::from(std::os::fd::OwnedFd::from(stdin)));
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs to the end: exit code, standard output, standard error.
    pub fn run(mut self) -> (i32, String, String) {
        let output = self.command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap_or(-1),
            text(output.stdout),
            text(output.stderr),
        )
    }

    pub(super) fn start(&mut self, log: &Path) -> Child {
        let log = File::options().create(true).append(true).open(log).unwrap();
        self.command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Starts it with its standard output in a pipe. The caller ends it.
    pub fn pipe(mut self) -> Child {
        self.command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Starts it with its output in `log`.
    pub fn spawn(mut self, log: &Path) -> Running {
        let child = self.start(log);
        Running {
            child,
            mark: self.mark,
            log: log.to_owned(),
        }
    }
}

/// A process that runs.
pub struct Running {
    pub(super) child: Child,
    pub(super) mark: String,
    pub(super) log: PathBuf,
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of pid {}", self.pid());
        eventually(within, &what, || self.child.try_wait().unwrap())
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Everything that it or its children started and that still runs.
    pub fn descendants(&self) -> Vec<i32> {
        marked(&self.mark)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            eprintln!("--- the end of {} ---\n{}", self.log.display(), tail.join("\n"));
        }
        let running = self.child.try_wait().unwrap().is_none();
        if running {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let left = marked(&self.mark);
        for pid in &left {
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
        assert!(
            running || left.is_empty() || std::thread::panicking(),
            "left behind: {left:?}"
        );
    }
}

fn marked(mark: &str) -> Vec<i32> {
    let entry = format!("SHARDMAN_TEST_MARK={mark}");
    let ours = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == entry.as_bytes())
    };
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(ours).collect()
}
