//! The one reader of clocks.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use shardman_core::Tick;

/// Lease time: monotonic, and it counts suspend, which `Instant` on Linux does
/// not (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_ms: u64,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// Those of this host.
    Host,
    /// Milliseconds since 1970 in a test's own time: both clocks at once.
    #[cfg(test)]
    Virtual(&'static std::sync::atomic::AtomicU64),
}

impl Clock {
    pub fn start() -> Self {
        Self {
            origin_ms: boot_ms(),
            source: Source::Host,
        }
    }

    /// A clock that a test moves by hand, started now.
    #[cfg(test)]
    pub(crate) fn start_virtual(time_ms: &'static std::sync::atomic::AtomicU64) -> Self {
        Self {
            origin_ms: time_ms.load(std::sync::atomic::Ordering::Relaxed),
            source: Source::Virtual(time_ms),
        }
    }

    pub fn now(&self) -> Tick {
        let ms = match self.source {
            Source::Host => boot_ms(),
            #[cfg(test)]
            Source::Virtual(time_ms) => time_ms.load(std::sync::atomic::Ordering::Relaxed),
        };
        Tick(ms - self.origin_ms)
    }

    /// Wall clock, milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        match self.source {
            Source::Host => wall_ms(),
            #[cfg(test)]
            Source::Virtual(time_ms) => time_ms.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// The wall clock at a moment of this process.
    pub fn wall_ms_at(&self, tick: Tick) -> u64 {
        self.wall_ms().saturating_sub(self.now().ms_since(tick))
    }
}

/// Wall clock, milliseconds since 1970: for display, and for what must mean
/// something to the next process.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("boot time is not negative");
    let ms = u64::try_from(time.tv_nsec / 1_000_000).expect("nanoseconds are not negative");
    seconds * 1000 + ms
}
