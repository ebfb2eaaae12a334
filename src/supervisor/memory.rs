//! How much memory processes take, and how much the host has left.

use std::fs;

/// The memory that a process keeps resident, in bytes (proc_pid_statm(5)).
pub(crate) fn resident(pid: i32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(pages * page)
}

/// The memory that new work can have without swapping, in bytes
/// (proc_meminfo(5), MemAvailable).
pub(crate) fn available() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_some_and_the_host_has_some_left() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident(own).unwrap() > 100_000);
        assert!(available().unwrap() > 0);
        assert_eq!(resident(-1), None);
    }
}
