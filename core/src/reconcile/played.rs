//! The fleet played to its end: whatever children, externals and rescales do,
//! every planned shard is held once they stop, by no more children than may
//! run, and nobody is started and stopped for ever.

use proptest::prelude::*;

use super::{Action, StopCause};
use crate::rescale::Rescale;
use crate::tick::Tick;
use game::{Game, Holder, Run, SECOND, count};

mod game;

/// How long the last fault may be felt: a child that was deaf, one that backs
/// off, and a retirement after the other.
const PEACE: u64 = 900;

#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(u8),
    Dies {
        who: u8,
        rests: u16,
    },
    Halts(u8),
    TurnsDeaf(u8),
    Externals(u8),
    /// An operator wants its next run.
    Restart(u8),
    Rescale(u8),
    /// The next manager has other settings, and finds the children of the last.
    Settings {
        workers: u8,
        each: u8,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (1u8..90).prop_map(Event::Pass),
        6 => (any::<u8>(), 0u16..300).prop_map(|(who, rests)| Event::Dies { who, rests }),
        1 => any::<u8>().prop_map(Event::Halts),
        1 => any::<u8>().prop_map(Event::TurnsDeaf),
        2 => (0u8..10).prop_map(Event::Externals),
        2 => any::<u8>().prop_map(Event::Restart),
        3 => any::<u8>().prop_map(Event::Rescale),
        1 => (1u8..6, 1u8..6).prop_map(|(workers, each)| Event::Settings { workers, each }),
    ];
    proptest::collection::vec(event, 0..24)
}

impl Game {
    fn happen(&mut self, event: Event) {
        let running: Vec<u32> = self
            .children
            .iter()
            .filter(|(_, child)| child.run == Run::Running)
            .map(|(index, _)| *index)
            .collect();
        let who = |who: u8| running.get(usize::from(who) % running.len().max(1)).copied();
        match event {
            Event::Pass(seconds) => (0..seconds).for_each(|_| self.second()),
            Event::Dies { who: some, rests } => {
                if let Some(index) = who(some) {
                    let until = self.now + u32::from(rests) * SECOND;
                    self.end(index, Run::Resting { until });
                }
            }
            Event::Halts(some) => {
                if let Some(index) = who(some) {
                    self.end(index, Run::Halted);
                }
            }
            Event::TurnsDeaf(some) => {
                if let Some(index) = who(some) {
                    self.children.get_mut(&index).unwrap().deaf = true;
                }
            }
            Event::Externals(some) => {
                self.externals = u32::from(some);
                let mut left = self.externals;
                self.leases.retain(|_, (holder, _)| {
                    let stays = *holder != Holder::External || left > 0;
                    left -= u32::from(*holder == Holder::External && left > 0);
                    stays
                });
            }
            Event::Restart(some) => {
                if let Some(index) = who(some) {
                    let child = self.children.get_mut(&index).unwrap();
                    let gone = self.now + SECOND;
                    (child.run, child.at_once) = (Run::Stopping { gone }, true);
                }
            }
            Event::Rescale(number) => {
                let target = 1 + u32::from(number) % (self.workers * self.each);
                let fits = self.live.len() <= (self.workers * self.each) as usize;
                if fits {
                    self.rescale = Rescale::begin(&self.live, target, String::new());
                }
            }
            Event::Settings { workers, each } => {
                let (workers, each) = (u32::from(workers), u32::from(each));
                let most = self
                    .plan()
                    .total()
                    .max(self.rescale.as_ref().map_or(0, |rescale| rescale.target));
                if workers * each >= most {
                    (self.workers, self.each) = (workers, each);
                }
            }
        }
    }

    /// No more faults: whoever was halted is started by an operator, who was
    /// deaf dies.
    fn calm_down(&mut self) {
        for index in self.children.keys().copied().collect::<Vec<_>>() {
            let child = self.children.get_mut(&index).unwrap();
            if child.run == Run::Halted || child.deaf && child.run == Run::Running {
                let until = self.now;
                self.end(index, Run::Resting { until });
            }
        }
        let before = self.actions.len();
        (0..PEACE).for_each(|_| self.second());
        let needed: Vec<_> = self.actions[before..].to_vec();
        let after = self.actions.len();
        (0..PEACE).for_each(|_| self.second());
        assert_eq!(self.actions[after..], [], "it goes on for ever, after {needed:?}");
        let children = self.children.len();
        assert!(
            needed.len() <= 12 + 6 * children,
            "{} for {children}: {needed:?}",
            needed.len()
        );
        assert_eq!(self.rescale, None);
        assert!(self.free().is_empty(), "{:?} are never held", self.free());
        assert!(
            self.running() <= self.workers,
            "{} of {} run",
            self.running(),
            self.workers
        );
        if self.packs {
            let by_children = self
                .leases
                .values()
                .filter(|(holder, _)| matches!(holder, Holder::Child(_)));
            let enough = count(by_children.count()).div_ceil(self.each);
            let rooms = self
                .children
                .values()
                .filter(|child| child.run == Run::Running)
                .map(|child| child.capacity);
            let all_full_size = rooms.clone().all(|capacity| capacity >= self.each);
            assert!(
                self.running() <= enough || !all_full_size,
                "{} run, {enough} do",
                self.running()
            );
        }
    }
}

fn play(workers: u32, each: u32, shards: u32, packs: bool, events: &[Event]) -> Game {
    let mut game = Game::new(workers, each, shards, packs);
    for event in events {
        game.happen(*event);
    }
    game.calm_down();
    game
}

fn sizes(game: &Game) -> Vec<u32> {
    let running = game.children.values().filter(|child| child.run == Run::Running);
    running.map(|child| child.capacity).collect()
}

#[test]
fn four_small_children_become_four_large_ones_in_a_rescale() {
    let grown = Event::Settings { workers: 4, each: 2 };
    let game = play(4, 1, 4, true, &[Event::Pass(20), grown, Event::Rescale(7)]);
    assert_eq!((game.live.len(), sizes(&game)), (8, vec![2; 4]));
    let for_room = |(_, action): &&(Tick, Action)| {
        matches!(
            action,
            Action::Stop {
                cause: StopCause::Room,
                ..
            }
        )
    };
    assert_eq!(
        game.actions.iter().find(for_room),
        None,
        "whoever holds a shard is left alone"
    );
}

#[test]
fn two_children_hold_what_two_of_a_smaller_plan_became_and_survive_each_others_death() {
    let rescaled = [Event::Pass(20), Event::Rescale(7), Event::Pass(89)];
    let game = play(2, 4, 2, true, &rescaled);
    assert_eq!((game.live.len(), sizes(&game)), (8, vec![4; 2]));
    for who in [0, 1] {
        let died = [&rescaled[..], &[Event::Dies { who, rests: 0 }]].concat();
        assert_eq!(sizes(&play(2, 4, 2, true, &died)), [4; 2]);
    }
}

#[test]
fn children_grow_when_externals_vanish() {
    let vanish = [Event::Externals(6), Event::Pass(30), Event::Externals(0)];
    let game = play(2, 4, 8, true, &vanish);
    assert_eq!(sizes(&game), [4; 2]);
}

#[test]
fn children_that_take_less_than_they_were_told_are_not_started_and_stopped_for_ever() {
    let mut game = Game::new(6, 4, 4, true);
    game.shy = true;
    game.calm_down();
    assert_eq!(game.running(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn once_faults_stop_every_shard_is_held_and_nothing_is_started_or_stopped_any_more(
        (workers, each) in (1u32..6, 1u32..6),
        number in any::<u32>(),
        packs in any::<bool>(),
        events in events(),
    ) {
        play(workers, each, 1 + number % (workers * each), packs, &events);
    }
}
