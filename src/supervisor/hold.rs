//! The hold on a child and on all that it started: what kills them, and what
//! says that none is left.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use shardman_core::WorkerId;
use tokio::time::sleep;
use tracing::{info, warn};

use super::cgroup::{Cgroup, Cgroups};
use super::exec_child::Conditions;
use super::orphans::Orphans;
use super::unix;

/// Between two looks whether anything is left. Members that the kernel has yet
/// to bury take a moment.
const LOOK_SOON: Duration = Duration::from_millis(1);

/// The same once it is clear that it takes longer.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks at the shorter distance.
const SOON: u32 = 20;

/// The most that each child may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `WORKER_MEMORY`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `WORKER_OPEN_FILES`.
    pub open_files: Option<u64>,
}

/// How a child is killed with all that it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMethod {
    /// By its control group, which nothing gets out of.
    Cgroup,
    /// By its process group, and by what is known of those that left it.
    ProcessGroup,
}

impl KillMethod {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::ProcessGroup => "process_group",
        }
    }
}

/// What holds a child to its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Its control group: it and all it started together.
    Cgroup,
    /// A limit on the data of each process by itself (RLIMIT_DATA).
    Process,
}

impl MemoryLimit {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Process => "process",
        }
    }
}

/// What this host lets us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    pub kill: KillMethod,
    pub memory: Option<MemoryLimit>,
}

/// Takes hold of children.
#[derive(Debug)]
pub(super) struct Holds {
    limits: Limits,
    cgroups: Option<Cgroups>,
    orphans: Option<Arc<Orphans>>,
    /// Dropped with the supervisor: nobody looks after orphans any more.
    _orphans_watched: Option<mpsc::Sender<()>>,
}

impl Holds {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            cgroups: Cgroups::find(limits.memory_bytes.is_some()),
            orphans: None,
            _orphans_watched: None,
        }
    }

    pub(super) fn means(&self) -> Means {
        let kill = match &self.cgroups {
            Some(_) => KillMethod::Cgroup,
            None => KillMethod::ProcessGroup,
        };
        let memory = match &self.cgroups {
            Some(cgroups) if cgroups.limits_memory => MemoryLimit::Cgroup,
            Some(_) | None => MemoryLimit::Process,
        };
        Means {
            kill,
            memory: self.limits.memory_bytes.map(|_| memory),
        }
    }

    /// What has to be there before the first child is.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if self.orphans.is_some() {
            return Ok(());
        }
        let means = self.means();
        info!(
            "workers are killed by {}",
            match means.kill {
                KillMethod::Cgroup => "control group",
                KillMethod::ProcessGroup => "process group: this host lets us make no control groups",
            }
        );
        if means.memory == Some(MemoryLimit::Process) {
            warn!(
                "WORKER_MEMORY holds each process of a worker by itself: no control of memory is delegated to us here"
            );
        }
        let (orphans, watched) = Orphans::watch(means.kill == KillMethod::ProcessGroup)?;
        self.orphans = Some(orphans);
        self._orphans_watched = Some(watched);
        Ok(())
    }

    /// For a child that is about to start. Where children have control groups
    /// nothing else is looked at, so without one it must not be started.
    pub(super) fn on(&self, worker: &WorkerId, credential: &str) -> io::Result<Hold> {
        let memory = self.limits.memory_bytes;
        let cgroup = match &self.cgroups {
            Some(cgroups) => {
                let cgroup = cgroups.create(worker, credential, memory);
                Some(cgroup.map_err(|error| io::Error::other(format!("it gets no control group: {error}")))?)
            }
            None => None,
        };
        let conditions = Conditions {
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.path().to_owned()),
            data_bytes: memory.filter(|_| self.means().memory == Some(MemoryLimit::Process)),
            open_files: self.limits.open_files,
            nice: 0,
        };
        Ok(Hold {
            conditions,
            cgroup,
            orphans: self.orphans.clone(),
            credential: credential.to_owned(),
            adopted: false,
        })
    }

    /// For one that an earlier manager started.
    pub(super) fn on_adopted(&self, pid: i32, credential: &str) -> Hold {
        Hold {
            conditions: Conditions::default(),
            cgroup: Cgroup::of(pid, credential),
            orphans: None,
            credential: credential.to_owned(),
            adopted: true,
        }
    }
}

/// Kills what is left of a run whose leader died while no manager watched.
pub(super) async fn bury_left(credential: &str) {
    let cgroup = unix::cgroup_by_environment(credential);
    if let Some(cgroup) = &cgroup {
        cgroup.kill();
    }
    while unix::kill_by_environment(credential) {
        sleep(LOOK_AGAIN).await;
    }
}

/// The hold on one run of a child.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) conditions: Conditions,
    cgroup: Option<Cgroup>,
    pub(super) orphans: Option<Arc<Orphans>>,
    pub(super) credential: String,
    adopted: bool,
}

impl Hold {
    /// Kills the child and whatever it started; `group` is its process group, as
    /// far as that number names no other.
    pub(super) fn kill(&self, group: Option<i32>) {
        if let Some(group) = group {
            unix::kill_group(group);
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
    }

    /// Whether the kernel killed any of it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory)
    }

    /// Waits until nothing of it is left, killing what did not go with the rest.
    pub(super) async fn bury(&self, pid: i32, group: Option<i32>) {
        for look in 0.. {
            let mut left = group.is_some_and(unix::group_lives);
            if let Some(cgroup) = &self.cgroup
                && cgroup.lives()
            {
                cgroup.kill();
                left = true;
            }
            if let Some(orphans) = &self.orphans {
                left |= orphans.kill_of(pid);
            }
            if self.adopted && self.cgroup.is_none() {
                left |= unix::kill_by_environment(&self.credential);
            }
            if !left {
                break;
            }
            sleep(if look < SOON { LOOK_SOON } else { LOOK_AGAIN }).await;
        }
        if let Some(orphans) = &self.orphans {
            orphans.forget(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_whose_control_group_cannot_be_made_is_not_started() {
        let folder = tempfile::tempdir().unwrap();
        // No folder can be made in a file, and no limit written where a folder is.
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let full = folder.path().join("full");
        let credential = "0123456789abcdef0123456789abcdef";
        std::fs::create_dir_all(full.join("web-0.0123456789abcdef/memory.max")).unwrap();
        for place in [file, full] {
            let holds = Holds {
                limits: Limits {
                    memory_bytes: Some(1 << 30),
                    open_files: None,
                },
                cgroups: Some(Cgroups::within(place)),
                orphans: None,
                _orphans_watched: None,
            };
            let error = holds.on(&"web-0".into(), credential).unwrap_err().to_string();
            assert!(error.starts_with("it gets no control group"), "{error}");
        }
    }
}
