//! What tests with real processes need: waiting with a bound, ports, signals,
//! and a loud word where a tool is missing. The only place where tests sleep.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Waits until `probe` has something.
///
/// # Panics
///
/// If it has nothing `within` this time.
#[track_caller]
pub fn eventually<T>(within: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets real time pass where the passing of time is what is tested.
pub fn let_pass(time: Duration) {
    std::thread::sleep(time);
}

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A port that is free now, and below those that the kernel gives away by
/// itself: nobody else gets it before it is used.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const PORTS: u16 = 18_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Runs side by side begin apart.
    let begin = u16::try_from(std::process::id() % 90).unwrap_or(0) * 200;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        let port = FIRST + (begin + next) % PORTS;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// # Panics
///
/// If there is no such process.
#[track_caller]
pub fn signal(pid: i32, signal: Signal) {
    let target = Pid::from_raw(pid).unwrap_or_else(|| panic!("pid {pid} is no process"));
    kill_process(target, signal).unwrap_or_else(|error| panic!("pid {pid}: {error}"));
}

/// Whether all of these command lines succeed. Those that do not are
/// [missing].
pub fn tools(test: &str, probes: &[&[&str]]) -> bool {
    let fails = |probe: &&&[&str]| {
        let run = Command::new(probe[0])
            .args(&probe[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        !run.is_ok_and(|status| status.success())
    };
    let Some(probe) = probes.iter().find(fails) else {
        return true;
    };
    missing(test, &format!("`{}` to work", probe.join(" ")));
    false
}

/// Says that a test is skipped, and what it needs.
///
/// # Panics
///
/// Where nothing may be skipped (`SHARDMAN_TEST_ALL`).
#[track_caller]
pub fn missing(test: &str, needs: &str) {
    let must = std::env::var_os("SHARDMAN_TEST_ALL").is_some();
    assert!(!must, "{test} needs {needs}");
    eprintln!("\n*** SKIPPED: {test} needs {needs} ***\n");
}
