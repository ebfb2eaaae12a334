//! The real fleet and bots that say nothing, in virtual time: whatever they
//! need to log in, Discord's rule holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shardman_core::budget::Budget;
use shardman_core::lease::BeatReport;

use super::*;
use crate::clock::Clock;
use crate::manager::fleet::{Dice, Note, Turn};
use crate::manager::request::{DiscordNews, Request};
use crate::manager::settings::Settings;
use crate::store::{DiscordFacts, MemoryStore, ProcessId, Saved};
use crate::supervisor::{self, Exit, Processes, WorkerEvent};

mod starts;
mod told;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const BEGINNING_MS: u64 = 1_700_000_000_000;

/// A process that was started.
struct Bot {
    worker: WorkerId,
    credential: String,
    pid: i32,
    /// When it identifies which shard, the next one first.
    to_identify: Vec<(u64, ShardId)>,
    sessions: Vec<(ShardId, SessionId)>,
    dies_at: Option<u64>,
}

struct Den {
    time: &'static AtomicU64,
    rng: fastrand::Rng,
    settings: Arc<Settings>,
    clock: Clock,
    fleet: Fleet,
    saved: Saved,
    inbox: Vec<Request>,
    bots: Vec<Bot>,
    pids: i32,
    starts: u32,
    alerts: Vec<Alert>,
    notes: Vec<Note>,
    stopped: Vec<(WorkerId, StopCause)>,
    /// The disk takes no turn that stops somebody, so often.
    refused_stops: u32,
    /// Every IDENTIFY.
    identified: Vec<(u64, ShardId)>,
    /// How long a new bot lives, if it dies by itself.
    life: Option<fn(&mut fastrand::Rng) -> Option<u64>>,
}

struct Living(Vec<(String, i32)>);

fn process(pid: i32) -> ProcessId {
    ProcessId {
        pid,
        start_time: 0,
        boot_id: String::new(),
    }
}

impl Processes for Living {
    fn is_alive(&self, process: &ProcessId) -> bool {
        self.0.iter().any(|(_, pid)| *pid == process.pid)
    }

    fn find(&self, credential: &str) -> Option<ProcessId> {
        let found = self.0.iter().find(|(other, _)| other == credential);
        found.map(|(_, pid)| process(*pid))
    }

    fn lives(&self, credential: &str) -> bool {
        self.find(credential).is_some()
    }
}

impl Den {
    fn new(seed: u64, shards: u32, each: u32, max_concurrency: u32, starts: (u32, u32)) -> Self {
        let time: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(BEGINNING_MS)));
        let mut settings = Settings::leases_only(shards, Duration::from_secs(20), "nowhere".into());
        settings.assigns = true;
        settings.asks_discord = true;
        settings.max_workers = None;
        settings.shards_per_worker = Some(each);
        let settings = Arc::new(settings);
        let clock = Clock::start_virtual(time);
        let nobody = Living(Vec::new());
        let saved = Saved::default();
        let fleet = Fleet::restore(
            Arc::clone(&settings),
            clock,
            Dice::Seeded(seed),
            &nobody,
            saved.clone(),
        );
        let mut den = Self {
            time,
            rng: fastrand::Rng::with_seed(seed),
            settings,
            clock,
            fleet,
            saved,
            inbox: Vec::new(),
            bots: Vec::new(),
            pids: 0,
            starts: 0,
            alerts: Vec::new(),
            notes: Vec::new(),
            stopped: Vec::new(),
            refused_stops: 0,
            identified: Vec::new(),
            life: None,
        };
        den.discord_says(max_concurrency, starts);
        den
    }

    fn discord_says(&mut self, max_concurrency: u32, (remaining, total): (u32, u32)) {
        self.inbox.push(Request::Discord(DiscordNews::Facts(DiscordFacts {
            gateway_url: String::new(),
            recommended_shards: 1,
            max_concurrency,
            starts: Budget {
                total,
                remaining,
                resets_at_ms: self.ms() + 24 * HOUR,
            },
        })));
    }

    fn ms(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    fn take_turn(&mut self) -> Turn {
        let now = self.clock.now();
        self.fleet.turn(std::mem::take(&mut self.inbox), now)
    }

    fn turn(&mut self) {
        let mut turn = self.take_turn();
        let stops = |effect: &Effect| matches!(effect, Effect::Stop { .. });
        if self.refused_stops > 0 && turn.effects.iter().any(stops) {
            self.refused_stops -= 1;
            let now = self.clock.now();
            self.notes.extend(self.fleet.still_true(&mut turn));
            assert!(!self.fleet.undo(turn, "the disk is full", now).iter().any(stops));
            return;
        }
        self.notes.extend(turn.notes);
        for write in turn.writes {
            MemoryStore::apply(&mut self.saved, write);
        }
        for effect in turn.effects {
            match effect {
                Effect::Start {
                    worker,
                    assigned,
                    credential,
                    ..
                } => self.started(worker, assigned, &credential),
                Effect::Alert(alert) | Effect::AlertOn(_, alert) => self.alerts.push(alert),
                Effect::Adopt { .. } => {}
                Effect::Stop { worker, cause } => self.stopped.push((worker, cause)),
                Effect::Bury { .. } => unreachable!("nobody leaves anything behind"),
            }
        }
    }

    /// It takes its time to log in, and then identifies as the libraries do:
    /// one shard after another, or as many at once as there are buckets.
    fn started(&mut self, worker: WorkerId, assigned: Vec<(ShardId, SessionId)>, credential: &str) {
        let held = |shard| {
            self.saved
                .leases
                .iter()
                .any(|lease| lease.shard == shard && lease.assigned)
        };
        assert!(
            assigned.iter().all(|(shard, _)| held(*shard)),
            "leased before it runs"
        );
        self.pids += 1;
        self.starts += 1;
        self.inbox.push(Request::Worker(WorkerEvent::Started {
            worker: worker.clone(),
            process: process(self.pids),
        }));
        let login = u64::try_from(self.settings.login_within.as_millis()).unwrap();
        // The quickest and the slowest are those that could meet.
        let quick = self.rng.bool();
        let first = self.ms()
            + match quick {
                true => self.rng.u64(300..600),
                false => self.rng.u64(login - 300..login),
            };
        let one_by_one = self.rng.bool();
        let buckets = self.fleet.line.max_concurrency();
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let mut to_identify = Vec::new();
        for (shard, _) in &assigned {
            let key = if one_by_one { 0 } else { shard.bucket(buckets) };
            let at = last.get(&key).map_or(first, |at| {
                at + if quick { 5_000 } else { self.rng.u64(5_900..6_000) }
            });
            last.insert(key, at);
            to_identify.push((at, *shard));
        }
        to_identify.sort_unstable();
        let life = self.life.and_then(|life| life(&mut self.rng));
        self.bots.push(Bot {
            worker,
            credential: supervisor::hash(credential.as_bytes()),
            pid: self.pids,
            to_identify,
            sessions: assigned,
            dies_at: life.map(|life| self.ms() + life),
        });
    }

    /// Lets time pass; the manager sleeps as long as it may.
    fn run(&mut self, ms: u64) {
        let until = self.ms() + ms;
        let now = self.ms();
        self.turn();
        let mut due = now;
        while self.ms() < until {
            let now = self.ms() + 50;
            self.time.store(now, Ordering::Relaxed);
            self.bots_go_on(now);
            if now >= due || !self.inbox.is_empty() || self.fleet.wants_a_turn() {
                self.turn();
            }
            let tick = self.clock.now();
            let next = self.fleet.poll_timeout(tick);
            due = next.map_or(u64::MAX, |next| {
                now + u64::try_from(next.since(tick).as_millis()).unwrap()
            });
        }
    }

    fn bots_go_on(&mut self, now: u64) {
        for bot in &mut self.bots {
            let alive_until = bot.dies_at.unwrap_or(u64::MAX).min(now);
            while bot.to_identify.first().is_some_and(|(at, _)| *at <= alive_until) {
                self.identified.push(bot.to_identify.remove(0));
            }
        }
        let (dead, living) = std::mem::take(&mut self.bots)
            .into_iter()
            .partition(|bot: &Bot| bot.dies_at.is_some_and(|at| at <= now));
        self.bots = living;
        for bot in dead {
            self.inbox.push(Request::Worker(WorkerEvent::Gone {
                worker: bot.worker,
                exit: Exit::Code(1),
                last_lines: Vec::new(),
            }));
        }
    }

    /// Some say that they are connected, although nobody asks them to.
    fn some_beat(&mut self) {
        for bot in &self.bots {
            for (shard, session) in &bot.sessions {
                let waits = bot.to_identify.iter().any(|(_, other)| other == shard);
                if waits || self.rng.bool() {
                    continue;
                }
                let report = BeatReport {
                    latency: Some(0.04),
                    ..BeatReport::default()
                };
                let told = self
                    .fleet
                    .beat(&Caller::External, *session, report, self.clock.now());
                assert!(told.is_ok());
            }
        }
    }

    fn manager_dies(&mut self) {
        self.inbox.clear();
        let away = self.ms() + self.rng.u64(50..3_000);
        self.time.store(away, Ordering::Relaxed);
        self.bots_go_on(away);
        self.inbox.clear();
        self.clock = Clock::start_virtual(self.time);
        let living = self.bots.iter().map(|bot| (bot.credential.clone(), bot.pid));
        let living = Living(living.collect());
        let (settings, seed) = (Arc::clone(&self.settings), self.rng.u64(..));
        self.fleet = Fleet::restore(
            settings,
            self.clock,
            Dice::Seeded(seed),
            &living,
            self.saved.clone(),
        );
    }

    #[track_caller]
    fn assert_order(&mut self, max_concurrency: u32, seed: u64) {
        self.identified.sort_unstable();
        let mut last: BTreeMap<u32, (u64, ShardId)> = BTreeMap::new();
        for (at, shard) in &self.identified {
            let before = last.insert(shard.bucket(max_concurrency), (*at, *shard));
            if let Some((earlier, other)) = before {
                assert!(
                    at - earlier >= 5_000,
                    "seed {seed}: {other} at {earlier}, {shard} at {at}"
                );
            }
        }
    }
}

#[test]
fn however_long_bots_log_in_no_two_identify_within_five_seconds_in_a_bucket() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (max_concurrency, each) = (rng.u32(1..5), rng.u32(1..5));
        let shards = rng.u32(1..13);
        let mut den = Den::new(seed, shards, each, max_concurrency, (1_000, 1_000));
        den.life = Some(|rng| (rng.u32(..3) == 0).then(|| rng.u64(100..60_000)));
        for _ in 0..20 {
            den.run(rng.u64(1_000..15_000));
            if rng.u32(..4) == 0 {
                den.manager_dies();
            }
            den.some_beat();
        }
        den.life = None;
        for bot in &mut den.bots {
            bot.dies_at = None;
        }
        den.run(600 * SECOND);
        den.assert_order(max_concurrency, seed);
        assert_eq!(den.fleet.table.leases().count(), shards as usize, "seed {seed}");
        assert_eq!(
            den.fleet
                .live
                .iter()
                .filter(|shard| den.fleet.table.lease(*shard).unwrap().heard)
                .count(),
            shards as usize,
            "seed {seed}"
        );
        let held: usize = den.bots.iter().map(|bot| bot.sessions.len()).sum();
        assert_eq!(
            held, shards as usize,
            "seed {seed}: nobody runs beside the leases"
        );
        assert!(den.bots.iter().all(|bot| bot.to_identify.is_empty()));
    }
}

#[test]
fn a_bot_that_ends_at_once_gets_no_more_starts_than_its_share() {
    let mut den = Den::new(7, 1, 1, 1, (100, 100));
    den.life = Some(|_| Some(1_000));
    den.run(20 * HOUR);
    assert_eq!(den.starts, 25);
    let told = den
        .alerts
        .iter()
        .filter(|alert| alert.text.contains("its share is 25 %"));
    assert_eq!(told.count(), 1);
    assert_eq!(den.fleet.over_their_share().len(), 1);
}

#[test]
fn a_start_that_is_not_durable_leases_and_spends_nothing() {
    let mut den = Den::new(1, 2, 2, 2, (100, 100));
    let turn = den.take_turn();
    assert!(
        turn.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Start { .. }))
    );
    let now = den.clock.now();
    let left = den.fleet.undo(turn, "the disk is full", now);
    assert!(!left.iter().any(|effect| matches!(effect, Effect::Start { .. })));
    assert_eq!(den.fleet.table.leases().count(), 0);
    assert_eq!(den.fleet.starts_view().remaining, Some(100));
    assert!(den.fleet.starts_view().by_worker.is_empty());
    den.run(60 * SECOND);
    assert_eq!((den.starts, den.fleet.table.leases().count()), (1, 2));
}
