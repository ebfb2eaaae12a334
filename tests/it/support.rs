//! What the tests share: real processes, real sockets, and waiting with a
//! bound. The only place that sleeps.

use std::time::{Duration, Instant};

mod arrivals;
mod browser;
mod clients;
mod http;
mod process;
mod shardman;
mod sim;
mod terminal;
mod webhook;

pub use arrivals::Arrivals;
pub use browser::Browser;
pub use http::{Connection, Response, call, get, post};
pub use process::{Program, Running, free_port, signal, tools};
pub use shardman::{How, SECRET, Shardman};
pub use sim::Sim;
pub use terminal::Terminal;
pub use webhook::{Hook, Reply, webhook};

/// Waits until `probe` has something, at most `within`.
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
