//! The manager of a virtual host: its turns, as `Manager::turn` has them, the
//! requests that wait for one, and its deaths.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use shardman_core::Tick;
use shardman_core::identify::Permit;
use shardman_core::wire::Directive;
use tokio::sync::oneshot;

use super::super::worker::{Answer, Ask};
use super::{DiesAt, Event, Host, Pid, Place};
use crate::clock::Clock;
use crate::manager::fleet::{Dice, Effect, Fleet, Turn};
use crate::manager::handle::{ConnectError, ConnectRequest, Connection, IdentifyError, IdentifyPlan};
use crate::manager::keys;
use crate::manager::request::Request;
use crate::store::{MemoryStore, ProcessId};
use crate::supervisor::{self, Processes};

/// As `POST /identify` has it.
const IDENTIFY_POLL_MS: u64 = 25_000;

/// A request that the manager has not answered.
pub(super) enum Call {
    Connect(oneshot::Receiver<Result<Connection, ConnectError>>),
    Identify(oneshot::Receiver<Result<Permit, IdentifyError>>),
}

struct Waking {
    call: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push(self.call);
    }
}

pub(super) struct Manager {
    pub(super) fleet: Fleet,
    pub(super) clock: Clock,
    /// When its next turn is due, in the world's time.
    pub(super) due: Option<Tick>,
}

impl Host {
    /// `kill -9` of the manager; another one comes later.
    pub(in crate::manager::world_tests) fn kill_manager(&mut self, back_after_ms: u64) {
        self.manager = None;
        self.inbox.clear();
        self.collect_answers();
        // What was on its way from its supervisor and from Discord is lost.
        self.events.retain(|_, event| {
            !matches!(
                event,
                Event::StartManager
                    | Event::AskDiscord
                    | Event::DiscordSays { .. }
                    | Event::Gone(..)
                    | Event::Started(..)
            )
        });
        self.after(back_after_ms, Event::StartManager);
    }

    /// The manager's call was answered, or will never be.
    pub(in crate::manager::world_tests) fn drop_calls(&mut self, of: impl Fn(&Place) -> bool) {
        self.calls.retain(|_, (place, _)| !of(place));
    }

    /// Something that only a running manager gets to know.
    pub(super) fn tell(&mut self, request: Request) {
        if self.manager.is_some() {
            self.inbox.push(request);
        }
    }

    pub(super) fn start_manager(&mut self) {
        let clock = Clock::start_virtual(self.wall_ms);
        let processes = Living(
            self.processes
                .iter()
                .map(|(pid, process)| (process.credential.clone(), *pid))
                .collect(),
        );
        let fleet = Fleet::restore(
            Arc::clone(&self.settings),
            clock,
            Dice::Seeded(self.rng.u64(..)),
            &processes,
            self.saved.clone(),
        );
        self.manager = Some(Manager {
            fleet,
            clock,
            due: None,
        });
        self.turn();
        self.after(100, Event::AskDiscord);
    }

    pub(super) fn request(&mut self, place: Place, ask: Ask) {
        let Some(manager) = &mut self.manager else {
            let way = self.one_way();
            let away = match ask {
                Ask::Beat { .. } => Answer::BeatAway,
                Ask::Connect { .. } | Ask::Identify { .. } | Ask::Disconnect { .. } => Answer::Away,
            };
            return self.after(way, Event::Answer(place, away));
        };
        let now = manager.clock.now();
        match ask {
            Ask::Beat {
                caller,
                session,
                report,
                sent,
            } => {
                let told = manager.fleet.beat(&caller, session, *report, now);
                let reconnect = told
                    .as_ref()
                    .is_ok_and(|told| told.directive == Directive::Reconnect);
                let kept = told.is_ok();
                let way = self.one_way();
                let answer = Answer::Beaten {
                    kept,
                    reconnect,
                    sent,
                };
                self.after(way, Event::Answer(place, answer));
            }
            Ask::Connect { caller, key } => {
                let (reply, receiver) = oneshot::channel();
                self.inbox.push(Request::Connect {
                    request: ConnectRequest {
                        caller,
                        identify: IdentifyPlan::Ask,
                        idempotency_key: Some(key),
                    },
                    reply,
                });
                self.call(place, Call::Connect(receiver));
            }
            Ask::Identify { .. } if !self.processes.contains_key(&place.pid) => {}
            Ask::Identify { caller, session } => {
                let (reply, receiver) = oneshot::channel();
                self.inbox.push(Request::Identify {
                    caller,
                    session,
                    reply,
                });
                let call = self.call(place, Call::Identify(receiver));
                self.after(IDENTIFY_POLL_MS, Event::PollOver(call));
            }
            Ask::Disconnect { caller, session } => {
                let (reply, _) = oneshot::channel();
                self.inbox.push(Request::Disconnect {
                    caller,
                    session,
                    reply,
                });
            }
        }
    }

    pub(super) fn call(&mut self, place: Place, call: Call) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        self.calls.insert(number, (place, call));
        // Registers who is to be woken.
        self.look_at(number);
        number
    }

    pub(super) fn look_at(&mut self, number: u64) {
        let Some((place, call)) = self.calls.get_mut(&number) else {
            return;
        };
        let place = *place;
        let waker = Waker::from(Arc::new(Waking {
            call: number,
            woken: Arc::clone(&self.woken),
        }));
        let mut context = Context::from_waker(&waker);
        let answer = match call {
            Call::Connect(receiver) => match Pin::new(receiver).poll(&mut context) {
                Poll::Pending => return,
                Poll::Ready(Ok(Ok(connection))) => Answer::Connected(Box::new(connection)),
                Poll::Ready(Ok(Err(ConnectError::NoShardFree))) => Answer::NoShardFree,
                Poll::Ready(Ok(Err(ConnectError::Unavailable { .. }))) => Answer::Busy,
                Poll::Ready(Ok(Err(other))) => panic!("no call here names a pool: {other}"),
                Poll::Ready(Err(_)) => Answer::Away,
            },
            Call::Identify(receiver) => match Pin::new(receiver).poll(&mut context) {
                Poll::Pending => return,
                Poll::Ready(Ok(Ok(_))) => Answer::Permit { sent: self.now },
                Poll::Ready(Ok(Err(_))) => Answer::Lost,
                Poll::Ready(Err(_)) if self.manager.is_none() => Answer::Away,
                Poll::Ready(Err(_)) => Answer::Lost,
            },
        };
        self.calls.remove(&number);
        let way = self.one_way();
        self.after(way, Event::Answer(place, answer));
    }

    pub(super) fn collect_answers(&mut self) {
        loop {
            let woken = std::mem::take(&mut *self.woken.lock().unwrap());
            if woken.is_empty() {
                return;
            }
            for call in woken {
                self.look_at(call);
            }
        }
    }

    /// One turn, as `Manager::turn` has it.
    pub(super) fn turn(&mut self) {
        let Some(manager) = &mut self.manager else { return };
        let now = manager.clock.now();
        let Turn {
            writes,
            answers,
            effects,
            notes: _,
        } = manager.fleet.turn(std::mem::take(&mut self.inbox), now);
        let due = manager.fleet.poll_timeout(now);
        manager.due = due.map(|due| self.now + due.since(now));
        let dies_at = self.dies_at.take();
        if dies_at == Some(DiesAt::BeforeCommit) {
            drop((writes, answers));
            return self.kill_manager(2_000);
        }
        for write in writes {
            MemoryStore::apply(&mut self.saved, write);
        }
        if dies_at == Some(DiesAt::AfterCommit) {
            drop(answers);
            return self.kill_manager(2_000);
        }
        for answer in answers {
            answer.send();
        }
        for effect in effects {
            self.act(effect);
        }
        self.collect_answers();
        if dies_at == Some(DiesAt::AfterEffects) {
            self.kill_manager(2_000);
        }
    }

    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Start {
                worker,
                shards,
                credential,
                ..
            } => {
                self.numbers += 1;
                let pid = Pid::try_from(self.numbers).unwrap();
                let hash = supervisor::hash(credential.as_bytes());
                let run = keys::run_of(&hash).unwrap();
                self.after(5, Event::Started(worker.clone(), pid));
                self.spawn(pid, worker, shards, hash, run);
            }
            Effect::Stop { worker, .. } => {
                if let Some(pid) = self.pid_of(&worker) {
                    self.stop(pid);
                }
            }
            Effect::Alert(alert) | Effect::AlertOn(_, alert) => self.alerts.push((self.now, alert)),
            Effect::Adopt { .. } => {}
            Effect::Bury { .. } => unreachable!("a virtual process leaves nothing behind"),
        }
    }
}

pub(super) fn process_id(pid: Pid) -> ProcessId {
    ProcessId {
        pid,
        start_time: 0,
        boot_id: String::new(),
    }
}

/// The processes that live, by the hash of their credentials.
struct Living(BTreeMap<String, Pid>);

impl Processes for Living {
    fn is_alive(&self, process: &ProcessId) -> bool {
        self.0.values().any(|pid| *pid == process.pid)
    }

    fn find(&self, credential: &str) -> Option<ProcessId> {
        self.0.get(credential).copied().map(process_id)
    }

    fn lives(&self, credential: &str) -> bool {
        self.0.contains_key(credential)
    }
}
