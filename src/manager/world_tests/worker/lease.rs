//! A virtual worker's leases: from `/connect` over the beats to the end.

use std::collections::VecDeque;

use shardman_core::Tick;
use shardman_core::wire::{ResumePoint, ShardState};

use super::super::host::{Event, Host, Place};
use super::{Ask, Held, Timer};
use crate::manager::handle::{BeatReport, Connection};

impl Host {
    pub(super) fn connected(&mut self, place: Place, connection: Connection) {
        let deadline = Tick(self.now.0 + (connection.max_seconds * 800.0) as u64);
        let Some(process) = self.processes.get_mut(&place.pid) else {
            return;
        };
        let slot = &mut process.slots[place.slot];
        if slot.lease != place.lease || slot.held.is_some() {
            return;
        }
        slot.held = Some(Held {
            shard: connection.shard,
            session: connection.resume.as_ref().map(|point| point.session_id.clone()),
            connection,
            deadline,
            silent: false,
            told: VecDeque::new(),
            current: (ShardState::Starting, None),
            in_flight: false,
            retry: false,
            beats: 0,
            answered: false,
            link: None,
            asking: false,
            active_since: None,
            attempts: 0,
        });
        self.beat(place);
    }

    /// A beat was answered: the lease is still ours.
    pub(super) fn kept(&mut self, place: Place, sent: Tick) {
        let now = self.now;
        let Some(held) = self.held(place) else { return };
        held.in_flight = false;
        let lease_ms = (held.connection.max_seconds * 800.0) as u64;
        held.deadline = held.deadline.max(Tick(sent.0 + lease_ms));
        let (deadline, beats) = (held.deadline, held.beats);
        // On a grid where they are far apart: beats that come together cost the
        // manager one turn, and a day fits into a second.
        let due = sent.0 + (held.connection.heartbeat_seconds * 1_000.0) as u64;
        let grid = if held.connection.heartbeat_seconds < 10.0 {
            1
        } else {
            5_000
        };
        let next = Tick(due / grid * grid);
        let opens = !held.answered || held.silent && now < deadline;
        held.answered = true;
        held.silent &= !opens;
        if held.told.is_empty() {
            self.after(next.ms_since(now), Event::Timer(place, Timer::Beat(beats)));
        } else {
            self.beat(place);
        }
        if opens {
            self.open(place);
        }
    }

    /// The manager did not answer.
    pub(super) fn away(&mut self, place: Place) {
        let timer = if self.held(place).is_some() {
            Timer::AskAgain
        } else {
            Timer::Acquire
        };
        let wait = self.rng.u64(250..=2_000);
        self.after(wait, Event::Timer(place, timer));
    }

    pub(super) fn beat_away(&mut self, place: Place) {
        let now = self.now;
        let Some(held) = self.held(place) else { return };
        held.in_flight = false;
        // What was not answered is told again before anything newer.
        let current = held.current;
        held.told.push_front(current);
        held.retry = true;
        let (beats, left) = (held.beats, held.deadline.ms_since(now));
        self.after(500, Event::Timer(place, Timer::Beat(beats)));
        self.after(left, Event::Timer(place, Timer::Deadline));
    }

    pub(super) fn lose(&mut self, place: Place) {
        let Some(process) = self.processes.get_mut(&place.pid) else {
            return;
        };
        let slot = &mut process.slots[place.slot];
        if slot.lease != place.lease {
            return;
        }
        if slot.held.is_none() {
            return;
        }
        let lease = slot.lease + 1;
        self.unlink(place);
        self.give_up(place);
        let slot = &mut self.processes.get_mut(&place.pid).expect("it was here").slots[place.slot];
        slot.held = None;
        slot.lease = lease;
        let next = Place { lease, ..place };
        let wait = self.rng.u64(250..=1_000);
        self.after(wait, Event::Timer(next, Timer::Acquire));
    }

    /// The gateway is left: what was lost is given up.
    fn give_up(&mut self, place: Place) {
        let Some(process) = self.processes.get(&place.pid) else {
            return;
        };
        let caller = process.caller.clone();
        let Some(held) = self.held(place) else { return };
        let session = held.connection.session;
        self.send(place, Ask::Disconnect { caller, session });
    }

    pub(super) fn report(&mut self, place: Place, state: ShardState, code: Option<u16>) {
        let Some(held) = self.held(place) else { return };
        held.told.push_back((state, code));
        if !held.in_flight && !held.retry {
            self.beat(place);
        }
    }

    /// Sends the next beat. One is under way at a time.
    pub(super) fn beat(&mut self, place: Place) {
        let sent = self.now;
        let Some(process) = self.processes.get(&place.pid) else {
            return;
        };
        let caller = process.caller.clone();
        let Some(held) = self.held(place).filter(|held| !held.in_flight) else {
            return;
        };
        if let Some(next) = held.told.pop_front() {
            held.current = next;
        }
        held.in_flight = true;
        held.retry = false;
        held.beats += 1;
        let (shard, active_since) = (held.shard, held.active_since);
        let event = self
            .traffic
            .as_mut()
            .zip(active_since)
            .map(|(traffic, since)| traffic.last(shard, since, sent));
        let lag = self.lagging.get(&self.processes[&place.pid].worker);
        let lag = self.traffic.as_ref().map(|_| lag.copied().unwrap_or(0.0));
        let Some(held) = self.held(place) else { return };
        let report = BeatReport {
            state: Some(held.current.0),
            close_code: held.current.1,
            epoch: Some(held.connection.epoch),
            number: Some(held.beats),
            last_event_age: event.map(|event| sent.since(event).as_secs_f64()),
            loop_lag: lag,
            gateway: held.session.clone().map(|session_id| ResumePoint {
                session_id,
                sequence: 1,
                resume_url: "wss://virtual".to_owned(),
                guild_count: None,
            }),
            ..BeatReport::default()
        };
        let session = held.connection.session;
        self.send(
            place,
            Ask::Beat {
                caller,
                session,
                report: Box::new(report),
                sent,
            },
        );
    }
}
