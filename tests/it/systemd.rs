//! The manager as a service: what it tells systemd, the socket it is given, and
//! its restart, which the workers and their clients do not notice.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;

use crate::support::{Connection, How, Program, Shardman, Sim, eventually, let_pass, seconds, signal, tools};

/// What systemd hears.
struct Ear(UnixDatagram);

impl Ear {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The messages that have come since the last look.
    fn heard(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let messages = std::iter::from_fn(|| self.0.recv(&mut message).ok().map(|n| message[..n].to_vec()));
        messages
            .map(|bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned())
            .collect()
    }

    #[track_caller]
    fn hear(&self, within: f64, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut all = Vec::new();
        eventually(seconds(within), what, || {
            all.extend(self.heard());
            all.iter().any(|message| wanted(message)).then_some(())
        });
        all
    }
}

#[test]
fn systemd_hears_when_the_manager_serves_how_the_fleet_is_and_when_it_ends() {
    let sim = Sim::start(8, 8, &[]);
    let folder = tempfile::tempdir().unwrap();
    let ear = Ear::at(&folder.path().join("notify"));
    let socket = folder.path().join("notify").to_str().unwrap().to_owned();
    let mut manager = Shardman::up_as(
        folder,
        &[
            ("DISCORD_API_URL", &*sim.url()),
            ("BOT_TOKEN", "t"),
            ("NOTIFY_SOCKET", &*socket),
            ("WATCHDOG_USEC", "900000"),
        ],
        How::default(),
    );
    let heard = ear.hear(30.0, "the whole fleet", |said| {
        said.contains("8 of 8 shards ready")
    });
    assert!(heard.iter().any(|said| said == "READY=1"), "{heard:?}");
    let lines = heard.iter().filter(|said| said.starts_with("STATUS=")).count();
    assert!((1..30).contains(&lines), "{heard:?}");
    let worker = manager.workers()[0].1;
    let environ = String::from_utf8_lossy(&fs::read(format!("/proc/{worker}/environ")).unwrap()).into_owned();
    assert!(
        !environ.contains("NOTIFY_SOCKET") && !environ.contains("WATCHDOG"),
        "{environ}"
    );

    let began = Instant::now();
    let mut pings = 0;
    eventually(seconds(20.0), "ten pings", || {
        pings += ear.heard().iter().filter(|said| *said == "WATCHDOG=1").count();
        (pings >= 10).then_some(())
    });
    let each = began.elapsed() / 10;
    eprintln!("a ping every {each:?}, of 900 ms allowed");
    assert!(each < Duration::from_millis(900));

    for (dotenv, status) in [
        ("MAX_SECONDS=soon\n", "MAX_SECONDS is 'soon'"),
        ("", "8 of 8 shards ready"),
    ] {
        fs::write(manager.folder().join(".env"), dotenv).unwrap();
        signal(manager.pid(), Signal::HUP);
        let is_end = |said: &str| said.starts_with("READY=1\nSTATUS=") && said.contains(status);
        let heard = ear.hear(10.0, "the end of the reload", is_end);
        let began = heard
            .iter()
            .position(|said| said.starts_with("RELOADING=1\nMONOTONIC_USEC="));
        let ended = heard.iter().position(|said| is_end(said));
        assert!(began.is_some() && began < ended, "{heard:?}");
    }

    assert!(manager.stop().success());
    let heard = ear.heard();
    assert!(heard.iter().any(|said| said == "STOPPING=1"), "{heard:?}");
    assert!(
        heard.iter().any(|said| said == "EXTEND_TIMEOUT_USEC=15000000"),
        "as long as workers take: {heard:?}"
    );
}

fn refused(variables: &[(&str, &str)], script: &str, socket: TcpListener) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut program = Program::new("sh").arg("-c").arg(script);
    program = program
        .arg(env!("CARGO_BIN_EXE_shardman"))
        .dir(folder.path())
        .stdin(socket);
    for (name, value) in [("MAX_SHARDS", "1"), ("WORKERS", "0")].iter().chain(variables) {
        program = program.env(name, value);
    }
    let mut running = program.spawn(&log);
    assert_eq!(running.wait(seconds(10.0)).code(), Some(78), "{}", running.log());
    running.log()
}

#[test]
fn a_socket_that_contradicts_listen_is_refused_in_one_line() {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let one = "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" up 3<&0";
    let socket = listen();
    let address = socket.local_addr().unwrap().to_string();
    let line = refused(&[("LISTEN", "127.0.0.1:1")], one, socket);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(
        line.contains("LISTEN is '127.0.0.1:1'") && line.contains(&address),
        "{line}"
    );

    let line = refused(
        &[],
        "exec env LISTEN_PID=$$ LISTEN_FDS=2 \"$0\" up 3<&0 4<&0",
        listen(),
    );
    assert!(line.contains("LISTEN_FDS is '2'"), "{line}");
    let line = refused(
        &[],
        "exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" up 3</dev/null",
        listen(),
    );
    assert!(line.contains("does not listen"), "{line}");
}

/// What became of a stream of requests.
#[derive(Default)]
struct Asked {
    all: u32,
    /// When nobody listened.
    refused: Vec<Instant>,
    /// Accepted and not answered.
    cut: u32,
    /// The longest time from one answer to the next.
    gap: Duration,
}

/// Asks every few milliseconds until told to stop.
fn ask(address: SocketAddr, stop: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    let mut answered = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        asked.all += 1;
        // A connection of its own each time, so that each may be refused.
        match Connection::open(address) {
            Err(_) => asked.refused.push(Instant::now()),
            Ok(mut connection) => match connection.call("GET", "/health", &[], None) {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    asked.gap = asked.gap.max(answered.elapsed());
                    answered = Instant::now();
                }
                Err(_) => asked.cut += 1,
            },
        }
        let_pass(Duration::from_millis(5));
    }
    asked
}

/// Copies the program to `path` as an upgrade does: the old file is unlinked,
/// another one takes its name.
fn install(path: &Path, more: &[u8]) {
    let _ = fs::remove_file(path);
    let mut program = fs::read(env!("CARGO_BIN_EXE_shardman")).unwrap();
    program.extend_from_slice(more);
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, program).unwrap();
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(unfinished, path).unwrap();
}

/// Runs `restart` on a fleet of 16 shards while requests come in, and checks
/// that no worker noticed.
#[track_caller]
fn unnoticed(socket: Option<TcpListener>, restart: impl Fn(&mut Shardman, &Path)) -> Asked {
    let sim = Sim::start(16, 16, &["--events-per-second", "50"]);
    let folder = tempfile::tempdir().unwrap();
    let program: PathBuf = folder.path().join("shardman");
    install(&program, b"");
    let how = How {
        program: Some(program.clone()),
        socket,
        ..How::default()
    };
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "4"),
    ];
    let mut manager = Shardman::up_as(folder, &settings, how);
    manager.wait_ready(seconds(40.0));
    let workers = manager.workers();
    assert_eq!(workers.len(), 4);
    let before = sim.report();
    let (stop, address) = (AtomicBool::new(false), manager.address);
    let asked = thread::scope(|scope| {
        let client = scope.spawn(|| ask(address, &stop));
        let_pass(seconds(0.3));
        restart(&mut manager, &program);
        let_pass(seconds(0.5));
        manager.wait_ready(seconds(20.0));
        stop.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    let after = sim.report();
    assert_eq!(manager.workers(), workers, "the workers are the same processes");
    assert_eq!(
        (after.identify_count, after.resume_count, after.connections.opened),
        (
            before.identify_count,
            before.resume_count,
            before.connections.opened
        ),
        "no worker's gateway noticed"
    );
    assert!(manager.fleet().workers.iter().all(|worker| worker.exits == 0));
    sim.assert_clean();
    let away = match (asked.refused.first(), asked.refused.last()) {
        (Some(first), Some(last)) => last.duration_since(*first),
        _ => Duration::ZERO,
    };
    eprintln!(
        "{} requests, {} refused within {away:?}, {} cut, answers at most {:?} apart; 4 workers of 16 shards adopted, 0 identifies, 0 resumes",
        asked.all,
        asked.refused.len(),
        asked.cut,
        asked.gap
    );
    assert!(away < Duration::from_secs(1), "{away:?}");
    assert!(manager.stop().success());
    asked
}

#[test]
fn a_manager_that_is_killed_replaced_and_started_again_is_not_missed() {
    let asked = unnoticed(None, |manager, program| {
        install(program, b"another version");
        manager.kill();
        manager.start();
        let runs = fs::read_link(format!("/proc/{}/exe", manager.pid())).unwrap();
        assert_eq!(runs, program);
    });
    assert!(asked.cut <= 1, "what was being answered: {}", asked.cut);
}

#[test]
fn a_killed_manager_behind_systemds_socket_refuses_no_request() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = unnoticed(Some(socket), |manager, program| {
        let socket = fs::read_link(format!("/proc/{}/fd/3", manager.pid())).unwrap();
        assert!(socket.to_str().unwrap().starts_with("socket:"), "{socket:?}");
        for (worker, pid) in manager.workers() {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
            let mut open = open.filter_map(|fd| fs::read_link(fd.path()).ok());
            assert!(open.all(|fd| fd != socket), "{worker} has the manager's socket");
        }
        install(program, b"another version");
        manager.kill();
        manager.start();
    });
    assert!(asked.refused.is_empty() && asked.cut <= 1, "{}", asked.cut);
}

#[test]
fn a_restart_behind_systemds_socket_neither_refuses_nor_cuts_a_request() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = unnoticed(Some(socket), |manager, program| {
        install(program, b"another version");
        // As `systemctl restart` does it: RestartKillSignal=.
        signal(manager.pid(), Signal::USR2);
        assert!(manager.running().wait(seconds(10.0)).success());
        manager.start();
    });
    assert_eq!((asked.refused.len(), asked.cut), (0, 0));
}

#[test]
fn workers_start_while_the_executable_is_replaced_under_a_running_manager() {
    let sim = Sim::start(2, 2, &[]);
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("shardman");
    install(&program, b"");
    let how = How {
        program: Some(program.clone()),
        ..How::default()
    };
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("WORKERS", "1"),
        ("SHARDS_PER_WORKER", "2"),
    ];
    let mut manager = Shardman::up_as(folder, &settings, how);
    manager.wait_ready(seconds(30.0));
    let replaced = |manager: &Shardman, old: i32| {
        eventually(seconds(20.0), "another worker", || {
            let (_, pid) = *manager.workers().first()?;
            (pid != old && manager.fleet().ready == manager.fleet().planned).then_some(pid)
        })
    };
    let first = manager.workers()[0].1;
    // Between the old file and the new one there is none.
    fs::remove_file(&program).unwrap();
    signal(first, Signal::KILL);
    let second = replaced(&manager, first);
    let runs = fs::read_link(format!("/proc/{second}/exe")).unwrap();
    assert!(
        runs.to_str().unwrap().ends_with("(deleted)"),
        "our own image: {runs:?}"
    );

    install(&program, b"another version");
    signal(second, Signal::KILL);
    let third = replaced(&manager, second);
    assert_eq!(
        fs::read_link(format!("/proc/{third}/exe")).unwrap(),
        program,
        "what is there now"
    );
    assert!(manager.stop().success());
}

#[test]
fn the_units_are_understood_by_systemd() {
    if !tools(
        "the_units_are_understood_by_systemd",
        &[&["systemd-analyze", "--version"]],
    ) {
        return;
    }
    let (_, version, _) = Program::new("systemd-analyze").arg("--version").run();
    let version: u32 = version.split(' ').nth(1).unwrap().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut verify = Program::new("systemd-analyze").arg("verify");
    for unit in ["shardman.service", "shardman.socket"] {
        let text = fs::read_to_string(deploy.join(unit)).unwrap();
        // It must be there to be verified.
        let text = text.replace("/usr/local/bin/shardman", env!("CARGO_BIN_EXE_shardman"));
        let is_known = |line: &&str| version >= 254 || !line.starts_with("DelegateSubgroup=");
        let text: String = text
            .lines()
            .filter(is_known)
            .map(|line| format!("{line}\n"))
            .collect();
        let path = folder.path().join(unit);
        fs::write(&path, text).unwrap();
        verify = verify.arg(path.to_str().unwrap());
    }
    let (code, out, error) = verify.run();
    assert_eq!((code, &*out, &*error), (0, "", ""), "not even a warning");
}
