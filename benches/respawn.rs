//! How fast a killed worker is replaced by the real manager, with its store on
//! the disk, beside the least that it can take: a loop that waits for the pidfd
//! and spawns. Both in one run, kill by kill.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use shardman::manager::{Manager, ManagerHandle, Secrets, Settings, WorkerProgram};
use shardman::store::DiskStore;
use shardman::supervisor;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// What the manager says on the way, and the program that runs in the end.
const EXITED: &str = "has exited";
const DECIDED: &str = "is to start";
const STARTED: &str = "runs";
const PROGRAM: &str = "sleep";

/// When what was said of a worker.
type Heard = Arc<Mutex<BTreeMap<String, Instant>>>;

fn main() -> ExitCode {
    // The workers are started through this program.
    if let Some(code) = supervisor::exec_child(std::env::args_os()) {
        return code;
    }
    // `cargo test --benches` runs it once and shortly.
    let measured = std::env::args().any(|arg| arg == "--bench");
    let workers = if measured { 100 } else { 5 };
    let heard = Heard::default();
    let subscriber = tracing_subscriber::registry().with(Ear(Arc::clone(&heard)));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench(workers, &heard));
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
async fn bench(workers: u32, heard: &Heard) {
    let folder = tempfile::tempdir().unwrap();
    let (handle, stop, owner) = manager(folder.path(), workers).await;
    let running = wait(|| Some(pids(&handle)).filter(|pids| pids.len() == workers as usize)).await;
    for pid in running.values() {
        wait(|| is_program(*pid).then_some(())).await;
    }
    let [mut decision, mut started, mut replaced, mut bare] = [const { Vec::new() }; 4];
    let mut ratios = Vec::new();
    let mut floor = spawn();
    for (worker, pid) in &running {
        heard.lock().unwrap().clear();
        let killed = Instant::now();
        kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap();
        let runs = format!("{worker} {STARTED}");
        wait(|| heard.lock().unwrap().contains_key(&runs).then_some(())).await;
        let next = pids(&handle)[worker];
        wait(|| is_program(next).then_some(())).await;
        let took = killed.elapsed();
        let heard = heard.lock().unwrap().clone();
        let at = |what: &str| heard[&format!("{worker} {what}")];
        decision.push(at(DECIDED) - at(EXITED));
        started.push(at(STARTED) - killed);
        replaced.push(took);
        let least;
        (floor, least) = respawn(floor).await;
        bare.push(least);
        ratios.push(took.as_secs_f64() / least.as_secs_f64());
    }
    floor.kill().unwrap();
    floor.wait().unwrap();
    println!(
        "{workers} workers, each killed once; killed by {}",
        handle.fleet().kill_method
    );
    println!("  {:<42}{:>10}{:>10}", "", "median", "p99");
    for (what, times) in [
        ("exit seen to start decided and durable", decision),
        ("SIGKILL to replacement spawned", started),
        ("SIGKILL to replacement's program running", replaced),
        ("the same by a bare loop: the floor", bare),
    ] {
        let (median, p99) = (at(&times, 50), at(&times, 99));
        println!("  {what:<42}{median:>7.2} ms{p99:>7.2} ms");
    }
    ratios.sort_by(f64::total_cmp);
    println!("  times the floor, median: {:.2}", ratios[ratios.len() / 2]);
    handle.stop_fleet().await;
    let mut summary = handle.summary();
    summary.wait_for(|fleet| fleet.running == 0).await.unwrap();
    stop.cancel();
    owner.await.unwrap();
}

/// In milliseconds.
fn at(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1000.0
}

/// A manager of so many workers, as `shardman up` has it.
async fn manager(
    folder: &Path,
    workers: u32,
) -> (ManagerHandle, CancellationToken, tokio::task::JoinHandle<()>) {
    let mut settings = Settings::leases_only(workers, Duration::from_secs(3600), folder.join("logs"));
    settings.program = WorkerProgram::Command(format!("exec {PROGRAM} 1000"));
    settings.max_workers = None;
    settings.register_within = Duration::from_secs(3600);
    let secrets = Secrets {
        shared: "bench-secret-of-a-usual-length".to_owned(),
        operator: None,
    };
    let store = DiskStore::open(folder).unwrap();
    let (alerts, _) = tokio::sync::mpsc::channel(1);
    let (manager, handle) = Manager::start(store, settings, &secrets, alerts).await.unwrap();
    let stop = CancellationToken::new();
    let owner = tokio::spawn(manager.run(stop.clone()));
    (handle, stop, owner)
}

fn pids(handle: &ManagerHandle) -> BTreeMap<String, i32> {
    let workers = handle.fleet().workers.into_iter();
    workers
        .filter_map(|worker| Some((worker.worker, worker.pid?)))
        .collect()
}

/// Whether it is the program yet, and no shell.
fn is_program(pid: i32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim_end() == PROGRAM)
}

async fn wait<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "nothing happens");
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

fn spawn() -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec {PROGRAM} 1000")]);
    command.stdin(Stdio::null()).spawn().unwrap()
}

/// The least that a supervisor does: what it took from the kill on.
async fn respawn(mut child: Child) -> (Child, Duration) {
    let pid = Pid::from_child(&child);
    let fd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let killed = Instant::now();
    kill_process(pid, Signal::KILL).unwrap();
    poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)], None).unwrap();
    child.wait().unwrap();
    let next = spawn();
    let pid = i32::try_from(next.id()).unwrap();
    wait(|| is_program(pid).then_some(())).await;
    (next, killed.elapsed())
}

/// Notes when the manager says something of a worker.
struct Ear(Heard);

impl<S: tracing::Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let said = [EXITED, DECIDED, STARTED]
            .iter()
            .find(|what| words.message.contains(*what));
        if let Some(what) = said {
            let key = format!("{} {what}", words.worker);
            self.0.lock().unwrap().insert(key, Instant::now());
        }
    }
}

#[derive(Default)]
struct Words {
    worker: String,
    message: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "worker.id" => self.worker = format!("{value:?}"),
            "message" => self.message = format!("{value:?}"),
            _ => {}
        }
    }
}
