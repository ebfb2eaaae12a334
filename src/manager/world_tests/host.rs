//! A virtual host: the manager and its store, its children, and the network
//! between them, in one thread and one virtual time. The manager's decisions
//! are the real ones; what it does to the world happens here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shardman_core::budget::{Budget, DAY_MS};
use shardman_core::{ShardId, Tick, WorkerId};
use shardman_sim::rules::Limits;
use shardman_sim::world::{Heard, Link, Network, World};

use super::traffic::Traffic;
use super::worker::{Answer, Ask, Crash, Process, Timer};
use crate::manager::alert::Alert;
use crate::manager::fleet::Fleet;
use crate::manager::request::{DiscordNews, Request};
use crate::manager::settings::{Count, Settings};
use crate::manager::view;
use crate::store::{DiscordFacts, Saved};
use crate::supervisor::{Exit, WorkerEvent};
use owner::{Call, Manager, process_id};

mod owner;

pub(super) type Pid = i32;

/// Wall clock at the beginning of the world: some hours into a day.
const BEGINNING_MS: u64 = 1_700_000_000_000;
/// As the watch on Discord has it.
const ASK_DISCORD_MS: u64 = 3 * 60 * 60 * 1000;

/// One of a process's places for a shard, and which of its leases: what was
/// sent for an earlier one is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) pid: Pid,
    pub(super) slot: usize,
    pub(super) lease: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    Request(Place, Ask),
    Answer(Place, Answer),
    Timer(Place, Timer),
    Heard(Link, Heard),
    /// The manager learns that a process is gone.
    Gone(WorkerId, Exit, Vec<String>),
    Exit(Pid, Exit),
    Started(WorkerId, Pid),
    PollOver(u64),
    AskDiscord,
    DiscordSays {
        remaining: u32,
        reset_after_ms: u64,
    },
    StartManager,
}

/// Where the manager dies within its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiesAt {
    BeforeCommit,
    AfterCommit,
    AfterEffects,
}

/// What a world is made of.
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) shards: u32,
    pub(super) max_concurrency: u32,
    pub(super) shards_per_worker: u32,
    pub(super) budget: u32,
    pub(super) max_seconds: f64,
}

pub(super) struct Host {
    wall_ms: &'static AtomicU64,
    pub(super) now: Tick,
    pub(super) rng: fastrand::Rng,
    pub(super) discord: World,
    scenario: Scenario,
    settings: Arc<Settings>,
    manager: Option<Manager>,
    saved: Saved,
    events: BTreeMap<(Tick, u64), Event>,
    numbers: u64,
    pub(super) processes: BTreeMap<Pid, Process>,
    pub(super) links: BTreeMap<Link, Place>,
    calls: BTreeMap<u64, (Place, Call)>,
    woken: Arc<Mutex<Vec<u64>>>,
    inbox: Vec<Request>,
    pub(super) dies_at: Option<DiesAt>,
    /// Places whose process crashes each time.
    pub(super) crashing: BTreeMap<WorkerId, Crash>,
    /// What shards hear, where that matters.
    pub(super) traffic: Option<Traffic>,
    /// Places whose process lags behind by so many seconds.
    pub(super) lagging: BTreeMap<WorkerId, f64>,
    pub(super) alerts: Vec<(Tick, Alert)>,
    /// When a worker first asked for a permit, and when one last heard READY.
    pub(super) first_permit_asked: Option<Tick>,
    pub(super) last_ready: Tick,
}

impl Host {
    pub(super) fn new(scenario: Scenario) -> Self {
        let wall_ms: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(BEGINNING_MS)));
        let limits = Limits {
            max_concurrency: scenario.max_concurrency,
            identify_window_ms: 5_000,
            budget_total: scenario.budget,
            budget_remaining: scenario.budget,
            resume_window_ms: 90_000,
            heartbeat_interval_ms: 41_250,
            guilds: 0,
            token: None,
            seed: scenario.seed,
            epoch_ms: BEGINNING_MS,
        };
        let network = Network {
            one_way: 1..=40,
            thinking: 5..=40,
        };
        let max_seconds = std::time::Duration::from_secs_f64(scenario.max_seconds);
        let mut settings = Settings::leases_only(1, max_seconds, "nowhere".into());
        settings.count = Count::Discord;
        settings.asks_discord = true;
        settings.max_workers = None;
        settings.shards_per_worker = Some(scenario.shards_per_worker);
        let mut host = Self {
            wall_ms,
            now: Tick(0),
            rng: fastrand::Rng::with_seed(scenario.seed),
            discord: World::new(limits, network),
            settings: Arc::new(settings),
            manager: None,
            saved: Saved::default(),
            events: BTreeMap::new(),
            numbers: 0,
            processes: BTreeMap::new(),
            links: BTreeMap::new(),
            calls: BTreeMap::new(),
            woken: Arc::default(),
            inbox: Vec::new(),
            dies_at: None,
            crashing: BTreeMap::new(),
            traffic: None,
            lagging: BTreeMap::new(),
            alerts: Vec::new(),
            first_permit_asked: None,
            last_ready: Tick(0),
            scenario,
        };
        host.at(0, Event::StartManager);
        host
    }

    /// Lets the world run until then.
    pub(super) fn run_until(&mut self, until: Tick) {
        let mut same = 0;
        loop {
            let first = self.events.first_key_value().map(|((at, _), _)| *at);
            let due = self.manager.as_ref().and_then(|manager| manager.due);
            let next = [first, due, Some(self.discord.poll_timeout())]
                .into_iter()
                .flatten()
                .min()
                .expect("Discord always has something to do");
            if next > until {
                self.set_time(until);
                return;
            }
            same = if next > self.now { 0 } else { same + 1 };
            assert!(
                same < 1_000,
                "time stands still at {}: a timer that never ends",
                self.now
            );
            self.set_time(next);
            self.step();
        }
    }

    /// Lets the world run until every shard is ready; panics when that takes
    /// too long.
    #[track_caller]
    pub(super) fn run_until_ready(&mut self, at_most_ms: u64) {
        let limit = Tick(self.now.0 + at_most_ms);
        while self.ready() < self.shards() {
            assert!(
                self.now < limit,
                "seed {}: {} of {} shards are ready at {}: {}",
                self.scenario.seed,
                self.ready(),
                self.scenario.shards,
                self.now,
                self.missing()
            );
            self.run_until(Tick(self.now.0 + 1_000));
        }
    }

    /// Whether a manager runs now.
    pub(super) fn is_managed(&self) -> bool {
        self.manager.is_some()
    }

    pub(super) fn ready(&self) -> usize {
        self.summary().map_or(0, |summary| summary.ready)
    }

    fn summary(&self) -> Option<view::Summary> {
        let manager = self.manager.as_ref()?;
        Some(view::summary(&manager.fleet, manager.clock.now()))
    }

    pub(super) fn shards(&self) -> usize {
        self.scenario.shards as usize
    }

    pub(super) fn fleet(&self) -> Option<&Fleet> {
        self.manager.as_ref().map(|manager| &manager.fleet)
    }

    pub(super) fn ask(&mut self, request: Request) {
        self.inbox.push(request);
        self.turn();
    }

    /// No session outlives its connection.
    pub(super) fn make_sessions_fragile(&mut self, fragile: bool) {
        for shard in ShardId::all(self.scenario.shards) {
            self.discord.set_fragile(shard, fragile);
        }
    }

    /// The process in this place ends now.
    pub(super) fn crash(&mut self, worker: &WorkerId) {
        let pid = self.pid_of(worker).expect("it runs");
        self.after(0, Event::Exit(pid, Exit::Code(1)));
    }

    /// The shards that are not ready, and the workers.
    fn missing(&self) -> String {
        let Some(manager) = &self.manager else {
            return "no manager".to_owned();
        };
        let view = view::fleet(&manager.fleet, &manager.clock);
        let missing = view.shards.iter().filter(|shard| shard.state != "ready");
        format!(
            "{:?}, {:?}, {:?}",
            missing.collect::<Vec<_>>(),
            view.workers,
            view.trouble
        )
    }

    /// What keeps the fleet from being whole.
    pub(super) fn trouble(&self) -> Vec<String> {
        self.summary().map_or_else(Vec::new, |summary| summary.trouble)
    }

    pub(super) fn pids(&self) -> Vec<Pid> {
        self.processes.keys().copied().collect()
    }

    /// Whether the process holds a shard.
    pub(super) fn holds(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(Process::holds)
    }

    pub(super) fn pid_of(&self, worker: &WorkerId) -> Option<Pid> {
        let mut processes = self.processes.iter();
        processes
            .find(|(_, process)| process.worker == *worker)
            .map(|(pid, _)| *pid)
    }

    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now.0 + ms, event);
    }

    /// One packet's way.
    pub(super) fn one_way(&mut self) -> u64 {
        self.rng.u64(1..=40)
    }

    fn at(&mut self, ms: u64, event: Event) {
        self.numbers += 1;
        self.events.insert((Tick(ms), self.numbers), event);
    }

    fn set_time(&mut self, now: Tick) {
        self.now = self.now.max(now);
        self.wall_ms.store(BEGINNING_MS + self.now.0, Ordering::Relaxed);
    }

    fn step(&mut self) {
        for (link, heard) in self.discord.handle(self.now) {
            self.heard(link, heard);
        }
        while let Some(entry) = self
            .events
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let event = entry.remove();
            self.happen(event);
        }
        let due = self.manager.as_ref().and_then(|manager| manager.due);
        let wanted = self.fleet().is_some_and(Fleet::wants_a_turn);
        if wanted || !self.inbox.is_empty() || due.is_some_and(|due| due <= self.now) {
            self.turn();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request(place, ask) => self.request(place, ask),
            Event::Answer(place, answer) => self.answered(place, answer),
            Event::Timer(place, timer) => self.timer(place, timer),
            Event::Heard(link, heard) => self.heard(link, heard),
            Event::Exit(pid, exit) => self.exit(pid, exit),
            Event::Gone(worker, exit, last_lines) => self.tell(Request::Worker(WorkerEvent::Gone {
                worker,
                exit,
                last_lines,
            })),
            Event::Started(worker, pid) => self.tell(Request::Worker(WorkerEvent::Started {
                worker,
                process: process_id(pid),
            })),
            Event::PollOver(call) => {
                if let Some((place, _)) = self.calls.remove(&call) {
                    let way = self.one_way();
                    self.after(way, Event::Answer(place, Answer::NotYet));
                }
            }
            Event::AskDiscord => {
                let (_, remaining, reset_after_ms) = self.discord.budget(self.now);
                let way = self.one_way();
                self.after(
                    way,
                    Event::DiscordSays {
                        remaining,
                        reset_after_ms,
                    },
                );
                self.after(ASK_DISCORD_MS, Event::AskDiscord);
            }
            Event::DiscordSays {
                remaining,
                reset_after_ms,
            } => {
                let reset_after_ms = if reset_after_ms == 0 {
                    DAY_MS
                } else {
                    reset_after_ms
                };
                let facts = DiscordFacts {
                    gateway_url: "wss://virtual".to_owned(),
                    recommended_shards: self.scenario.shards,
                    max_concurrency: self.scenario.max_concurrency,
                    starts: Budget {
                        total: self.scenario.budget,
                        remaining,
                        resets_at_ms: BEGINNING_MS + self.now.0 + reset_after_ms,
                    },
                };
                self.tell(Request::Discord(DiscordNews::Facts(facts)));
            }
            Event::StartManager => self.start_manager(),
        }
    }
}
