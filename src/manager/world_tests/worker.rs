//! Virtual workers. They behave like the bundled one: a lease for each place,
//! beats one after the other, resume before identify, a permit before IDENTIFY,
//! a back-off before each connection, and a deadline of their own.

use std::collections::VecDeque;

use shardman_core::wire::ShardState;
use shardman_core::{SessionId, ShardId, Tick, WorkerId};
use shardman_sim::world::Link;

use super::host::{Event, Host, Pid, Place};
use crate::manager::handle::{BeatReport, Caller, Connection};
use crate::supervisor::Exit;

mod gateway;
mod lease;

/// When a process crashes, each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    AfterIdentify,
    AfterReady,
}

/// What a worker asks the manager for.
#[derive(Debug)]
pub(super) enum Ask {
    Connect {
        caller: Caller,
        key: String,
    },
    Beat {
        caller: Caller,
        session: SessionId,
        report: Box<BeatReport>,
        sent: Tick,
    },
    Identify {
        caller: Caller,
        session: SessionId,
    },
    Disconnect {
        caller: Caller,
        session: SessionId,
    },
}

#[derive(Debug)]
pub(super) enum Answer {
    Connected(Box<Connection>),
    NoShardFree,
    Busy,
    /// No manager listens, or it ended before it answered; so for a beat.
    Away,
    BeatAway,
    Beaten {
        kept: bool,
        reconnect: bool,
        sent: Tick,
    },
    Permit {
        sent: Tick,
    },
    NotYet,
    /// The lease is no more.
    Lost,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    Acquire,
    /// The next beat, unless more than so many were sent.
    Beat(u64),
    AskAgain,
    Open,
    Deadline,
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) worker: WorkerId,
    /// The hash of its credential.
    pub(super) credential: String,
    caller: Caller,
    slots: Vec<Slot>,
    frozen: bool,
    backlog: Vec<Event>,
    doomed: bool,
}

impl Process {
    pub(super) fn holds(&self) -> bool {
        self.slots.iter().any(|slot| slot.held.is_some())
    }
}

#[derive(Debug, Default)]
struct Slot {
    lease: u64,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    shard: ShardId,
    connection: Connection,
    deadline: Tick,
    silent: bool,
    told: VecDeque<(ShardState, Option<u16>)>,
    current: (ShardState, Option<u16>),
    in_flight: bool,
    /// The last beat was not answered; the next one waits for its timer.
    retry: bool,
    beats: u64,
    answered: bool,
    link: Option<Link>,
    /// It wants a permit for that connection.
    asking: bool,
    /// Discord's session, if there is one to resume.
    session: Option<String>,
    active_since: Option<Tick>,
    attempts: u32,
}

impl Host {
    pub(super) fn spawn(&mut self, pid: Pid, worker: WorkerId, shards: u32, credential: String, run: u64) {
        let caller = Caller::Child {
            worker: worker.clone(),
            run,
        };
        let process = Process {
            worker,
            credential,
            caller,
            slots: (0..shards).map(|_| Slot::default()).collect(),
            frozen: false,
            backlog: Vec::new(),
            doomed: false,
        };
        self.processes.insert(pid, process);
        let starts = self.rng.u64(20..=60);
        for slot in 0..shards as usize {
            let place = Place { pid, slot, lease: 0 };
            self.after(starts, Event::Timer(place, Timer::Acquire));
        }
    }

    /// The process is told to stop. One that stands still is killed.
    pub(super) fn stop(&mut self, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else {
            return;
        };
        if process.frozen {
            return self.after(500, Event::Exit(pid, Exit::Signal(9)));
        }
        let caller = process.caller.clone();
        for slot in 0..process.slots.len() {
            let Some(place) = self.place(pid, slot) else {
                continue;
            };
            let Some(held) = self.held(place) else { continue };
            let session = held.connection.session;
            if let Some(link) = held.link.take() {
                self.discord.hang_up(link, Some(4000), self.now);
            }
            let caller = caller.clone();
            self.send(place, Ask::Disconnect { caller, session });
        }
        self.after(100, Event::Exit(pid, Exit::Code(0)));
    }

    /// The process ends, and its connections with it.
    pub(super) fn exit(&mut self, pid: Pid, exit: Exit) {
        let Some(process) = self.processes.remove(&pid) else {
            return;
        };
        let links = process.slots.iter().filter_map(|slot| slot.held.as_ref()?.link);
        for link in links {
            self.links.remove(&link);
            self.discord.hang_up(link, None, self.now);
        }
        self.drop_calls(|place| place.pid == pid);
        let words = vec![format!("last words of {}", process.worker)];
        let seen = self.rng.u64(1..=10);
        if self.is_managed() {
            self.after(seen, Event::Gone(process.worker, exit, words));
        }
    }

    /// SIGSTOP, or SIGCONT.
    pub(super) fn freeze(&mut self, pid: Pid, frozen: bool) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        process.frozen = frozen;
        let backlog = std::mem::take(&mut process.backlog);
        let slots = process.slots.len();
        let links: Vec<_> = process
            .slots
            .iter()
            .filter_map(|slot| slot.held.as_ref()?.link)
            .collect();
        for link in links {
            self.discord.freeze(link, frozen);
        }
        if !frozen {
            // The deadline is looked at before anything else.
            for slot in 0..slots {
                if let Some(place) = self.place(pid, slot) {
                    self.timer(place, Timer::Deadline);
                }
            }
            for event in backlog {
                self.after(0, event);
            }
        }
    }

    pub(super) fn timer(&mut self, place: Place, timer: Timer) {
        if self.put_off(place, || Event::Timer(place, timer)) {
            return;
        }
        let now = self.now;
        if let Timer::Acquire = timer {
            let Some(process) = self.processes.get(&place.pid) else {
                return;
            };
            if process.slots[place.slot].lease == place.lease {
                let caller = process.caller.clone();
                let key = format!("{place:?}");
                self.send(place, Ask::Connect { caller, key });
            }
            return;
        }
        let Some(held) = self.held(place) else { return };
        match timer {
            Timer::Acquire => {}
            Timer::Beat(beats) => {
                if held.beats == beats {
                    self.beat(place);
                }
            }
            Timer::AskAgain => {
                if held.asking {
                    self.ask_permit(place);
                }
            }
            Timer::Open => self.open(place),
            Timer::Deadline => {
                if now < held.deadline || held.silent {
                    return;
                }
                held.silent = true;
                self.unlink(place);
                self.report(place, ShardState::Disconnected, None);
            }
        }
    }

    pub(super) fn answered(&mut self, place: Place, answer: Answer) {
        if self.is_frozen(place.pid) {
            self.put_off(place, || Event::Answer(place, answer));
            return;
        }
        match answer {
            Answer::Connected(connection) => self.connected(place, *connection),
            Answer::NoShardFree => {
                let wait = self.rng.u64(250..=2_000);
                self.after(wait, Event::Timer(place, Timer::Acquire));
            }
            Answer::Busy => {
                let wait = self.rng.u64(5_000..=6_000);
                self.after(wait, Event::Timer(place, Timer::Acquire));
            }
            Answer::Away => self.away(place),
            Answer::BeatAway => self.beat_away(place),
            Answer::Beaten { kept: false, .. } | Answer::Lost => self.lose(place),
            Answer::Beaten { reconnect, sent, .. } => {
                self.kept(place, sent);
                if reconnect {
                    self.reconnect(place);
                }
            }
            Answer::Permit { sent } => self.permitted(place, sent),
            Answer::NotYet => self.after(0, Event::Timer(place, Timer::AskAgain)),
        }
    }

    fn send(&mut self, place: Place, ask: Ask) {
        let way = self.one_way();
        self.after(way, Event::Request(place, ask));
    }

    /// Whether a process stands still: then it happens later.
    fn put_off(&mut self, place: Place, event: impl FnOnce() -> Event) -> bool {
        match self.processes.get_mut(&place.pid) {
            Some(process) if process.frozen => {
                process.backlog.push(event());
                true
            }
            Some(_) | None => false,
        }
    }

    fn is_frozen(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.frozen)
    }

    fn place(&self, pid: Pid, slot: usize) -> Option<Place> {
        let lease = self.processes.get(&pid)?.slots.get(slot)?.lease;
        Some(Place { pid, slot, lease })
    }

    fn held(&mut self, place: Place) -> Option<&mut Held> {
        let slot = self.processes.get_mut(&place.pid)?.slots.get_mut(place.slot)?;
        if slot.lease == place.lease {
            slot.held.as_mut()
        } else {
            None
        }
    }
}
