//! A manager under test: the real program, in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Program, Running};
use super::{eventually, free_port, get, seconds, signal};

/// The secret of every manager under test.
pub const SECRET: &str = "test-secret";

/// How a manager is started.
#[derive(Default)]
pub struct How {
    /// Another executable than the one that was built.
    pub program: Option<PathBuf>,
    /// Where systemd listens for it.
    pub socket: Option<TcpListener>,
    /// What the shell does that becomes the manager `$0`.
    pub script: Option<String>,
}

/// A manager under test, in a folder of its own.
pub struct Shardman {
    pub address: SocketAddr,
    settings: Vec<(String, String)>,
    how: How,
    // Before the folder, so that its log is still there when a test fails.
    running: Option<Running>,
    folder: tempfile::TempDir,
}

impl Shardman {
    /// `shardman up` with these variables, once it serves.
    #[track_caller]
    pub fn up(settings: &[(&str, &str)]) -> Self {
        Self::up_as(tempfile::tempdir().unwrap(), settings, How::default())
    }

    /// The same, and a write beyond a limit on its files fails instead of
    /// ending it, as a write to a full disk does.
    #[track_caller]
    pub fn up_on_a_small_disk(settings: &[(&str, &str)]) -> Self {
        Self::up_after("trap '' XFSZ", settings)
    }

    /// The same, started by a shell that does this first.
    #[track_caller]
    pub fn up_after(before: &str, settings: &[(&str, &str)]) -> Self {
        let how = How {
            script: Some(format!("{before}; exec \"$0\" up")),
            ..How::default()
        };
        Self::up_as(tempfile::tempdir().unwrap(), settings, how)
    }

    #[track_caller]
    pub fn up_as(folder: tempfile::TempDir, settings: &[(&str, &str)], mut how: How) -> Self {
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        if let Some(socket) = &how.socket {
            address = socket.local_addr().unwrap();
            let script = "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" up 3<&0 </dev/null";
            how.script = Some(script.to_owned());
        }
        let mut all = vec![
            ("LISTEN".to_owned(), address.to_string()),
            ("SECRET".to_owned(), SECRET.to_owned()),
        ];
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut shardman = Self {
            address,
            folder,
            settings: all,
            how,
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
        let built = Path::new(env!("CARGO_BIN_EXE_shardman"));
        let executable = self.how.program.as_deref().unwrap_or(built).to_str().unwrap();
        let mut program = match &self.how.script {
            Some(script) => Program::new("sh").arg("-c").arg(script).arg(executable),
            None => Program::new(executable).arg("up"),
        };
        if let Some(socket) = &self.how.socket {
            program = program.stdin(socket.try_clone().unwrap());
        }
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
