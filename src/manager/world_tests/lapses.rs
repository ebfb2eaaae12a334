//! Who is told of, and who counts, when leases lapse together: a fleet whose
//! processes ask for their slots and never beat.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shardman_core::WorkerId;
use shardman_core::reconcile::StopCause;
use shardman_core::timeline::Kind;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::manager::alert::AlertKind;
use crate::manager::fleet::{Dice, Effect, Fleet, Note, Run};
use crate::manager::handle::{Caller, ConnectRequest, IdentifyPlan};
use crate::manager::keys::run_of;
use crate::manager::request::Request;
use crate::manager::settings::{PoolSettings, Register, RestartRule, Settings, StartTerms};
use crate::store::{ProcessId, Saved};
use crate::supervisor::{self, Exit, Processes, WorkerEvent};

const LAPSE: Duration = Duration::from_secs(5);

struct Nobody;

impl Processes for Nobody {
    fn is_alive(&self, _: &ProcessId) -> bool {
        false
    }

    fn find(&self, _: &str) -> Option<ProcessId> {
        None
    }

    fn lives(&self, _: &str) -> bool {
        false
    }
}

struct Den {
    time: &'static AtomicU64,
    fleet: Fleet,
    clock: Clock,
    inbox: Vec<Request>,
    children: Vec<Caller>,
    stopped: Vec<WorkerId>,
    alerts: Vec<(AlertKind, String)>,
    rested: usize,
}

impl Den {
    fn of_pool(size: u32, restart: RestartRule) -> Self {
        let of_discord = Settings::leases_only(1, LAPSE, "nowhere".into());
        let settings = of_discord.of_pool(&PoolSettings {
            pool: "jobs".parse().unwrap(),
            command: Some("run".to_owned()),
            size,
            max_seconds: LAPSE,
            grace: Duration::from_secs(1),
            register: Register::Connect,
            restart,
            start: StartTerms::default(),
        });
        let time: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_700_000_000_000)));
        let (clock, dice) = (Clock::start_virtual(time), Dice::Seeded(1));
        let saved = Saved::default();
        Self {
            time,
            fleet: Fleet::restore_pool(Arc::new(settings), clock, dice, &Nobody, saved),
            clock,
            inbox: Vec::new(),
            children: Vec::new(),
            stopped: Vec::new(),
            alerts: Vec::new(),
            rested: 0,
        }
    }

    /// One of `discord`, with children that start for one shard each.
    fn of_discord(shards: u32) -> Self {
        let mut den = Self::of_pool(1, RestartRule::Always);
        let mut settings = Settings::leases_only(shards, LAPSE, "nowhere".into());
        settings.max_workers = None;
        settings.shards_per_worker = Some(1);
        let (clock, dice) = (den.clock, Dice::Seeded(1));
        den.fleet = Fleet::restore(Arc::new(settings), clock, dice, &Nobody, Saved::default());
        den
    }

    fn connect(&mut self, caller: Caller) {
        let (reply, _) = oneshot::channel();
        let request = ConnectRequest {
            caller,
            identify: IdentifyPlan::Ask,
            idempotency_key: None,
        };
        self.inbox.push(Request::Connect { request, reply });
    }

    fn turn(&mut self) {
        let turn = self.fleet.turn(std::mem::take(&mut self.inbox), self.clock.now());
        let rested = |note: &&Note| note.event.kind == Kind::WorkerResting;
        self.rested += turn.notes.iter().filter(rested).count();
        for effect in turn.effects {
            match effect {
                Effect::Start {
                    worker, credential, ..
                } => {
                    let run = run_of(&supervisor::hash(credential.as_bytes())).unwrap();
                    self.children.push(Caller::Child { worker, run });
                }
                Effect::Alert(alert) | Effect::AlertOn(_, alert) => {
                    self.alerts.push((alert.kind, alert.text));
                }
                Effect::Stop { worker, cause } => {
                    assert_eq!(cause, StopCause::LeaseLapsed);
                    self.stopped.push(worker);
                }
                Effect::Adopt { .. } | Effect::Bury { .. } => unreachable!("nobody was there before"),
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.time.fetch_add(ms, Ordering::Relaxed);
        self.turn();
    }

    fn end(&mut self, worker: &WorkerId, exit: Exit) {
        let worker = worker.clone();
        self.inbox.push(Request::Worker(WorkerEvent::Gone {
            worker,
            exit,
            last_lines: Vec::new(),
        }));
    }

    /// An external worker and as many children as there are places, each with
    /// one slot, fall silent in one moment.
    fn all_lapse(mut self) -> Vec<(AlertKind, String)> {
        self.connect(Caller::External);
        self.turn();
        self.turn();
        for child in self.children.clone() {
            self.connect(child);
        }
        self.turn();
        assert_eq!(self.fleet.table.leases().count(), self.children.len() + 1);
        self.alerts.clear();
        self.pass(2 * LAPSE);
        self.alerts
    }
}

#[test]
fn the_one_word_for_children_that_lapse_together_takes_no_external_workers_place() {
    let lone = |kind, text: &str| (kind, text.to_owned());
    for (den, of_external) in [
        (
            Den::of_discord(9),
            lone(AlertKind::Disconnect, "no beat for 10 s"),
        ),
        (
            Den::of_pool(9, RestartRule::Always),
            lone(
                AlertKind::Disconnect,
                "lease lost on slot 0 of jobs: no beat for 10 s",
            ),
        ),
    ] {
        let alerts = den.all_lapse();
        assert_eq!(alerts.len(), 2, "{alerts:#?}");
        assert_eq!(alerts[0], of_external);
        let (kind, text) = &alerts[1];
        assert_eq!(*kind, AlertKind::Silent);
        assert!(text.contains("workers lapsed within"), "{text}");
    }
}

#[test]
fn who_rests_is_no_worker_that_could_fall_silent_and_keeps_no_other_waiting() {
    // Five of eight that run are many, five of forty would not be.
    let mut den = Den::of_pool(40, RestartRule::Never);
    den.turn();
    assert_eq!(den.children.len(), 40);
    for index in 8..40 {
        den.end(&WorkerId::from(&*format!("jobs-{index}")), Exit::Code(0));
    }
    den.turn();
    let resting = |den: &Den| {
        let workers = den.fleet.workers.values();
        workers.filter(|worker| worker.run == Run::Resting).count()
    };
    assert_eq!((resting(&den), den.rested), (32, 32), "and all of it is told");
    for child in den.children.clone().into_iter().take(5) {
        den.connect(child);
    }
    den.turn();
    den.pass(2 * LAPSE);
    let words = den.fleet.brake_words().unwrap();
    assert!(words.starts_with("5 of 8 workers lapsed"), "{words}");
    assert_eq!(den.stopped, [], "kills are held");
    den.pass(LAPSE);
    den.pass(LAPSE);
    assert_eq!(den.stopped.len(), 4, "a wave");
    for worker in den.stopped.clone() {
        den.end(&worker, Exit::Signal(9));
    }
    den.turn();
    assert_eq!(resting(&den), 36, "killed, and not started again");
    den.pass(Duration::from_secs(1));
    assert_eq!(
        den.stopped.len(),
        5,
        "nobody waits for those that do not come back"
    );
}
