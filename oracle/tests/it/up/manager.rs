//! The manager as a user starts it, in a folder of its own. What a test leaves
//! behind fails it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use shardman_testing::{eventually, free_port, signal};

pub(super) const SECRET: &str = "test-secret";

/// `shardman up` that runs.
pub(super) struct Manager {
    pub(super) address: SocketAddr,
    pub(super) oracle: SocketAddr,
    child: Child,
    pub(super) mark: String,
    pub(super) folder: tempfile::TempDir,
}

impl Manager {
    /// `shardman up` with these arguments and variables. The oracle lies beside
    /// the program, where `up` looks first.
    pub(super) fn up(program: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let [address, oracle] =
            [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let folder = tempfile::tempdir().unwrap();
        let mark = format!("{}-{}", std::process::id(), address.port());
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.path().join("log"))
            .unwrap();
        let child = Command::new(program)
            .arg("up")
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("SHARDMAN_TEST_MARK", &mark)
            .env("LISTEN", address.to_string())
            .env("ORACLE_LISTEN", oracle.to_string())
            .env("SECRET", SECRET)
            // They ask again and again until something is so.
            .env("SHARD_RATE_LIMIT_PER_MINUTE", "0")
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            address,
            oracle,
            child,
            mark,
            folder,
        }
    }

    /// What `GET /fleet` answers.
    pub(super) fn fleet(&self) -> Option<Value> {
        let (status, body) = call(self.address, "GET", "/fleet", &[("Authorization", SECRET)], "").ok()?;
        (status == 200).then(|| serde_json::from_str(&body).ok())?
    }

    /// The names and pids of all workers that run.
    pub(super) fn pids(&self) -> Vec<(String, i32)> {
        let fleet = self.fleet().unwrap_or_default();
        let of = |workers: &Value| workers.as_array().cloned().unwrap_or_default();
        let pools = of(&fleet["pools"]);
        let workers = of(&fleet["workers"])
            .into_iter()
            .chain(pools.iter().flat_map(|pool| of(&pool["workers"])));
        workers
            .filter_map(|worker| {
                let pid = i32::try_from(worker["pid"].as_i64()?).ok()?;
                Some((worker["worker"].as_str()?.to_owned(), pid))
            })
            .collect()
    }

    pub(super) fn pid(&self, worker: &str) -> Option<i32> {
        let found = self.pids().into_iter().find(|(name, _)| name == worker);
        found.map(|(_, pid)| pid)
    }

    /// Ctrl-C.
    #[track_caller]
    pub(super) fn stop(&mut self) -> ExitStatus {
        signal(i32::try_from(self.child.id()).unwrap(), Signal::INT);
        eventually(Duration::from_secs(30), "the manager has ended", || {
            self.child.try_wait().unwrap()
        })
    }

    /// Everything that it or its children started and that still runs.
    pub(super) fn left(&self) -> Vec<i32> {
        let entry = format!("SHARDMAN_TEST_MARK={}", self.mark);
        let ours = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|byte| *byte == 0)
                .any(|variable| variable == entry.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(ours).collect()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut logs = vec![self.folder.path().join("log")];
            let workers = fs::read_dir(self.folder.path().join("data/sim/logs"));
            logs.extend(workers.into_iter().flatten().flatten().map(|entry| entry.path()));
            for log in logs {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<_> = text.lines().rev().take(40).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                eprintln!("--- the end of {} ---\n{}", log.display(), tail.join("\n"));
            }
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for pid in self.left() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

/// One request on a connection of its own: the status and the body.
pub(super) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // Of this version nobody answers in chunks.
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {head}")))?;
    Ok((status, body.to_owned()))
}
