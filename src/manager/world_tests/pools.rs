//! A pool whose processes know nothing of us, in virtual time: processes end,
//! the disk fails, the manager dies at any step and comes back with another
//! size. No slot ever has two processes, no epoch is used twice, and in peace
//! every slot is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shardman_core::{SessionId, WorkerId};

use crate::clock::Clock;
use crate::manager::fleet::{Dice, Effect, Fleet, Turn};
use crate::manager::request::Request;
use crate::manager::settings::{PoolSettings, Register, RestartRule, Settings, StartTerms};
use crate::manager::view;
use crate::store::{MemoryStore, ProcessId, Saved, Write};
use crate::supervisor::{self, Exit, Processes, WorkerEvent};

#[derive(Debug)]
struct Process {
    worker: WorkerId,
    slot: u32,
}

struct World {
    time: &'static AtomicU64,
    rng: fastrand::Rng,
    size: u32,
    saved: Saved,
    fleet: Fleet,
    clock: Clock,
    /// By the hash of the credential.
    processes: BTreeMap<String, (i32, Process)>,
    inbox: Vec<Request>,
    pids: i32,
    granted: BTreeMap<SessionId, u64>,
    starts: usize,
}

/// What becomes of a turn.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Done,
    DiskFails,
    DiesBeforeCommit,
    DiesAfterCommit,
}

impl World {
    fn new(seed: u64) -> Self {
        let time: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_700_000_000_000)));
        let mut rng = fastrand::Rng::with_seed(seed);
        let (clock, size) = (Clock::start_virtual(time), rng.u32(1..=6));
        let living = Living(BTreeSet::new(), BTreeMap::new());
        let dice = Dice::Seeded(rng.u64(..));
        Self {
            time,
            size,
            fleet: Fleet::restore_pool(Arc::new(settings(size)), clock, dice, &living, Saved::default()),
            rng,
            saved: Saved::default(),
            clock,
            processes: BTreeMap::new(),
            inbox: Vec::new(),
            pids: 0,
            granted: BTreeMap::new(),
            starts: 0,
        }
    }

    fn manager_comes_back(&mut self) {
        self.inbox.clear();
        if self.rng.bool() {
            self.size = self.rng.u32(1..=6);
        }
        self.clock = Clock::start_virtual(self.time);
        let pids = self.processes.values().map(|(pid, _)| *pid).collect();
        let credentials = self.processes.iter().map(|(hash, (pid, _))| (hash.clone(), *pid));
        let living = Living(pids, credentials.collect());
        let dice = Dice::Seeded(self.rng.u64(..));
        let settings = Arc::new(settings(self.size));
        self.fleet = Fleet::restore_pool(settings, self.clock, dice, &living, self.saved.clone());
    }

    fn turn(&mut self, fate: Fate) {
        let now = self.clock.now();
        let turn = self.fleet.turn(std::mem::take(&mut self.inbox), now);
        if fate == Fate::DiesBeforeCommit {
            return self.manager_comes_back();
        }
        if fate == Fate::DiskFails && !turn.writes.is_empty() {
            for effect in self.fleet.undo(turn, "the disk is full", now) {
                self.act(effect);
            }
            return;
        }
        let Turn { writes, effects, .. } = turn;
        for write in writes {
            self.commit(write);
        }
        if fate == Fate::DiesAfterCommit {
            return self.manager_comes_back();
        }
        effects.into_iter().for_each(|effect| self.act(effect));
    }

    fn commit(&mut self, write: Write) {
        if let Write::Lease(record) = &write {
            let epoch = record.epoch.0;
            let newest = self.granted.values().copied().max().unwrap_or(0);
            let known = self.granted.insert(record.session, epoch);
            assert!(
                known.map_or(epoch > newest, |known| known == epoch),
                "epoch {epoch} after {newest}"
            );
        }
        MemoryStore::apply(&mut self.saved, write);
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Start {
                worker,
                assigned,
                credential,
                ..
            } => {
                self.starts += 1;
                let stopped = self.saved.stopped.contains_key(&worker);
                assert!(!stopped, "{worker} was stopped by an operator");
                self.pids += 1;
                let slot = assigned[0].0.number();
                let hash = supervisor::hash(credential.as_bytes());
                let taken = self.processes.values().find(|(_, process)| process.slot == slot);
                assert!(taken.is_none(), "slot {slot} of {worker} is held by {taken:?}");
                let process = Process {
                    worker: worker.clone(),
                    slot,
                };
                self.processes.insert(hash, (self.pids, process));
                let process = process_id(self.pids);
                self.inbox
                    .push(Request::Worker(WorkerEvent::Started { worker, process }));
            }
            Effect::Stop { worker, .. } => self.end(|process| process.worker == worker, Exit::Signal(15)),
            Effect::Adopt { .. } | Effect::Alert(_) | Effect::AlertOn(..) => {}
            Effect::Bury { worker } => unreachable!("{worker} leaves nothing behind"),
        }
    }

    fn end(&mut self, which: impl Fn(&Process) -> bool, exit: Exit) {
        let found = self.processes.iter().find(|(_, (_, process))| which(process));
        let Some(hash) = found.map(|(hash, _)| hash.clone()) else {
            return;
        };
        let (_, process) = self.processes.remove(&hash).unwrap();
        self.inbox.push(Request::Worker(WorkerEvent::Gone {
            worker: process.worker,
            exit,
            last_lines: Vec::new(),
        }));
    }

    fn step(&mut self, fate: Fate) {
        let pause = self.rng.u64(1..=3_000);
        self.time.fetch_add(pause, Ordering::Relaxed);
        self.turn(fate);
    }

    /// An operator stops a worker, or wants it to run.
    fn want(&mut self, place: u32, wanted: bool) {
        self.inbox.push(Request::Want {
            worker: format!("jobs-{place}"),
            wanted,
            reply: tokio::sync::oneshot::channel().0,
        });
    }

    fn something_happens(&mut self) {
        if self.rng.u8(..4) == 0
            && let Some(slot) = self.rng.choice(0..self.size)
        {
            let exit = self.rng.choice([Exit::Code(0), Exit::Code(1), Exit::Signal(9)]);
            self.end(|process| process.slot == slot, exit.unwrap());
        }
        let fate = match self.rng.u8(..12) {
            0 => Fate::DiskFails,
            1 => Fate::DiesBeforeCommit,
            2 => Fate::DiesAfterCommit,
            _ => Fate::Done,
        };
        self.step(fate);
    }
}

fn settings(size: u32) -> Settings {
    let of_discord = Settings::leases_only(1, Duration::from_secs(5), "nowhere".into());
    of_discord.of_pool(&PoolSettings {
        pool: "jobs".parse().unwrap(),
        command: Some("run".to_owned()),
        size,
        max_seconds: Duration::from_secs(5),
        grace: Duration::from_secs(1),
        register: Register::Process,
        restart: RestartRule::Always,
        start: StartTerms::default(),
    })
}

fn process_id(pid: i32) -> ProcessId {
    ProcessId {
        pid,
        start_time: 0,
        boot_id: String::new(),
    }
}

struct Living(BTreeSet<i32>, BTreeMap<String, i32>);

impl Processes for Living {
    fn is_alive(&self, process: &ProcessId) -> bool {
        self.0.contains(&process.pid)
    }

    fn find(&self, credential: &str) -> Option<ProcessId> {
        self.1.get(credential).copied().map(process_id)
    }

    fn lives(&self, credential: &str) -> bool {
        self.1.contains_key(credential)
    }
}

#[test]
fn whatever_fails_no_slot_has_two_processes_and_in_peace_each_has_one() {
    let mut starts = 0;
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.something_happens();
        }
        // Longer than the longest pause of a crash loop.
        for _ in 0..1_000 {
            world.step(Fate::Done);
        }
        let held: BTreeSet<_> = world
            .processes
            .values()
            .map(|(_, process)| process.slot)
            .collect();
        let all: BTreeSet<_> = (0..world.size).collect();
        assert_eq!(held, all, "seed {seed}: {:?}", world.fleet.workers);
        assert_eq!(world.processes.len(), all.len(), "seed {seed}");
        let seen = view::fleet(&world.fleet, &world.clock);
        assert_eq!((seen.leased, seen.ready), (world.size, world.size), "seed {seed}");
        let before = world.starts;
        for _ in 0..100 {
            world.step(Fate::Done);
        }
        assert_eq!(world.starts, before, "seed {seed}: what runs is left alone");
        starts += before;
    }
    eprintln!("{starts} starts in 300 worlds");
}

#[test]
fn a_slot_that_was_renumbered_while_the_disk_failed_keeps_its_process_for_the_next_manager() {
    let mut world = World::new(3);
    for _ in 0..40 {
        world.step(Fate::Done);
    }
    world.size += 1;
    let living = Living(
        world.processes.values().map(|(pid, _)| *pid).collect(),
        world
            .processes
            .iter()
            .map(|(hash, (pid, _))| (hash.clone(), *pid))
            .collect(),
    );
    let leased = |saved: &Saved| {
        let leases = saved.leases.iter();
        let leases: BTreeSet<_> = leases
            .map(|lease| (lease.shard.number(), lease.session))
            .collect();
        leases
    };
    let before = leased(&world.saved);
    assert_eq!(before.len(), world.processes.len());
    let (settings, dice) = (Arc::new(settings(world.size)), Dice::Seeded(1));
    world.fleet = Fleet::restore_pool(settings, world.clock, dice, &living, world.saved.clone());
    world.step(Fate::DiskFails);
    world.step(Fate::DiskFails);
    world.step(Fate::Done);
    let after = leased(&world.saved);
    assert!(after.is_superset(&before), "{before:?}, {after:?}");
    let totals = world.saved.leases.iter().map(|lease| lease.shard.total());
    assert!(totals.clone().count() > 0 && totals.clone().all(|total| total == world.size));
}

#[test]
fn whatever_fails_a_stopped_worker_stays_so_until_it_is_wanted_again() {
    let mut kept = 0;
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..120 {
            if world.rng.u8(..5) == 0 {
                let (place, wanted) = (world.rng.u32(..world.size), world.rng.bool());
                world.want(place, wanted);
            }
            world.something_happens();
        }
        for _ in 0..1_000 {
            world.step(Fate::Done);
        }
        let run: BTreeSet<_> = world
            .processes
            .values()
            .map(|(_, process)| &process.worker)
            .collect();
        let stopped: BTreeSet<_> = world.saved.stopped.keys().collect();
        assert!(run.is_disjoint(&stopped), "seed {seed}: {run:?}, {stopped:?}");
        // Every place has a process, or is that of a worker that is stopped.
        let places = world.size as usize;
        let workers = &world.fleet.workers;
        assert!(run.len() <= places, "seed {seed}: {workers:?}");
        assert!(run.len() + stopped.len() >= places, "seed {seed}: {workers:?}");
        kept += stopped.len();
        for place in 0..6 {
            world.want(place, true);
        }
        for _ in 0..100 {
            world.step(Fate::Done);
        }
        assert_eq!(
            world.processes.len(),
            places,
            "seed {seed}: {:?}",
            world.fleet.workers
        );
        assert!(world.saved.stopped.is_empty(), "seed {seed}");
    }
    assert!(kept > 100, "{kept} stayed stopped");
}
