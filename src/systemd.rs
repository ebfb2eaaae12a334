//! Under systemd: says when the manager serves, how the fleet is and that the
//! owner still turns, and takes the listening socket from it. Without systemd
//! all of it does nothing (`sd_notify(3)`, `sd_listen_fds(3)`).

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::config::ConfigError;
use crate::manager::Summary;

/// The least time between two lines about the fleet.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// How much longer systemd waits for the end each time it is asked to.
pub const STOP_EXTENSION: Duration = Duration::from_secs(15);

/// The manager serves. Said again, a reload is over.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The manager ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The manager still waits for its children, which may take longer than
/// `TimeoutStopSec=` says. Must be said again within [`STOP_EXTENSION`].
pub fn still_stopping() {
    let more = u32::try_from(STOP_EXTENSION.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(more)]);
}

/// The configuration is read again; [`reloaded`] must follow.
pub fn reloading() {
    // `Type=notify-reload` wants to know when it began.
    match NotifyState::monotonic_usec_now() {
        Ok(began) => tell(&[NotifyState::Reloading, began]),
        Err(error) => warn!("systemd is not told of the reload: {error}"),
    }
}

/// The reload is over. What was refused stays to be seen until the fleet changes.
pub fn reloaded(refused: Option<&str>, fleet: &Summary) {
    let line = refused.map_or_else(|| status(fleet), one_line);
    tell(&[NotifyState::Ready, NotifyState::Status(&line)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("systemd is not told: {error}");
    }
}

/// Tells the fleet's summary when it changes, until the manager is gone.
pub async fn show(mut fleet: watch::Receiver<Summary>) {
    let mut told = String::new();
    loop {
        let line = status(&fleet.borrow_and_update());
        if line != told {
            tell(&[NotifyState::Status(&line)]);
            told = line;
        }
        // Changes come in bursts; the newest is worth a line.
        tokio::time::sleep(STATUS_PAUSE).await;
        if fleet.changed().await.is_err() {
            return;
        }
    }
}

/// The fleet in one line.
fn status(fleet: &Summary) -> String {
    if fleet.stopping {
        return format!("stopping, {} workers left", fleet.running);
    }
    let mut line = format!("{} of {} shards ready", fleet.ready, fleet.planned);
    if fleet.waiting > 0 {
        line.push_str(&format!(", {} wait for a permit", fleet.waiting));
    }
    for words in fleet.rescale.iter().chain(fleet.trouble.first()) {
        line.push_str("; ");
        line.push_str(words);
    }
    one_line(&line)
}

/// A second line would be another message.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Keeps systemd's watchdog (`WatchdogSec=`) quiet while `turns` grows: a
/// manager whose owner hangs is killed and started again, and adopts its
/// workers. Returns at once where there is no watchdog.
pub async fn keep_watchdog(turns: impl Fn() -> u64) {
    if let Some(limit) = sd_notify::watchdog_enabled() {
        watch_turns(limit, turns, || tell(&[NotifyState::Watchdog])).await;
    }
}

/// Calls `ping` three times in each `limit`, but only when there was a turn
/// since the last call. The owner turns four times a second at least.
async fn watch_turns(limit: Duration, turns: impl Fn() -> u64, mut ping: impl FnMut()) {
    let mut seen = None;
    loop {
        let now = turns();
        if seen != Some(now) {
            ping();
        }
        seen = Some(now);
        tokio::time::sleep(limit / 3).await;
    }
}

/// The socket that systemd listens on for us, if it does. `listen` is what
/// `LISTEN` asks for, where it is set: both must name the same place.
pub fn listener(listen: Option<SocketAddr>) -> Result<Option<TcpListener>, ConfigError> {
    let sockets: Vec<RawFd> = sd_notify::listen_fds()
        .map_err(|error| ConfigError(format!("LISTEN_FDS: {error}; let systemd set it")))?
        .collect();
    let &[socket] = sockets.as_slice() else {
        return match sockets.len() {
            0 => Ok(None),
            several => Err(ConfigError(format!(
                "LISTEN_FDS is '{several}': give one socket, with one ListenStream= in shardman.socket"
            ))),
        };
    };
    #[expect(unsafe_code, reason = "a descriptor that is handed over is a number")]
    // SAFETY: systemd gave this process the open descriptor, and it is taken once, here.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let unfit = |why: &str| {
        ConfigError(format!(
            "LISTEN_FDS: the socket of systemd {why}; write ListenStream=127.0.0.1:7878 in shardman.socket"
        ))
    };
    if !socket_acceptconn(&socket).is_ok_and(|listens| listens) {
        return Err(unfit("does not listen"));
    }
    let socket = TcpListener::from(socket);
    let address = socket.local_addr().map_err(|_| unfit("is not for TCP"))?;
    socket
        .set_nonblocking(true)
        .map_err(|error| unfit(&format!("cannot be used ({error})")))?;
    match listen.filter(|listen| !same_place(*listen, address)) {
        Some(listen) => Err(ConfigError(format!(
            "LISTEN is '{listen}', and systemd listens on {address}: unset LISTEN, or change ListenStream= in shardman.socket"
        ))),
        None => Ok(Some(socket)),
    }
}

/// Everywhere is everywhere, with IPv6 or without.
fn same_place(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() && other.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_while_the_owner_turns_and_starves_when_it_hangs() {
        let (turns, pings) = (AtomicU64::new(0), AtomicU64::new(0));
        let limit = Duration::from_secs(3);
        let watchdog = watch_turns(
            limit,
            || turns.load(Ordering::Relaxed),
            || {
                pings.fetch_add(1, Ordering::Relaxed);
            },
        );
        let owner = async {
            for _ in 0..80 {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::time::advance(Duration::from_millis(250)).await;
                tokio::task::yield_now().await;
            }
            let fed = pings.load(Ordering::Relaxed);
            assert!((20..=21).contains(&fed), "one a second in 20 s: {fed}");
            // It hangs from here on: what it did just before may count once.
            for _ in 0..80 {
                tokio::time::advance(Duration::from_millis(250)).await;
                tokio::task::yield_now().await;
            }
            assert!(pings.load(Ordering::Relaxed) <= fed + 1);
            let starved = pings.load(Ordering::Relaxed);
            turns.fetch_add(1, Ordering::Relaxed);
            tokio::time::advance(limit / 3).await;
            tokio::task::yield_now().await;
            assert_eq!(pings.load(Ordering::Relaxed), starved + 1, "it turns again");
        };
        tokio::select! {
            biased;
            () = owner => {}
            () = watchdog => unreachable!("it watches for ever"),
        }
    }

    #[test]
    fn the_status_is_one_line() {
        let fleet = Summary {
            planned: 16,
            ready: 12,
            waiting: 4,
            trouble: vec!["a\nREADY=1".to_owned()],
            ..Summary::default()
        };
        assert_eq!(
            status(&fleet),
            "12 of 16 shards ready, 4 wait for a permit; a READY=1"
        );
    }

    #[test]
    fn everywhere_is_one_place() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(same_place(address("0.0.0.0:7878"), address("[::]:7878")));
        assert!(!same_place(address("127.0.0.1:7878"), address("0.0.0.0:7878")));
        assert!(!same_place(address("127.0.0.1:7878"), address("127.0.0.1:7879")));
    }
}
