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

/// A guild has a live holder when a live shard of some total routes it.
fn unheard(states: &BTreeMap<ShardId, Observed>, guilds: u32) -> Vec<u32> {
    let heard = |guild: u32| {
        states
            .iter()
            .any(|(shard, at)| *at == Observed::Live && guild % shard.total() == shard.number())
    };
    (0..guilds).filter(|guild| !heard(*guild)).collect()
}

/// Does what one holder would do next in this role.
fn obey(at: Observed, role: Option<Role>) -> Observed {
    match (at, role) {
        (_, None) => Observed::Free,
        (Observed::Free, Some(_)) => Observed::Away,
        (Observed::Away, Some(Role::StandBy)) => Observed::StandingBy,
        (Observed::Away | Observed::StandingBy, Some(Role::Live)) => Observed::Live,
        (at, Some(_)) => at,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Holders move on in any order, new ones die at any moment, the manager is
    /// replaced by one that knows what was durable, operators change their
    /// minds: at no time is a guild without a live holder, and once nothing
    /// happens any more, the target is reached.
    #[test]
    fn no_guild_is_ever_without_a_live_holder(
        from in 1u32..9,
        targets in prop::collection::vec(1u32..13, 1..4),
        moves in prop::collection::vec((any::<usize>(), 0u8..10), 0..200),
    ) {
        let mut live = Plan::of_total(from);
        let mut states: BTreeMap<_, _> = live.iter().map(|shard| (shard, Observed::Live)).collect();
        let mut targets = targets.into_iter();
        let mut rescale = targets.next().and_then(|to| Rescale::begin(&live, to, String::new()));
        let guilds = 990;
        let last = moves.len();
        let calm = (0..4000).map(|at| (at, 0));
        for (at, (index, what)) in moves.into_iter().chain(calm).enumerate() {
            let Some(change) = &mut rescale else { break };
            let observed = |shard| states.get(&shard).copied().unwrap_or(Observed::Free);
            if change.advance(&mut live, observed, Duration::ZERO) == Progress::Finished {
                prop_assert_eq!(&live, &Plan::of_total(change.target));
                rescale = None;
                break;
            }
            if what == 9 && at < last && let Some(to) = targets.next() {
                rescale = Rescale::begin(&live, to, String::new());
            }
            let Some(change) = &mut rescale else { break };
            let held = change.held_plan(&live);
            for shard in held.iter() {
                states.entry(shard).or_insert(Observed::Free);
            }
            let shards: Vec<_> = states.keys().copied().collect();
            let shard = shards[index % shards.len()];
            let role = held.contains(shard).then(|| change.role(shard));
            let now = states[&shard];
            let standing_by = role == Some(Role::StandBy);
            // A new holder that dies while it stands by harms nobody.
            let next = if what == 8 && at < last && standing_by { Observed::Free } else { obey(now, role) };
            states.insert(shard, next);
            prop_assert_eq!(unheard(&states, guilds), Vec::<u32>::new(), "{:?} {:?}", change, states);
        }
        prop_assert_eq!(rescale, None);
    }
}
