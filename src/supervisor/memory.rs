//! How much memory processes take, and how much is left for more.

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;

/// The memory that one shard takes, and what is left, in bytes. `holding` names
/// processes and how many shards each holds; `None` while none holds any.
pub(crate) fn of(holding: &[(i32, u32)]) -> Option<(u64, u64)> {
    let known = holding
        .iter()
        .filter_map(|(pid, shards)| Some((resident(*pid)?, u64::from(*shards))));
    let (bytes, shards) = known.fold((0, 0), |sum, child| (sum.0 + child.0, sum.1 + child.1));
    Some((bytes / NonZeroU64::new(shards)?, available()?))
}

/// The memory that a process keeps resident (proc_pid_statm(5)).
fn resident(pid: i32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(pages * page)
}

/// What new work can have: the host's share (proc_meminfo(5), MemAvailable), or
/// what our own control group leaves, whichever is less.
fn available() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let host = kib * 1024;
    Some(group_leaves().map_or(host, |group| group.min(host)))
}

/// What cgroup v2 leaves this process, where its group or one above is limited.
fn group_leaves() -> Option<u64> {
    let own = super::cgroup::own()?;
    own.ancestors().filter_map(leaves).min()
}

fn leaves(group: &Path) -> Option<u64> {
    let number = |file: &str| -> Option<u64> {
        let text = fs::read_to_string(group.join(file)).ok()?;
        text.trim().parse().ok()
    };
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_some_and_some_is_left() {
        let own = i32::try_from(std::process::id()).unwrap();
        let (each, left) = of(&[(own, 2), (-1, 7)]).unwrap();
        assert!(each > 100_000 && left > 0);
        assert_eq!(of(&[]), None);
    }
    #[test]
    fn a_group_leaves_what_is_not_taken_of_its_limit() {
        let group = tempfile::tempdir().unwrap();
        let write = |file, text| fs::write(group.path().join(file), text).unwrap();
        write("memory.current", "700\n");
        assert_eq!(leaves(group.path()), None, "the root has no limit");
        write("memory.max", "max\n");
        assert_eq!(leaves(group.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(leaves(group.path()), Some(300));
    }
}
