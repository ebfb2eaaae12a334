//! What processes take: memory and processor time, summed over the session that
//! each child leads, so that what it starts counts too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use shardman_core::Tick;

/// What all processes of a session take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    /// With that of children that ended and were waited for.
    pub(crate) cpu_seconds: f64,
}

/// What workers take, as the last two looks tell.
#[derive(Debug, Default)]
pub(crate) struct Usages {
    sessions: BTreeMap<i32, (Usage, Option<f64>)>,
    at: Tick,
}

impl Usages {
    /// Looks at these sessions. It has no place among what must not wait.
    pub(crate) fn look(&mut self, leaders: &[i32], now: Tick) {
        let passed = now.since(self.at);
        let found = of_sessions(&leaders.iter().copied().collect());
        let seen = |(session, usage): (i32, Usage)| {
            let earlier = self.sessions.get(&session);
            let percent = earlier.and_then(|(earlier, _)| percent(earlier, &usage, passed));
            (session, (usage, percent))
        };
        self.sessions = found.into_iter().map(seen).collect();
        self.at = now;
    }

    /// What the worker with this process takes, and how much of one core in
    /// percent; that is unknown before the second look.
    pub(crate) fn of(&self, pid: i32) -> Option<(Usage, Option<f64>)> {
        self.sessions.get(&pid).copied()
    }
}

/// The most processor time that each run was ever seen to have used. A sum over
/// processes goes down when one of them ends that nobody waited for; a counter
/// may not.
#[derive(Debug, Default)]
pub(crate) struct MostSeen(BTreeMap<i32, f64>);

impl MostSeen {
    /// Keeps those of sessions that are still there, and never lets one go down.
    pub(crate) fn raise(&mut self, found: &mut BTreeMap<i32, Usage>) {
        self.0.retain(|session, _| found.contains_key(session));
        for (session, usage) in found {
            let most = self.0.entry(*session).or_default();
            *most = most.max(usage.cpu_seconds);
            usage.cpu_seconds = *most;
        }
    }
}

/// The part of one core that was used meanwhile. What has ended takes its time
/// with it.
fn percent(earlier: &Usage, now: &Usage, passed: Duration) -> Option<f64> {
    let used = (now.cpu_seconds - earlier.cpu_seconds).max(0.0);
    let seconds = passed.as_secs_f64();
    (seconds > 0.0).then(|| used / seconds * 100.0)
}

/// The usage of each of these sessions, in one look at all processes. Not for
/// the owner: it takes some microseconds for each process of the host.
pub(crate) fn of_sessions(sessions: &BTreeSet<i32>) -> BTreeMap<i32, Usage> {
    let mut found: BTreeMap<i32, Usage> = BTreeMap::new();
    if sessions.is_empty() {
        return found;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process {
            continue;
        }
        // One that has just ended takes nothing any more.
        let Some((session, usage)) = fs::read_to_string(entry.path().join("stat"))
            .ok()
            .and_then(|stat| parse(&stat))
        else {
            continue;
        };
        if sessions.contains(&session) {
            let sum = found.entry(session).or_default();
            sum.resident_bytes += usage.resident_bytes;
            sum.cpu_seconds += usage.cpu_seconds;
        }
    }
    found
}

/// What this process takes.
pub(crate) fn of_this_process() -> Option<Usage> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?).map(|(_, usage)| usage)
}

/// The session and the usage in a line of proc_pid_stat(5).
fn parse(stat: &str) -> Option<(i32, Usage)> {
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    // The first one here is the third of the manual.
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some((
        field(6)?.parse().ok()?,
        Usage {
            resident_bytes: number(24)? * page,
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat =
            "7 (a) b (c) S 1 7 5 0 -1 4194304 1 2 3 4 100 50 30 20 20 0 1 0 99 5000 10 18446744073709551615";
        let (session, usage) = parse(stat).unwrap();
        let page = u64::try_from(rustix::param::page_size()).unwrap();
        assert_eq!((session, usage.resident_bytes), (5, 10 * page));
        let seconds = 200.0 / rustix::param::clock_ticks_per_second() as f64;
        assert!((usage.cpu_seconds - seconds).abs() < 1e-9);
        assert_eq!(parse("7 (a) S 1"), None);
    }

    #[test]
    fn a_core_that_was_busy_for_half_of_the_time_is_used_by_half() {
        let at = |cpu_seconds| Usage {
            resident_bytes: 1,
            cpu_seconds,
        };
        let used = |from, to| percent(&at(from), &at(to), Duration::from_secs(10));
        assert_eq!(used(1.0, 6.0), Some(50.0));
        assert_eq!(used(6.0, 1.0), Some(0.0), "a process of it has ended");
        assert_eq!(percent(&at(0.0), &at(1.0), Duration::ZERO), None);
    }

    #[test]
    fn processor_time_of_a_run_does_not_go_down_and_a_new_run_begins_anew() {
        let mut most = MostSeen::default();
        let mut look = |session, cpu_seconds| {
            let usage = Usage {
                resident_bytes: 1,
                cpu_seconds,
            };
            let mut found = BTreeMap::from([(session, usage)]);
            most.raise(&mut found);
            found[&session].cpu_seconds
        };
        assert_eq!([look(7, 5.0), look(7, 3.0), look(7, 6.0)], [5.0, 5.0, 6.0]);
        assert_eq!([look(8, 1.0), look(7, 2.0)], [1.0, 2.0]);
    }

    /// Zero where the leader is outside of this namespace of processes, which
    /// `getsid` of rustix takes for impossible.
    fn own_session() -> i32 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        parse(&stat).unwrap().0
    }

    #[test]
    fn this_session_takes_something() {
        let own = own_session();
        let mut usages = Usages::default();
        usages.look(&[own, -1], Tick(0));
        let (first, percent) = usages.of(own).unwrap();
        assert!(first.resident_bytes > 1_000_000 && percent.is_none());
        usages.look(&[own], Tick(10_000));
        assert!(usages.of(own).unwrap().1.is_some());
        assert_eq!(usages.of(-1), None);
    }

    #[test]
    fn this_process_is_within_its_session() {
        let own = of_this_process().unwrap();
        assert!(own.resident_bytes > 100_000);
        let session = own_session();
        let all = of_sessions(&[session].into());
        assert!(all[&session].resident_bytes >= own.resident_bytes / 2, "{all:?}");
        assert!(of_sessions(&BTreeSet::new()).is_empty());
    }
}
