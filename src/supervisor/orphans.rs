//! What leaves the group of its worker, on a host without control groups.
//!
//! As a subreaper (PR_SET_CHILD_SUBREAPER(2const)) we become the parent of
//! every descendant that loses its own. So whatever a worker leaves behind is
//! found among our children, and is its worker's by the first of these that
//! says so: where it was seen earlier, its session, its environment. One that
//! none of them places is killed when no worker runs that could have started
//! it. It may outlive its worker that long if it was started, left its parent,
//! its session and its environment between two looks. As the first process of a
//! container we are also given what came in from outside (`docker exec`): there
//! nothing is killed that cannot be placed.
//!
//! The children of workers that an earlier manager started are not given to us:
//! there the environment alone counts. Nothing but workers may be started while
//! this looks on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::unix::{self, Stat};

/// Between two looks at what each worker has started.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A process, and when it was started.
type Process = (i32, u64);

/// Follows the descendants of our children.
#[derive(Debug)]
pub(super) struct Orphans {
    family: Mutex<Family>,
    /// Whether anything is killed, or the dead buried alone.
    kills: bool,
}

#[derive(Debug, Default)]
struct Family {
    /// Our children that are workers, by their pid.
    workers: BTreeMap<i32, Worker>,
    /// Whose worker a process was when it was last seen.
    owners: BTreeMap<Process, Process>,
    /// Somebody before us had children that are ours now: one whose worker
    /// cannot be told may be theirs.
    strangers: BTreeSet<i32>,
}

#[derive(Debug)]
struct Worker {
    start_time: u64,
    credential: String,
}

impl Orphans {
    /// Looks after the descendants of children from now on, until the sender is
    /// dropped. `kills` says whether we are the one who ends them.
    pub(super) fn watch(kills: bool) -> std::io::Result<(Arc<Self>, mpsc::Sender<()>)> {
        if kills {
            unix::become_subreaper();
        }
        let family = Family {
            strangers: unix::children(own_pid()).into_iter().collect(),
            ..Family::default()
        };
        let orphans = Arc::new(Self {
            family: Mutex::new(family),
            kills,
        });
        let (alive, ended) = mpsc::channel();
        let ours = Arc::clone(&orphans);
        std::thread::Builder::new()
            .name("orphans".to_owned())
            .spawn(move || {
                while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let mut family = ours.family();
                    family.look();
                    family.sweep(None, ours.kills);
                }
            })?;
        Ok((orphans, alive))
    }

    /// Starts a worker. Nobody takes it for an orphan meanwhile.
    pub(super) fn start<T>(
        &self,
        credential: &str,
        spawn: impl FnOnce() -> std::io::Result<T>,
        pid: impl FnOnce(&T) -> i32,
    ) -> std::io::Result<T> {
        let mut family = self.family();
        let child = spawn()?;
        let pid = pid(&child);
        let start_time = Stat::read(pid).map_or(0, |stat| stat.start_time);
        let credential = credential.to_owned();
        family.workers.insert(
            pid,
            Worker {
                start_time,
                credential,
            },
        );
        Ok(child)
    }

    /// Kills what the worker with this pid left behind; false once nothing is.
    pub(super) fn kill_of(&self, pid: i32) -> bool {
        self.kills && self.family().sweep(Some(pid), true)
    }

    /// The worker is gone, and so is all that it left.
    pub(super) fn forget(&self, pid: i32) {
        self.family().workers.remove(&pid);
    }

    fn family(&self) -> MutexGuard<'_, Family> {
        self.family.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Family {
    /// Notes who descends from whom, as long as it can be seen.
    fn look(&mut self) {
        let mut seen = BTreeMap::new();
        let workers = self.workers.iter();
        let mut open: Vec<_> = workers
            .map(|(pid, worker)| (*pid, (*pid, worker.start_time)))
            .collect();
        // An orphan's children are its worker's too.
        for pid in unix::children(own_pid()) {
            if !self.workers.contains_key(&pid)
                && let Ok(stat) = Stat::read(pid)
                && let Some(owner) = self.owner(pid, &stat)
            {
                seen.insert((pid, stat.start_time), owner);
                open.push((pid, owner));
            }
        }
        while let Some((parent, owner)) = open.pop() {
            for pid in unix::children(parent) {
                let Ok(stat) = Stat::read(pid) else { continue };
                if seen.insert((pid, stat.start_time), owner).is_none() {
                    open.push((pid, owner));
                }
            }
        }
        self.owners = seen;
    }

    /// Buries our dead, and kills what belongs to `ended` or to no worker that
    /// runs. Whether anything of `ended` was still there.
    fn sweep(&mut self, ended: Option<i32>, kills: bool) -> bool {
        let mut any = false;
        for pid in unix::children(own_pid()) {
            if self.workers.contains_key(&pid) {
                continue;
            }
            let Ok(stat) = Stat::read(pid) else { continue };
            if stat.dead() {
                unix::reap(pid);
            } else if kills && !self.strangers.contains(&pid) && self.is_left(pid, &stat, ended) {
                unix::kill(pid);
                any = true;
            }
        }
        any
    }

    /// The worker that it comes from, as far as anything tells.
    fn owner(&self, pid: i32, stat: &Stat) -> Option<Process> {
        let seen = self.owners.get(&(pid, stat.start_time)).copied();
        seen.or_else(|| {
            let by_session = self.workers.get_key_value(&stat.session);
            let by_credential = || {
                let mut workers = self.workers.iter();
                workers.find(|(_, worker)| unix::carries(pid, &worker.credential))
            };
            let (pid, worker) = by_session.or_else(by_credential)?;
            Some((*pid, worker.start_time))
        })
    }

    /// Whether no worker but `ended` can have started it.
    fn is_left(&self, pid: i32, stat: &Stat, ended: Option<i32>) -> bool {
        let runs = |(worker, _): &(&i32, &Worker)| Some(**worker) != ended;
        if let Some((owner, start_time)) = self.owner(pid, stat) {
            let owner = self.workers.get_key_value(&owner);
            let owner = owner.filter(|(_, worker)| worker.start_time == start_time);
            return owner.is_none_or(|owner| !runs(&owner));
        }
        // The first process of a container is given what others brought in, too.
        if own_pid() == 1 {
            return false;
        }
        let mut older = self.workers.iter().filter(runs);
        self.strangers.is_empty() && !older.any(|(_, worker)| worker.start_time <= stat.start_time)
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
