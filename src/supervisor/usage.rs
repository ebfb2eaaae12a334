//! What workers take of the host: memory and processor time, of each with all
//! that it started. One pass over the processes tells for all workers, because
//! each is in a session of its own.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use shardman_core::Tick;

/// What a session takes (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    pages: u64,
    /// Processor time of all its processes so far.
    clock_ticks: u64,
}

/// What a worker takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    pub(crate) memory_bytes: u64,
    /// Of one core; none before the second look.
    pub(crate) cpu_percent: Option<f64>,
}

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct Usages {
    sessions: HashMap<i32, (Taken, Usage)>,
    at: Tick,
}

impl Usages {
    /// Looks at these sessions. It reads a file for each process of the host, so
    /// it has no place among what must not wait.
    pub(crate) fn look(&mut self, leaders: &[i32], now: Tick) {
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let passed = now.since(self.at);
        let mut taken: HashMap<i32, Taken> = leaders.iter().map(|pid| (*pid, Taken::default())).collect();
        for (session, more) in processes() {
            if let Some(sum) = taken.get_mut(&session) {
                sum.pages += more.pages;
                sum.clock_ticks += more.clock_ticks;
            }
        }
        // Of a session without processes nothing is known.
        let found = taken.into_iter().filter(|(_, taken)| taken.pages > 0);
        let usage = |(session, taken): (i32, Taken)| {
            let earlier = self.sessions.get(&session).map(|(earlier, _)| earlier);
            let cpu_percent = earlier.and_then(|earlier| percent(earlier, &taken, ticks_per_second, passed));
            let memory_bytes = taken.pages * page;
            (
                session,
                (
                    taken,
                    Usage {
                        memory_bytes,
                        cpu_percent,
                    },
                ),
            )
        };
        self.sessions = found.map(usage).collect();
        self.at = now;
    }

    /// What the worker with this process takes.
    pub(crate) fn of(&self, pid: i32) -> Option<Usage> {
        self.sessions.get(&pid).map(|(_, usage)| *usage)
    }
}

/// The part of one core that was used meanwhile. What has ended takes its time
/// with it.
fn percent(earlier: &Taken, now: &Taken, ticks_per_second: u64, passed: Duration) -> Option<f64> {
    let used = now.clock_ticks.saturating_sub(earlier.clock_ticks) as f64 / ticks_per_second as f64;
    let seconds = passed.as_secs_f64();
    (seconds > 0.0).then(|| used / seconds * 100.0)
}

/// Every process: its session, and what it takes.
fn processes() -> impl Iterator<Item = (i32, Taken)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // One that ends meanwhile takes nothing.
    let stat = |pid| fs::read(format!("/proc/{pid}/stat")).ok();
    ids.filter_map(move |pid| parse(&String::from_utf8_lossy(&stat(pid)?)))
}

/// The name may hold anything, so the fields are counted from behind it.
fn parse(stat: &str) -> Option<(i32, Taken)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The first of them is the third of all.
    let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
    let session = fields.get(6 - 3)?.parse().ok()?;
    let (user, system) = (number(14)?, number(15)?);
    Some((
        session,
        Taken {
            pages: number(24)?,
            clock_ticks: user + system,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_a_process_is_called() {
        let line = "12 (a) 7 (b) S 1 12 11 0 -1 4194304 1 2 3 4 50 7 8 9 20 0 1 0 100 12345 321 18446744073709551615 1";
        let taken = Taken {
            pages: 321,
            clock_ticks: 57,
        };
        assert_eq!(parse(line), Some((11, taken)));
        for hostile in [
            "",
            ")",
            "1 (x",
            "1 (x) S 1 2",
            "1 (x) S 1 2 z 0 0 0 0 0 0 0 1 1 0 0 0 0 0 0 0 0 1",
        ] {
            assert_eq!(parse(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn a_core_that_was_busy_for_half_of_the_time_is_used_by_half() {
        let at = |clock_ticks| Taken {
            pages: 1,
            clock_ticks,
        };
        let used = |from, to| percent(&at(from), &at(to), 100, Duration::from_secs(10));
        assert_eq!(used(100, 600), Some(50.0));
        assert_eq!(used(600, 100), Some(0.0), "a process of it has ended");
        assert_eq!(percent(&at(0), &at(1), 100, Duration::ZERO), None);
    }

    #[test]
    fn this_session_takes_something() {
        let own = rustix::process::getsid(None).unwrap().as_raw_nonzero().get();
        let mut usages = Usages::default();
        usages.look(&[own, -1], Tick(0));
        let first = usages.of(own).unwrap();
        assert!(first.memory_bytes > 1_000_000 && first.cpu_percent.is_none());
        usages.look(&[own], Tick(10_000));
        assert!(usages.of(own).unwrap().cpu_percent.is_some());
        assert_eq!(usages.of(-1), None);
    }
}
