//! A virtual worker's side of the gateway.

use shardman_core::Tick;
use shardman_core::close_code::{CloseMeaning, meaning};
use shardman_core::wire::ShardState;
use shardman_sim::world::{Heard, Link};

use super::super::host::{Event, Host, Pid, Place};
use super::{Ask, Crash, Timer};
use crate::supervisor::Exit;

/// A permit that waited longer to be read is not used.
const STALE_MS: u64 = 3_000;

impl Host {
    /// A link of some shard that has a gateway session.
    pub(in crate::manager::world_tests) fn some_link(&mut self) -> Option<Link> {
        let links: Vec<_> = self.links.keys().copied().collect();
        (!links.is_empty()).then(|| links[self.rng.usize(0..links.len())])
    }

    pub(in crate::manager::world_tests) fn heard(&mut self, link: Link, heard: Heard) {
        let Some(place) = self.links.get(&link).copied() else {
            return;
        };
        if self.is_frozen(place.pid) {
            self.put_off(place, || Event::Heard(link, heard));
            return;
        }
        if matches!(heard, Heard::Closed(_)) {
            self.links.remove(&link);
        }
        self.timer(place, Timer::Deadline);
        let now = self.now;
        let Some(held) = self.held(place).filter(|held| held.link == Some(link)) else {
            return;
        };
        match heard {
            Heard::Hello => match held.session.clone() {
                Some(session) => {
                    self.discord.resume(link, &session, 1, now);
                    self.report(place, ShardState::Resuming, None);
                }
                None => self.ask_permit(place),
            },
            Heard::Ready { session_id } => {
                held.session = Some(session_id);
                self.last_ready = now;
                self.active(place);
            }
            Heard::Resumed => self.active(place),
            Heard::InvalidSession { resumable } => {
                if !resumable {
                    held.session = None;
                }
                self.unlink(place);
                self.report(place, ShardState::Disconnected, None);
                let wait = self.rng.u64(1_000..=5_000).max(self.back_off(place));
                self.after(wait, Event::Timer(place, Timer::Open));
            }
            Heard::Closed(code) => {
                if meaning(code) == CloseMeaning::NewSession {
                    held.session = None;
                }
                self.unlink(place);
                self.report(place, ShardState::Disconnected, code);
                let wait = self.back_off(place);
                self.after(wait, Event::Timer(place, Timer::Open));
            }
        }
    }

    pub(super) fn permitted(&mut self, place: Place, sent: Tick) {
        let now = self.now;
        self.timer(place, Timer::Deadline);
        let Some(held) = self.held(place) else { return };
        let Some(link) = held.link.filter(|_| held.asking) else {
            return;
        };
        if now.ms_since(sent) > STALE_MS {
            return self.ask_permit(place);
        }
        held.asking = false;
        let shard = held.shard;
        self.discord.identify(link, shard, now);
        self.report(place, ShardState::Identifying, None);
        self.doom(place.pid, Crash::AfterIdentify);
    }

    pub(super) fn ask_permit(&mut self, place: Place) {
        let Some(held) = self.held(place) else { return };
        held.asking = true;
        let session = held.connection.session;
        self.first_permit_asked.get_or_insert(self.now);
        let caller = self.processes[&place.pid].caller.clone();
        self.send(place, Ask::Identify { caller, session });
    }

    pub(super) fn active(&mut self, place: Place) {
        let now = self.now;
        if let Some(held) = self.held(place) {
            held.active_since = Some(now);
        }
        self.report(place, ShardState::Ready, None);
        self.doom(place.pid, Crash::AfterReady);
    }

    /// A process that crashes at this point dies within moments.
    pub(super) fn doom(&mut self, pid: Pid, at: Crash) {
        let process = self.processes.get_mut(&pid).expect("it has just acted");
        if self.crashing.get(&process.worker) == Some(&at) && !process.doomed {
            process.doomed = true;
            let soon = match at {
                // No READY is as fast.
                Crash::AfterIdentify => self.rng.u64(1..=5),
                Crash::AfterReady => self.rng.u64(1..=100),
            };
            self.after(soon, Event::Exit(pid, Exit::Code(1)));
        }
    }

    pub(super) fn open(&mut self, place: Place) {
        let now = self.now;
        let Some(held) = self.held(place) else { return };
        if held.silent || held.link.is_some() {
            return;
        }
        let resumes = held.session.is_some();
        let link = self.discord.open(resumes, now);
        self.links.insert(link, place);
        self.held(place).expect("it is still held").link = Some(link);
        if !resumes {
            self.report(place, ShardState::Waiting, None);
        }
    }

    /// The manager wants another connection.
    pub(super) fn reconnect(&mut self, place: Place) {
        if self.held(place).is_some_and(|held| held.link.is_some()) {
            self.unlink(place);
            self.report(place, ShardState::Disconnected, None);
            let wait = self.back_off(place);
            self.after(wait, Event::Timer(place, Timer::Open));
        }
    }

    /// Leaves the gateway, and the line with it.
    pub(super) fn unlink(&mut self, place: Place) {
        let now = self.now;
        let Some(held) = self.held(place) else { return };
        held.asking = false;
        if let Some(link) = held.link.take() {
            self.links.remove(&link);
            self.discord.hang_up(link, Some(4000), now);
        }
        self.drop_calls(|other| *other == place);
    }

    pub(super) fn back_off(&mut self, place: Place) -> u64 {
        let (now, random) = (self.now, self.rng.f64());
        let Some(held) = self.held(place) else { return 0 };
        let uptime = held.active_since.take().map_or(0, |since| now.ms_since(since));
        if uptime >= 60_000 {
            held.attempts = 0;
            return (random * 500.0) as u64;
        }
        let ceiling = (1_000u64 << held.attempts.min(16)).min(120_000);
        held.attempts += 1;
        ((ceiling as f64 * random) as u64).max(250)
    }
}
