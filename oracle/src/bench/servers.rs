//! The servers that are compared, as processes of their own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::client::Client;
use super::until_up;
use crate::config::BenchArgs;

/// A model must be loaded, and be measured for its passes.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(15);

/// Who is measured.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// The oracle alone, or as a manager starts it, with so many scouts.
    Oracle {
        speculate: &'static str,
        scouts: u32,
    },
    LlamaServer(PathBuf),
}

impl Subject {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Oracle {
                speculate: "never", ..
            } => "plain".to_owned(),
            Self::Oracle { speculate, scouts } => match scouts {
                0 => format!("n-grams, `{speculate}`"),
                scouts => format!("n-grams and {scouts} scout(s), `{speculate}`"),
            },
            Self::LlamaServer(_) => "llama.cpp's server".to_owned(),
        }
    }
}

/// The plain oracle first: the others are compared with it.
pub(super) fn subjects(args: &BenchArgs) -> anyhow::Result<Vec<Subject>> {
    let oracle = |speculate, scouts| Subject::Oracle { speculate, scouts };
    let mut subjects = vec![oracle("never", 0), oracle("auto", 0), oracle("always", 0)];
    if manager().is_ok() {
        subjects.extend([oracle("auto", 1), oracle("always", 1), oracle("auto", 2)]);
    } else {
        eprintln!("without scouts: there is no `shardman` beside this program");
    }
    match find(&args.llama_server) {
        Some(path) => subjects.push(Subject::LlamaServer(path)),
        None => eprintln!("without llama.cpp: there is no `{}`", args.llama_server.display()),
    }
    Ok(subjects)
}

/// The manager's program, which leases the scouts.
fn manager() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("shardman");
    anyhow::ensure!(beside.is_file(), "there is no {}", beside.display());
    Ok(beside)
}

/// A program by its path, or by its name on PATH.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let folders = crate::config::search_path();
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

pub(super) struct Server {
    pub(super) client: Client,
    child: Child,
    /// The manager's files, if there is one.
    _folder: Option<Folder>,
}

impl Server {
    pub(super) async fn start(args: &BenchArgs, subject: &Subject) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut folder = None;
        let mut command = match subject {
            Subject::Oracle { speculate, scouts } => {
                let mut command = match scouts {
                    0 => oracle(args, address)?,
                    scouts => {
                        let made = Folder::new()?;
                        let command = fleet(args, address, *scouts, &made.0)?;
                        folder = Some(made);
                        command
                    }
                };
                command
                    .env("ORACLE_SPECULATE", speculate)
                    .env("ORACLE_THREADS", args.threads.to_string())
                    .env("SHARD_RATE_LIMIT_PER_MINUTE", "0");
                command
            }
            Subject::LlamaServer(path) => llama(args, path, address),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let server = Self {
            client: Client::new(format!("http://{address}")),
            child,
            _folder: folder,
        };
        let ready = match subject {
            Subject::Oracle { .. } => "/ready",
            Subject::LlamaServer(_) => "/health",
        };
        until_up(&server.client, ready, START).await?;
        if let Subject::Oracle {
            scouts: scouts @ 1.., ..
        } = subject
        {
            server.until_connected(*scouts).await?;
        }
        Ok(server)
    }

    async fn until_connected(&self, scouts: u32) -> anyhow::Result<()> {
        let wanted = f64::from(scouts);
        let connected = async {
            while sum(&self.client.text("/metrics").await?, "oracle_scouts_connected") < wanted {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(START, connected)
            .await
            .context("not all scouts came")?
    }

    /// The part of all drafted tokens that were right; not a number if there were none.
    pub(super) async fn accepted(&self) -> anyhow::Result<f64> {
        let metrics = self.client.text("/metrics").await?;
        Ok(sum(&metrics, "oracle_accepted_tokens_total") / sum(&metrics, "oracle_drafted_tokens_total"))
    }

    pub(super) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

fn oracle(args: &BenchArgs, address: SocketAddr) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["serve", "--listen", &address.to_string(), "--model"])
        .arg(&args.model);
    Ok(command)
}

/// A manager without a bot, which runs an oracle with scouts.
fn fleet(args: &BenchArgs, address: SocketAddr, scouts: u32, folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(manager()?);
    command
        .args(["up", "--listen", &free_address()?.to_string()])
        .args(["--oracle-listen", &address.to_string()])
        .args(["--scouts", &scouts.to_string(), "--oracle"])
        .arg(&args.model)
        .arg("--data-dir")
        .arg(folder)
        .current_dir(folder);
    Ok(command)
}

fn llama(args: &BenchArgs, path: &Path, address: SocketAddr) -> Command {
    let threads = args.threads.to_string();
    let mut command = Command::new(path);
    command
        .arg("--model")
        .arg(&args.model)
        .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--threads", &threads, "--threads-batch", &threads])
        .args(["--parallel", "8", "--ctx-size", "16384"]);
    command
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The sum of a metric over its labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let has_name = rest.starts_with(['{', ' ']);
        has_name.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    metrics.lines().filter_map(value).sum()
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let name = format!("shardman-bench-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text =
            "# HELP a_total x\na_total{source=\"0\"} 2\na_total{source=\"ngram\"} 3\na_total_more 7\nb 1\n";
        assert_eq!(sum(text, "a_total"), 5.0);
        assert_eq!(sum(text, "b"), 1.0);
        assert_eq!(sum(text, "c"), 0.0);
    }

    #[test]
    fn a_program_is_found_by_its_path_or_on_the_search_path() {
        assert!(find(Path::new("sh")).is_some());
        assert!(find(Path::new("/bin/sh")).is_some());
        assert!(find(Path::new("/no/such/program")).is_none());
        assert!(find(Path::new("no-such-program-anywhere")).is_none());
    }
}
