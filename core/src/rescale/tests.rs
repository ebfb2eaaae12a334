//! Rescales against a world in which anything may happen between two looks:
//! at every moment every guild has a live holder.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn plan(shards: &[&str]) -> Plan {
    shards.iter().map(|shard| shard.parse().unwrap()).collect()
}

#[test]
fn a_multiple_goes_shard_by_shard() {
    assert_eq!(
        steps(&Plan::of_total(2), 4),
        [
            (plan(&["0/2"]), plan(&["0/4", "2/4"])),
            (plan(&["1/2"]), plan(&["1/4", "3/4"])),
        ]
    );
}

#[test]
fn a_step_takes_in_what_goes_with_its_shards() {
    let live = Plan::of_total(4);
    let mut change = Rescale::begin(&live, 8, String::new()).unwrap();
    change.advance(&mut live.clone(), |_| Observed::Live, |_| false);
    let pair = |shard: ShardId| {
        let first = shard.number() / 2 * 2;
        [first, first + 1]
            .map(|number| ShardId::new(number, 4).unwrap())
            .to_vec()
    };
    change.widen(&live, pair);
    let step = change.step.as_ref().unwrap();
    assert_eq!(step.old, plan(&["0/4", "1/4"]));
    assert_eq!(step.new, plan(&["0/8", "1/8", "4/8", "5/8"]));
    assert_eq!(change.steps, 3, "two of four became one");
    change.widen(&live, |shard| vec![shard]);
    assert_eq!(change.steps, 3);

    // 0 and 2 of 4 give way to 0 of 2, and take 1 and 3 with them.
    let mut back = Rescale::begin(&live, 2, String::new()).unwrap();
    back.advance(&mut live.clone(), |_| Observed::Live, |_| false);
    back.widen(&live, pair);
    assert_eq!(back.steps, 1);
    assert_eq!(back.step.unwrap().new, Plan::of_total(2));
}

#[test]
fn numbers_without_a_common_divisor_start_the_new_set_beside_the_old() {
    assert_eq!(
        steps(&Plan::of_total(5), 7),
        [(Plan::of_total(5), Plan::of_total(7))]
    );
}

#[test]
fn a_half_done_rescale_goes_back_or_elsewhere() {
    let mixed = plan(&["0/4", "2/4", "1/2"]);
    assert_eq!(steps(&mixed, 2), [(plan(&["0/4", "2/4"]), plan(&["0/2"]))]);
    assert_eq!(steps(&mixed, 4), [(plan(&["1/2"]), plan(&["1/4", "3/4"]))]);
    assert_eq!(steps(&mixed, 3), [(mixed.clone(), Plan::of_total(3))]);
    assert!(steps(&Plan::of_total(4), 4).is_empty());
    assert_eq!(Rescale::begin(&Plan::of_total(4), 4, String::new()), None);
}

#[test]
fn a_step_that_cannot_be_taken_back_safely_is_finished_first() {
    let live = Plan::of_total(2);
    let mut change = Rescale::begin(&live, 4, String::new()).unwrap();
    let in_phase = |change: &Rescale, phase| Rescale {
        step: change.step.clone().map(|step| Step { phase, ..step }),
        ..change.clone()
    };
    change.advance(&mut live.clone(), |_| Observed::Live, |_| false);
    let standing_by = in_phase(&change, Phase::StandBy);
    assert_eq!(
        standing_by.instead(&live, 2, String::new(), |_| Observed::Away),
        None
    );
    let going_live = in_phase(&change, Phase::GoLive);
    assert_eq!(
        going_live.instead(&live, 2, String::new(), |_| Observed::Live),
        None
    );
    let back = going_live
        .instead(&live, 2, String::new(), |_| Observed::Away)
        .unwrap();
    assert_eq!((back.step.as_ref(), back.steps), (going_live.step.as_ref(), 2));
}

/// A shard in the world of the test below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Free,
    Away,
    StandingBy,
    Live,
    /// Its holder died; the next one replays what it missed.
    Dead,
    /// Its holder was told to leave, and nothing calls it back.
    Leaving,
}

impl At {
    fn observed(self) -> Observed {
        match self {
            Self::Free => Observed::Free,
            Self::Away | Self::Dead | Self::Leaving => Observed::Away,
            Self::StandingBy => Observed::StandingBy,
            Self::Live => Observed::Live,
        }
    }

    /// What its holder, or the next one, does in this role.
    fn obey(self, role: Option<Role>) -> Self {
        match (self, role) {
            (Self::Leaving | Self::Free | Self::Dead, None) => Self::Free,
            (Self::Leaving, Some(_)) => Self::Free,
            (_, None) => Self::Leaving,
            (Self::Free, Some(_)) => Self::Away,
            (Self::Away, Some(Role::StandBy)) => Self::StandingBy,
            (Self::Away | Self::StandingBy | Self::Dead, Some(Role::Live)) => Self::Live,
            (at, Some(_)) => at,
        }
    }
}

/// Whether others that are to stay deliver the events of a shard's guilds.
fn served(states: &BTreeMap<ShardId, At>, held: &Plan, shard: ShardId) -> bool {
    let mut others = states.clone();
    others.retain(|other, _| *other != shard && held.contains(*other));
    unheard(&others, 990).is_empty()
}

/// Guilds whose events nobody delivers or will replay.
fn unheard(states: &BTreeMap<ShardId, At>, guilds: u32) -> Vec<u32> {
    let heard = |guild: u32| {
        states
            .iter()
            .any(|(shard, at)| matches!(at, At::Live | At::Dead) && guild % shard.total() == shard.number())
    };
    (0..guilds).filter(|guild| !heard(*guild)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Holders move on in any order, old and new ones die at any moment,
    /// operators change their minds in every phase: every event of every guild
    /// is delivered, now or by a replay, and once nothing happens any more, the
    /// target is reached.
    #[test]
    fn no_guild_is_ever_without_somebody_who_delivers_its_events(
        from in 1u32..9,
        targets in prop::collection::vec(1u32..13, 2..8),
        moves in prop::collection::vec((any::<usize>(), 0u8..30), 0..300),
    ) {
        let mut live = Plan::of_total(from);
        let mut states: BTreeMap<_, _> = live.iter().map(|shard| (shard, At::Live)).collect();
        let mut targets = targets.into_iter();
        let mut rescale = targets.next().and_then(|to| Rescale::begin(&live, to, String::new()));
        let last = moves.len();
        let calm = (0..4000).map(|at| (at, 0));
        for (at, (index, what)) in moves.into_iter().chain(calm).enumerate() {
            let Some(change) = &mut rescale else { break };
            let state = |shard| states.get(&shard).copied().unwrap_or(At::Free);
            let observed = |shard| state(shard).observed();
            let owes = |shard| state(shard) == At::Dead;
            if change.advance(&mut live, observed, owes) == Progress::Finished {
                prop_assert_eq!(&live, &Plan::of_total(change.target));
                rescale = None;
                break;
            }
            if what == 29 && at < last && let Some(to) = targets.next() {
                rescale = change.instead(&live, to, String::new(), observed);
            }
            let held = rescale.as_ref().map_or_else(|| live.clone(), |change| change.held_plan(&live));
            for shard in held.iter() {
                states.entry(shard).or_insert(At::Free);
            }
            let shards: Vec<_> = states.keys().copied().collect();
            let shard = shards[index % shards.len()];
            let role = rescale.as_ref().map_or(Role::Live, |change| change.role(shard));
            let next = match states[&shard] {
                At::Live if what > 26 && at < last => At::Dead,
                At::StandingBy if what > 26 && at < last => At::Free,
                // Its session is forgotten, which costs nothing while others serve.
                At::Dead if what > 16 && at < last && served(&states, &held, shard) => At::Away,
                at @ (At::Free | At::Away | At::StandingBy | At::Live | At::Dead | At::Leaving) => at.obey(held.contains(shard).then_some(role)),
            };
            states.insert(shard, next);
            prop_assert_eq!(unheard(&states, 990), Vec::<u32>::new(), "{:?} {:?}", rescale, states);
        }
        prop_assert_eq!(rescale, None);
    }
}
