//! A manager under test: the real program, in a folder of its own, with pools.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Uri};
use rustix::process::{Pid, Signal, kill_process};
use shardman_core::PoolId;
use shardman_core::wire::{FleetView, PoolView};
use shardman_lease::{Manager, Secret};

use shardman_testing::missing;
pub use shardman_testing::{free_port, signal};

use crate::support;

pub const SECRET: &str = "test-secret";

/// Waits until `probe` has something, at most so many seconds.
#[track_caller]
pub fn eventually<T>(seconds: f64, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    support::eventually(support::seconds(seconds), what, probe)
}

/// The manager's program, which is built beside the oracle's. Where it must be
/// (`SHARDMAN_TEST_ALL`), its absence is a failure.
pub fn program(test: &str) -> Option<PathBuf> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_shardman-oracle")).with_file_name("shardman");
    if program.is_file() {
        return Some(program);
    }
    missing(test, "the manager: cargo build -p shardman");
    None
}

/// `shardman up` with pools and without a bot.
pub struct Fleet {
    pub address: SocketAddr,
    settings: Vec<(String, String)>,
    child: Child,
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Fleet {
    /// Once it serves.
    #[track_caller]
    pub fn up(program: PathBuf, settings: &[(&str, &str)]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec![
            ("LISTEN".to_owned(), address.to_string()),
            ("SECRET".to_owned(), SECRET.to_owned()),
        ];
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let child = spawn(&program, &folder, &all);
        let fleet = Self {
            address,
            settings: all,
            child,
            folder,
            program,
        };
        fleet.wait_served();
        fleet
    }

    fn wait_served(&self) {
        eventually(30.0, "the manager serves", || self.try_view());
    }

    /// Kills it at once. Its children live on.
    pub fn kill(&mut self) {
        signal(self.pid(), Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Starts it again in the same folder on the same port.
    pub fn start(&mut self) {
        self.child = spawn(&self.program, &self.folder, &self.settings);
        self.wait_served();
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn url(&self) -> Uri {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// A client that knows the shared secret.
    pub fn client(&self) -> Manager {
        Manager::new(&self.url(), &Secret::from(SECRET.to_owned())).unwrap()
    }

    fn try_view(&self) -> Option<FleetView> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.client().fleet()).ok()
    }

    pub fn view(&self) -> FleetView {
        self.try_view().expect("the manager answers")
    }

    pub fn pool(&self, name: &str) -> PoolView {
        let pools = self.view().pools;
        pools
            .into_iter()
            .find(|pool| pool.pool == name)
            .unwrap_or_else(|| panic!("no pool {name}"))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("manager.log")).unwrap_or_default()
    }
}

impl Drop for Fleet {
    /// Stops it as Ctrl-C does, and its children with it.
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = kill_process(Pid::from_raw(self.pid()).unwrap(), Signal::INT);
            let begun = Instant::now();
            while self.child.try_wait().ok().flatten().is_none() {
                if begun.elapsed() > Duration::from_secs(25) {
                    let _ = self.child.kill();
                }
                support::let_pass(Duration::from_millis(20));
            }
        }
        if std::thread::panicking() {
            eprintln!("the manager's log:\n{}", self.log());
        }
    }
}

fn spawn(program: &PathBuf, folder: &tempfile::TempDir, settings: &[(String, String)]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("manager.log"))
        .unwrap();
    let mut command = Command::new(program);
    command
        .arg("up")
        .env_clear()
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    for name in ["PATH", "HOME", "RUST_LOG"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.spawn().unwrap()
}

/// A place in a pool of this manager, for a process that was started by hand.
pub fn place(fleet: &Fleet, pool: &str) -> shardman_oracle::slot::Place {
    shardman_oracle::slot::Place {
        manager: std::sync::Arc::new(fleet.client()),
        pool: pool.parse::<PoolId>().unwrap(),
        is_child: false,
    }
}

pub fn secret() -> HeaderValue {
    HeaderValue::from_static(SECRET)
}
