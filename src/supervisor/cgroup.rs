//! Control groups (cgroups(7), version 2) for children, where the host lets us
//! have some: whatever a child starts is in its group, and nothing gets out.
//!
//! Ours are beside or below our own, in a folder `shardman`, one for each run of
//! a child, named by the worker and its credential. So the next manager finds
//! them by what a process belongs to, whichever group it is in itself.
//!
//! Groups alone need no more than a folder that we may write to. To limit
//! memory the controller has to be passed down, which the kernel refuses where
//! processes are in the group above. We are moved out of the way in a container
//! of our own. Under systemd `DelegateSubgroup=manager` does it: a service that
//! moved itself could not be started again beside children that live on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;
use shardman_core::WorkerId;
use tracing::debug;

/// The folder of all groups of ours. It stays, empty: another manager may be
/// about to use it.
const FOLDER: &str = "shardman";

/// The group of the manager itself, where it has to be out of the way.
const MANAGER: &str = "manager";

/// An empty group of an earlier run is removed when it is this old: a younger
/// one may belong to a child that is about to join it.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(60);

/// How much of a credential's hash is in a group's name.
const MARK: usize = 16;

/// The place for groups.
#[derive(Debug)]
pub(super) struct Cgroups {
    folder: PathBuf,
    pub(super) limits_memory: bool,
}

impl Cgroups {
    /// Where groups can be made and killed; none where the host does not let us.
    pub(super) fn find(limit_memory: bool) -> Option<Self> {
        let own = own()?;
        let is_leaf = own.file_name().is_some_and(|name| name == MANAGER);
        let above = if is_leaf { own.parent()? } else { &own };
        // To join a group one must be allowed to write to the one above both.
        rustix::fs::access(above.join("cgroup.procs"), Access::WRITE_OK).ok()?;
        let folder = above.join(FOLDER);
        fs::create_dir_all(&folder).ok()?;
        if !folder.join("cgroup.kill").exists() {
            let _ = fs::remove_dir(&folder);
            return None;
        }
        let limits_memory = limit_memory && pass_memory_down(above, &folder, is_leaf);
        let cgroups = Self {
            folder,
            limits_memory,
        };
        cgroups.remove_left_over();
        Some(cgroups)
    }

    /// This folder, with limits on memory.
    #[cfg(test)]
    pub(super) fn within(folder: PathBuf) -> Self {
        Self {
            folder,
            limits_memory: true,
        }
    }

    /// A group for one run of a child.
    pub(super) fn create(
        &self,
        worker: &WorkerId,
        credential: &str,
        memory_bytes: Option<u64>,
    ) -> io::Result<Cgroup> {
        let path = self.folder.join(name(worker, credential));
        fs::create_dir_all(&path)?;
        // Removed again if it cannot be made what it is to be.
        let cgroup = Cgroup { path };
        let path = cgroup.path();
        if let Some(bytes) = memory_bytes.filter(|_| self.limits_memory) {
            fs::write(path.join("memory.max"), bytes.to_string())?;
            // A worker that lost one of its processes is no worker any more.
            fs::write(path.join("memory.oom.group"), "1")?;
        }
        Ok(cgroup)
    }

    fn remove_left_over(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|group| group.modified());
            let age = age.ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > LEFT_OVER_AFTER) {
                // One that is in use stays.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// One group, for one run of a child. It goes with whoever holds it last, once
/// nothing runs in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The group of this process, if it was made for the run with this
    /// credential.
    pub(super) fn of(pid: i32, credential: &str) -> Option<Self> {
        let path = group_of(&pid.to_string())?;
        Some(Self {
            path: mounted(marked(&path, credential)?)?,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Kills whatever is in it, also what is forked meanwhile.
    pub(super) fn kill(&self) {
        if let Err(error) = fs::write(self.path.join("cgroup.kill"), "1") {
            debug!("{} cannot be killed: {error}", self.path.display());
        }
    }

    /// Whether anything runs in it.
    pub(super) fn lives(&self) -> bool {
        let events = fs::read_to_string(self.path.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }

    /// Whether the kernel killed a process of it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events"));
        events.is_ok_and(|events| oom_kills(&events) > 0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // One that is in use stays.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Whether this process is in the group of the run with this credential.
pub(super) fn holds(pid: i32, credential: &str) -> bool {
    group_of(&pid.to_string()).is_some_and(|path| marked(&path, credential).is_some())
}

fn name(worker: &WorkerId, credential: &str) -> String {
    format!("{worker}.{}", mark(credential))
}

fn mark(credential: &str) -> &str {
    credential.get(..MARK).unwrap_or(credential)
}

/// The group of that run in this path: itself, or one above that a child made
/// within its own.
fn marked<'a>(path: &'a Path, credential: &str) -> Option<&'a Path> {
    let mark = mark(credential);
    let ours = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str()?.rsplit_once('.'));
        name.is_some_and(|(_, of_it)| of_it == mark)
            && path.parent().is_some_and(|above| above.ends_with(FOLDER))
    };
    path.ancestors().find(ours)
}

/// The path of a process's group, as the kernel names it to us.
fn group_of(pid: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.trim_end_matches(" (deleted)").into())
}

/// Our own group, as a folder.
pub(super) fn own() -> Option<PathBuf> {
    mounted(&group_of("self")?)
}

/// Where this group is mounted (proc_pid_mountinfo(5)).
fn mounted(path: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| under_mount(line, path))
}

fn under_mount(line: &str, path: &Path) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    kind.starts_with("cgroup2 ").then_some(())?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    // A group outside of what is mounted here is shown as `/..`.
    let below = path.strip_prefix(root).ok()?;
    let inside = !below.iter().any(|part| part == "..");
    inside.then(|| Path::new(point).join(below))
}

/// Whether groups in `folder` can have a limit on memory now.
fn pass_memory_down(above: &Path, folder: &Path, is_leaf: bool) -> bool {
    let has = |path: &Path| {
        let controllers = fs::read_to_string(path.join("cgroup.controllers"));
        controllers.is_ok_and(|list| list.split_whitespace().any(|name| name == "memory"))
    };
    let pass = |path: &Path| fs::write(path.join("cgroup.subtree_control"), "+memory");
    if !has(folder) {
        let passed = pass(above).or_else(|error| {
            let alone = !is_leaf && group_of("self").is_some_and(|path| path == Path::new("/"));
            if !alone || !only_we_are_in(above) {
                return Err(error);
            }
            let manager = above.join(MANAGER);
            fs::create_dir_all(&manager)?;
            fs::write(manager.join("cgroup.procs"), "0")?;
            pass(above)
        });
        if let Err(error) = passed {
            debug!("{} passes no control of memory down: {error}", above.display());
        }
    }
    has(folder) && pass(folder).is_ok()
}

fn only_we_are_in(group: &Path) -> bool {
    let own = std::process::id().to_string();
    let processes = fs::read_to_string(group.join("cgroup.procs"));
    processes.is_ok_and(|pids| pids.lines().all(|pid| pid == own))
}

fn oom_kills(events: &str) -> u64 {
    let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    events.lines().find_map(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_where_it_is_mounted() {
        let path = |line, path| under_mount(line, Path::new(path));
        let hybrid = "42 28 0:35 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(path(hybrid, "/a/b"), Some("/sys/fs/cgroup/unified/a/b".into()));
        let bound = "42 28 0:35 /box/7 /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(path(bound, "/box/7"), Some("/sys/fs/cgroup/".into()));
        assert_eq!(path(bound, "/other"), None);
        assert_eq!(path(hybrid, "/../other"), None);
        let first = "43 28 0:36 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert_eq!(path(first, "/"), None);
    }

    #[test]
    fn a_group_names_its_run() {
        let credential = crate::supervisor::hash(b"a secret");
        let name = name(&"discord-0".into(), &credential);
        let path = Path::new("/system.slice/shardman").join(&name);
        assert_eq!(marked(&path, &credential), Some(&*path));
        assert_eq!(marked(&path.join("of-the-child"), &credential), Some(&*path));
        assert_eq!(marked(&path, &crate::supervisor::hash(b"another")), None);
        assert_eq!(marked(&Path::new("/user.slice").join(&name), &credential), None);
    }

    #[test]
    fn kills_for_want_of_memory_are_counted() {
        let events = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(oom_kills(events), 2);
        assert_eq!(oom_kills("populated 1\n"), 0);
    }
}
