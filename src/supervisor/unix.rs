//! Processes as the kernel knows them. The only file that signals one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, pidfd_send_signal,
    set_child_subreaper, test_kill_process_group, waitpid,
};
use sha2::{Digest, Sha256};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::cgroup::{self, Cgroup};
use crate::store::ProcessId;

/// Sees a process end, whether it is our child or not.
#[derive(Debug)]
pub(super) struct ExitWatch(AsyncFd<OwnedFd>);

impl ExitWatch {
    pub(super) fn new(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        #[expect(unsafe_code, reason = "the constructors that need no `unsafe` are deprecated")]
        // SAFETY: the `AsyncFd` owns the descriptor, which stays open as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(Self(watched))
    }

    /// Signals the group that the process leads. One that was started a moment
    /// ago leads none yet, and is signalled itself.
    pub(super) fn signal_group(&self, pid: i32, signal: Signal) {
        if !signal_group(pid, signal) {
            // It ended in between.
            let _ = pidfd_send_signal(self.0.get_ref(), signal);
        }
    }

    /// Returns when the process has ended. It may still have to be reaped.
    pub(super) async fn exited(&mut self) {
        if let Err(error) = self.0.readable().await {
            warn!(%error, "a process cannot be watched");
            std::future::pending::<()>().await;
        }
    }
}

/// What tells this process from a later one with its pid.
pub(super) fn identify(pid: i32) -> io::Result<ProcessId> {
    let stat = Stat::read(pid)?;
    Ok(ProcessId {
        pid,
        start_time: stat.start_time,
        boot_id: boot_id()?,
    })
}

/// Whether exactly this process runs.
pub(super) fn is_alive(process: &ProcessId) -> bool {
    boot_id().is_ok_and(|boot_id| boot_id == process.boot_id)
        && Stat::read(process.pid).is_ok_and(|stat| stat.start_time == process.start_time && !stat.dead())
}

/// Whether this pid still names this process of the present boot, which may be
/// dead and not buried.
pub(super) fn is_named(process: &ProcessId) -> io::Result<bool> {
    if boot_id()? != process.boot_id {
        return Ok(false);
    }
    match Stat::read(process.pid) {
        Ok(stat) => Ok(stat.start_time == process.start_time),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn kill_group(pid: i32) {
    signal_group(pid, Signal::KILL);
}

/// Whether there is such a group.
fn signal_group(pid: i32, signal: Signal) -> bool {
    // Group 0 and 1 would be ourselves or everyone.
    let Some(group) = Pid::from_raw(pid).filter(|_| pid > 1) else {
        return false;
    };
    match kill_process_group(group, signal) {
        Ok(()) => true,
        Err(rustix::io::Errno::SRCH) => false,
        Err(error) => {
            warn!(%error, pid, "process group {pid} cannot be signalled");
            true
        }
    }
}

/// Whether any process of the group still runs. The dead that wait to be
/// buried by somebody else do not count.
pub(super) fn group_lives(pid: i32) -> bool {
    let Some(group) = Pid::from_raw(pid) else {
        return false;
    };
    if test_kill_process_group(group) == Err(rustix::io::Errno::SRCH) {
        return false;
    }
    // Where nothing can be seen, the worst is assumed.
    pids().is_none_or(|mut pids| {
        pids.any(|other| Stat::read(other).is_ok_and(|stat| stat.group == pid && !stat.dead()))
    })
}

/// Whether anything in this process group was started with this `SECRET`, or is
/// in its control group.
pub(super) fn group_carries(group: i32, credential: &str) -> bool {
    let left = by_environment(credential).into_iter();
    left.filter_map(|pid| Stat::read(pid).ok())
        .any(|stat| stat.group == group)
}

/// The process group leader that was started with this `SECRET`, by the
/// SHA-256 of it in hex: a child whose manager died before it noted the pid.
pub(super) fn find_by_environment(credential: &str) -> Option<ProcessId> {
    // What it started itself may lead a group as well, but is younger.
    by_environment(credential)
        .into_iter()
        .filter(|pid| carries(*pid, credential))
        .filter_map(|pid| Some((Stat::read(pid).ok()?, pid)))
        .filter(|(stat, pid)| stat.group == *pid)
        .min_by_key(|(stat, pid)| (stat.start_time, *pid))
        .and_then(|(_, pid)| identify(pid).ok())
}

/// Whether anything that was started with this `SECRET`, or in its group, still
/// runs.
pub(super) fn lives_by_environment(credential: &str) -> bool {
    !by_environment(credential).is_empty()
}

/// Kills whatever was started with this `SECRET`, or in its group; false once
/// nothing is left.
pub(super) fn kill_by_environment(credential: &str) -> bool {
    let left = by_environment(credential);
    for pid in &left {
        kill(*pid);
    }
    !left.is_empty()
}

/// The control group of what was started with this `SECRET`.
pub(super) fn cgroup_by_environment(credential: &str) -> Option<Cgroup> {
    let pids = by_environment(credential);
    pids.into_iter().find_map(|pid| Cgroup::of(pid, credential))
}

/// Kills one process. One that ended by itself in between is what was wanted.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Buries a child of ours that is dead, and no other.
pub(super) fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Somebody else may have.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// The children of a process, also those that a subreaper was given.
pub(super) fn children(parent: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let threads = fs::read_dir(format!("/proc/{parent}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(pids) => found.extend(
                pids.split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            ),
            // The thread ended.
            Err(_) if thread.path().join("stat").exists() => return children_by_parent(parent),
            Err(_) => {}
        }
    }
    found
}

/// The same for a kernel that keeps no such list.
fn children_by_parent(parent: i32) -> Vec<i32> {
    let of_parent = |pid: &i32| Stat::read(*pid).is_ok_and(|stat| stat.parent == parent);
    pids().into_iter().flatten().filter(of_parent).collect()
}

/// What a descendant of ours loses its parent for, it becomes our child.
pub(super) fn become_subreaper() {
    // Any pid says yes.
    if let Err(error) = set_child_subreaper(Some(rustix::process::getpid())) {
        warn!(%error, "processes that leave their worker's group cannot be followed");
    }
}

fn by_environment(credential: &str) -> Vec<i32> {
    pids()
        .into_iter()
        .flatten()
        .filter(|pid| carries(*pid, credential) || cgroup::holds(*pid, credential))
        .filter(|pid| Stat::read(*pid).is_ok_and(|stat| !stat.dead()))
        .collect()
}

/// Whether this process was started with this `SECRET` in its environment.
pub(super) fn carries(pid: i32, credential: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .filter_map(|entry| entry.strip_prefix(b"SECRET="))
            .any(|secret| hash(secret) == credential)
    })
}

/// SHA-256 in hex: how a credential is kept.
pub(crate) fn hash(secret: &[u8]) -> String {
    Sha256::digest(secret)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn pids() -> Option<impl Iterator<Item = i32>> {
    let entries = fs::read_dir("/proc").ok()?;
    Some(
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok()),
    )
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// The fields of proc_pid_stat(5) that we need.
pub(super) struct Stat {
    state: u8,
    pub(super) parent: i32,
    group: i32,
    pub(super) session: i32,
    pub(super) start_time: u64,
}

impl Stat {
    pub(super) fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other("unreadable process state"))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The name, field 2, is in brackets and may hold any bytes.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        let fields: Vec<_> = fields.split_ascii_whitespace().collect();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    pub(super) fn dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_anything() {
        let line = b"7 (a) b (\xd0) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.group, stat.start_time), (b'S', 7, 4711));
    }

    #[test]
    fn we_are_alive_and_a_later_process_with_our_pid_is_not_us() {
        let us = identify(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(is_alive(&us));
        assert!(!is_alive(&ProcessId {
            start_time: us.start_time + 1,
            ..us.clone()
        }));
        assert!(!is_alive(&ProcessId {
            boot_id: "another boot".into(),
            ..us
        }));
    }
}
