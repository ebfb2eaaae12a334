//! What the tests share: the real program with the fake model, real sockets,
//! and an environment of its own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

mod connection;

pub use connection::{Connection, Response, text_of};
pub use shardman_testing::{eventually, let_pass, seconds, signal, tools};

/// The program with these arguments, and an environment of its own.
pub fn program(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardman-oracle"));
    command
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Runs it to its end: exit code, standard output, standard error.
pub fn run(args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let output = program(args, variables).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// An oracle that serves the fake model, and is killed in the end.
pub struct Oracle {
    child: Child,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Oracle {
    /// One without a limit of requests, unless `variables` say so.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = program(&["serve", "--listen", "127.0.0.1:0"], &[]);
        let mut child = command
            .envs([("ORACLE_MODEL", "fake"), ("SHARD_RATE_LIMIT_PER_MINUTE", "0")])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(';').next()?.parse().ok());
        let log = || fs::read_to_string(folder.path().join("log"));
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}: {:?}", log()));
        Self {
            child,
            address,
            folder,
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub fn get(&self, path: &str) -> Response {
        self.connect().call("GET", path, &[], None)
    }

    pub fn post(&self, body: &str) -> Response {
        self.connect().post(body)
    }

    /// A chat with one message of the user's, and these fields beside it.
    pub fn ask(&self, content: &str, fields: Value) -> Response {
        self.post(&asking(content, fields))
    }

    /// A stream that has begun.
    pub fn stream(&self, content: &str, fields: Value) -> Connection {
        let mut connection = self.connect();
        let mut body: Value = serde_json::from_str(&asking(content, fields)).unwrap();
        body["stream"] = true.into();
        connection.send_post(&body.to_string());
        let head = connection.read_head();
        assert_eq!(head.status, 200, "{head:?}");
        connection
    }

    /// The sum of a metric's samples.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let series = series.split('{').next()?;
            (series == name).then(|| value.parse::<f64>().unwrap())
        });
        let samples: Vec<f64> = samples.collect();
        assert!(!samples.is_empty(), "{name} is not in {text}");
        samples.into_iter().sum()
    }

    /// Memory that is in use, in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        eventually(within, "the end of the oracle", || self.child.try_wait().unwrap())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of the oracle ---\n{}", self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The body of a chat with one message, and these fields beside it.
pub fn asking(content: &str, fields: Value) -> String {
    let mut body = json!({"model": "shard-hybrid", "messages": [{"role": "user", "content": content}]});
    let Value::Object(fields) = fields else {
        panic!("{fields} is no object")
    };
    body.as_object_mut().unwrap().extend(fields);
    body.to_string()
}
