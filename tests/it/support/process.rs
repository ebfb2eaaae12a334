//! The program as a user starts it. What a test leaves behind fails it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{eventually, get, seconds};

/// The secret of every manager under test.
pub const SECRET: &str = "test-secret";

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap_or_else(|error| panic!("pid {pid}: {error}"));
}

/// Whether all of these programs are there. Where they must be
/// (`SHARDMAN_TEST_ALL`), their absence is a failure.
pub fn tools(test: &str, probes: &[&[&str]]) -> bool {
    let missing = probes.iter().find(|probe| {
        let run = Command::new(probe[0])
            .args(&probe[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        !run.is_ok_and(|status| status.success())
    });
    let Some(missing) = missing else { return true };
    let missing = missing.join(" ");
    assert!(
        std::env::var_os("SHARDMAN_TEST_ALL").is_none(),
        "{test} needs `{missing}` to work"
    );
    eprintln!("\n*** SKIPPED: {test}: `{missing}` does not work here ***\n");
    false
}

/// A process with an environment of its own, marked so that what it starts can
/// be found.
pub struct Program {
    command: Command,
    mark: String,
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

    fn start(&mut self, log: &Path) -> Child {
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
    child: Child,
    mark: String,
    log: PathBuf,
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

/// A manager under test, in a folder of its own.
pub struct Shardman {
    pub address: SocketAddr,
    settings: Vec<(String, String)>,
    small_disk: bool,
    // Before the folder, so that its log is still there when a test fails.
    running: Option<Running>,
    folder: tempfile::TempDir,
}

impl Shardman {
    /// `shardman up` with these variables, once it serves.
    #[track_caller]
    pub fn up(settings: &[(&str, &str)]) -> Self {
        Self::up_as(settings, false)
    }

    /// The same, and a write beyond a limit on its files fails instead of
    /// ending it, as a write to a full disk does.
    #[track_caller]
    pub fn up_on_a_small_disk(settings: &[(&str, &str)]) -> Self {
        Self::up_as(settings, true)
    }

    #[track_caller]
    fn up_as(settings: &[(&str, &str)], small_disk: bool) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut all = vec![
            ("LISTEN".to_owned(), address.to_string()),
            ("SECRET".to_owned(), SECRET.to_owned()),
        ];
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let folder = tempfile::tempdir().unwrap();
        let mut shardman = Self {
            address,
            folder,
            settings: all,
            small_disk,
            running: None,
        };
        shardman.start();
        shardman
    }

    /// What the next start finds in this variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(earlier, _)| earlier != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it again in the same folder on the same port.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        let address = self.address;
        eventually(seconds(20.0), "the manager serves", || {
            let connection = super::Connection::open(address).ok();
            connection?
                .call("GET", "/health", &[], None)
                .ok()
                .filter(|answer| answer.status == 200)
        });
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        let mut program = if self.small_disk {
            let ignoring = Program::new("sh").arg("-c").arg("trap '' XFSZ; exec \"$0\" up");
            ignoring.arg(env!("CARGO_BIN_EXE_shardman"))
        } else {
            Program::shardman(&["up"])
        };
        program = program.dir(self.folder.path());
        for (name, value) in &self.settings {
            program = program.env(name, value);
        }
        if let Some(earlier) = &self.running {
            program.mark.clone_from(&earlier.mark);
            program.command.env("SHARDMAN_TEST_MARK", &earlier.mark);
        }
        let log = self.folder.path().join("manager.log");
        let child = program.start(&log);
        let earlier = self.running.replace(Running {
            child,
            mark: program.mark,
            log,
        });
        std::mem::forget(earlier);
    }

    pub fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    pub fn pid(&self) -> i32 {
        self.running.as_ref().unwrap().pid()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        self.running.as_ref().unwrap().log()
    }

    /// Kills it at once. Its children live on.
    #[track_caller]
    pub fn kill(&mut self) {
        signal(self.pid(), Signal::KILL);
        self.running().wait(seconds(10.0));
    }

    /// Stops it as Ctrl-C does, and its children with it.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), Signal::INT);
        self.running().wait(seconds(25.0))
    }

    /// What `GET /fleet` says.
    #[track_caller]
    pub fn fleet(&self) -> shardman_core::wire::FleetView {
        let answer = get(self.address, "/fleet", SECRET);
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Waits until every planned shard is ready.
    #[track_caller]
    pub fn wait_ready(&self, within: Duration) {
        eventually(within, "the fleet is ready", || {
            let fleet = self.fleet();
            (fleet.planned > 0 && fleet.ready == fleet.planned).then_some(())
        });
    }

    /// The pids of running children, by worker.
    pub fn workers(&self) -> Vec<(String, i32)> {
        self.fleet()
            .workers
            .into_iter()
            .filter_map(|worker| Some((worker.worker, worker.pid?)))
            .collect()
    }

    /// A plain `GET /connect`.
    #[track_caller]
    pub fn connect(&self) -> super::Response {
        get(self.address, "/connect", SECRET)
    }

    /// A plain `POST /beat`.
    #[track_caller]
    pub fn beat(&self, session: &str) -> super::Response {
        super::post(
            self.address,
            "/beat",
            SECRET,
            &format!("{{\"session_id\":\"{session}\"}}"),
        )
    }
}
