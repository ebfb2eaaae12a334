use proptest::prelude::*;

use super::*;
use crate::wire::ShardState;

mod held_back;
mod plan;

const TTL: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Tick {
    Tick(seconds * 1000)
}

fn table(total: u32) -> LeaseTable {
    LeaseTable::new(Plan::of_total(total), TTL, Epoch(1))
}

fn session(n: u128) -> SessionId {
    SessionId::from_random(n)
}

fn claim(table: &mut LeaseTable, n: u128, now: Tick) -> Option<u32> {
    let claim = Claim {
        holder: Holder::External,
        session: session(n),
        key: None,
    };
    table
        .claim(claim, Duration::ZERO, now)
        .ok()
        .map(|(shard, _)| shard.number())
}

fn claim_for(table: &mut LeaseTable, worker: &str, n: u128, now: Tick) -> ShardId {
    let claim = Claim {
        holder: Holder::Child(worker.into()),
        session: session(n),
        key: None,
    };
    table.claim(claim, Duration::ZERO, now).unwrap().0
}

fn beat(table: &mut LeaseTable, n: u128, now: Tick) -> Result<u32, BeatError> {
    table
        .beat(&Holder::External, session(n), BeatReport::default(), now)
        .map(|beaten| beaten.shard.number())
}

fn causes(table: &mut LeaseTable) -> Vec<(u32, EndCause)> {
    table
        .take_effects()
        .into_iter()
        .map(|LeaseEffect::Ended { shard, cause, .. }| (shard.number(), cause))
        .collect()
}

#[test]
fn the_lowest_free_shard_is_handed_out_first() {
    let mut table = table(3);
    assert_eq!(
        (0..4).map(|n| claim(&mut table, n, at(0))).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2), None]
    );
    table.release(&Holder::External, session(1), at(1)).unwrap();
    table.release(&Holder::External, session(0), at(1)).unwrap();
    assert_eq!(claim(&mut table, 9, at(1)), Some(0));
}

#[test]
fn a_lease_lapses_within_a_second_after_its_time_and_not_before() {
    let mut table = table(1);
    claim(&mut table, 1, at(0));
    beat(&mut table, 1, at(30)).unwrap();
    table.handle_timeout(at(90));
    assert_eq!(table.leases().count(), 1, "the deadline itself is not past it");
    let due = table.poll_timeout().unwrap();
    assert!(due > at(90) && due <= at(91));
    table.handle_timeout(due);
    assert_eq!(causes(&mut table), [(0, EndCause::Lapsed)]);
    assert_eq!(claim(&mut table, 2, at(91)), Some(0));
}

#[test]
fn the_first_deadline_counts_from_the_identify_slot() {
    let mut table = table(1);
    let claim = Claim {
        holder: Holder::External,
        session: session(1),
        key: None,
    };
    table.claim(claim, Duration::from_secs(300), at(0)).unwrap();
    beat(&mut table, 1, at(5)).unwrap();
    table.handle_timeout(at(359));
    assert_eq!(table.leases().count(), 1, "a beat never shortens a deadline");
    table.handle_timeout(at(361));
    assert_eq!(table.leases().count(), 0);
}

#[test]
fn a_late_beat_does_not_revive_a_lost_lease() {
    let mut table = table(1);
    claim(&mut table, 1, at(0));
    table.handle_timeout(at(61));
    assert_eq!(beat(&mut table, 1, at(61)), Err(BeatError::UnknownSession));
    claim(&mut table, 2, at(61));
    assert_eq!(beat(&mut table, 1, at(62)), Err(BeatError::UnknownSession));
    assert_eq!(
        table.lease(ShardId::new(0, 1).unwrap()).unwrap().session,
        session(2)
    );
}

#[test]
fn a_beat_from_a_stale_epoch_is_refused() {
    let mut table = table(1);
    claim(&mut table, 1, at(0));
    let stale = BeatReport {
        epoch: Some(Epoch(0)),
        ..BeatReport::default()
    };
    assert_eq!(
        table.beat(&Holder::External, session(1), stale, at(1)),
        Err(BeatError::UnknownSession)
    );
}

#[test]
fn a_beat_keeps_the_figures_that_it_does_not_mention() {
    let mut table = table(1);
    claim(&mut table, 1, at(0));
    let full = BeatReport {
        guild_count: Some(7),
        latency: Some(0.5),
        ..BeatReport::default()
    };
    table.beat(&Holder::External, session(1), full, at(1)).unwrap();
    beat(&mut table, 1, at(2)).unwrap();
    let figures = &table.leases().next().unwrap().1.figures;
    assert_eq!((figures.guild_count, figures.latency), (Some(7), Some(0.5)));
}

#[test]
fn a_worker_that_is_gone_holds_nothing() {
    let mut table = table(3);
    claim_for(&mut table, "discord-0", 1, at(0));
    claim_for(&mut table, "discord-1", 2, at(0));
    claim_for(&mut table, "discord-0", 3, at(0));
    let gone = table.worker_gone(&"discord-0".into(), at(1));
    assert_eq!(
        gone.iter().map(|shard| shard.number()).collect::<Vec<_>>(),
        [0, 2]
    );
    assert_eq!(table.leases().count(), 1);
}

#[test]
fn a_child_cannot_speak_for_another() {
    let mut table = table(1);
    claim_for(&mut table, "discord-0", 1, at(0));
    let other = Holder::Child("discord-1".into());
    assert!(
        table
            .beat(&other, session(1), BeatReport::default(), at(1))
            .is_err()
    );
    assert!(table.release(&other, session(1), at(1)).is_err());
    assert!(beat(&mut table, 1, at(1)).is_ok(), "the shared secret may");
}

#[test]
fn a_stall_of_the_manager_costs_no_lease() {
    let mut table = table(1);
    claim(&mut table, 1, at(0));
    table.forgive(Duration::from_secs(120));
    table.handle_timeout(at(179));
    assert_eq!(table.leases().count(), 1);
    table.handle_timeout(at(181));
    assert_eq!(table.leases().count(), 0);
}

#[test]
fn a_repeated_request_finds_its_lease_while_it_lives_and_lives_from_then_on() {
    let mut table = table(2);
    let claim = Claim {
        holder: Holder::External,
        session: session(1),
        key: Some("k".into()),
    };
    let (shard, _) = table.claim(claim, Duration::ZERO, at(0)).unwrap();
    assert_eq!(table.repeat(&Holder::External, "k", at(5)), Some(shard));
    assert!(
        table
            .repeat(&Holder::Child("discord-0".into()), "k", at(5))
            .is_none()
    );
    let lease = table.lease(shard).unwrap();
    assert_eq!((lease.session, lease.deadline), (session(1), at(5) + TTL));
    table.release(&Holder::External, session(1), at(6)).unwrap();
    assert!(table.repeat(&Holder::External, "k", at(6)).is_none());
}

#[test]
fn a_beat_that_was_under_way_too_long_keeps_the_lease_and_tells_no_news() {
    let mut table = table(1);
    claim(&mut table, 1, at(0));
    let report = |number, state| BeatReport {
        number: Some(number),
        state: Some(state),
        ..BeatReport::default()
    };
    let mut beat = |report, now| {
        table
            .beat(&Holder::External, session(1), report, now)
            .unwrap()
            .change
    };
    assert!(beat(report(2, ShardState::Ready), at(1)).is_some());
    assert_eq!(beat(report(1, ShardState::Identifying), at(2)), None);
    assert_eq!(table.leases().next().unwrap().1.deadline, at(62));
}

#[test]
fn a_restored_lease_keeps_the_time_that_its_holder_was_told() {
    let record = LeaseRecord {
        shard: ShardId::new(0, 1).unwrap(),
        session: session(1),
        epoch: Epoch(1),
        holder: Holder::External,
        key: None,
        identify_at_ms: 0,
        ttl_ms: 120_000,
        assigned: false,
    };
    let mut table = LeaseTable::restore(
        Plan::of_total(1),
        TTL,
        Epoch(1),
        vec![record],
        |_| Duration::ZERO,
        at(0),
    );
    table.handle_timeout(at(119));
    assert_eq!(table.leases().count(), 1);
    table.handle_timeout(at(121));
    assert_eq!(table.leases().count(), 0);
}

#[test]
fn a_restored_table_gives_every_lease_its_full_time_and_never_an_old_epoch() {
    let record = LeaseRecord {
        shard: ShardId::new(1, 2).unwrap(),
        session: session(1),
        epoch: Epoch(41),
        holder: Holder::External,
        key: None,
        identify_at_ms: 0,
        ttl_ms: 0,
        assigned: false,
    };
    let mut table = LeaseTable::restore(
        Plan::of_total(2),
        TTL,
        Epoch(3),
        vec![record],
        |_| Duration::ZERO,
        at(500),
    );
    table.handle_timeout(at(560));
    assert_eq!(table.leases().count(), 1);
    assert_eq!(table.next_epoch(), Epoch(42));
    assert_eq!(claim(&mut table, 2, at(560)), Some(0));
    assert_eq!(claim(&mut table, 3, at(560)), None);
}

/// The same promises, kept by the most naive code that could keep them.
#[derive(Default)]
struct Model {
    total: u32,
    held: BTreeMap<u32, (u128, Option<u32>, u64)>,
    back: BTreeMap<u32, u32>,
}

impl Model {
    fn lowest_free(&self) -> Option<u32> {
        (0..self.total).find(|n| !self.held.contains_key(n) && !self.back.contains_key(n))
    }

    fn expire(&mut self, now: u64) {
        let lost: Vec<_> = self
            .held
            .iter()
            .filter(|(_, lease)| lease.2 + 250 <= now)
            .map(|(n, _)| *n)
            .collect();
        for n in lost {
            let (_, child, _) = self.held.remove(&n).unwrap();
            if let Some(child) = child {
                self.back.insert(n, child);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Claim(Option<u32>),
    Beat(u128),
    Release(u128),
    Gone(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => proptest::option::of(0u32..3).prop_map(Step::Claim),
        4 => (0u128..40).prop_map(Step::Beat),
        1 => (0u128..40).prop_map(Step::Release),
        1 => (0u32..3).prop_map(Step::Gone),
        3 => (0u64..40_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_naive_model(total in 1u32..6, steps in prop::collection::vec(step(), 1..120)) {
        let mut table = table(total);
        let mut model = Model { total, ..Model::default() };
        let (mut now, mut next, mut epochs) = (0u64, 0u128, Vec::new());
        let ttl = 60_000;
        for step in steps {
            match step {
                Step::Claim(child) => {
                    let holder = child.map_or(Holder::External, |n| Holder::Child(WorkerId::new(&crate::PoolId::discord(), n)));
                    let granted = table.claim(Claim { holder, session: session(next), key: None }, Duration::ZERO, Tick(now));
                    prop_assert_eq!(granted.ok().map(|(shard, _)| shard.number()), model.lowest_free());
                    if let (Ok((shard, epoch)), Some(n)) = (granted, model.lowest_free()) {
                        prop_assert_eq!(shard.number(), n);
                        epochs.push(epoch);
                        model.held.insert(n, (next, child, now + ttl));
                    }
                    next += 1;
                }
                Step::Beat(n) => {
                    let mine = model.held.values_mut().find(|lease| lease.0 == n);
                    prop_assert_eq!(beat(&mut table, n, Tick(now)).is_ok(), mine.is_some());
                    if let Some(lease) = mine { lease.2 = now + ttl; }
                }
                Step::Release(n) => {
                    let before = model.held.len();
                    model.held.retain(|_, lease| lease.0 != n);
                    prop_assert_eq!(table.release(&Holder::External, session(n), Tick(now)).is_ok(), model.held.len() < before);
                }
                Step::Gone(child) => {
                    table.worker_gone(&WorkerId::new(&crate::PoolId::discord(), child), Tick(now));
                    model.held.retain(|_, lease| lease.1 != Some(child));
                    model.back.retain(|_, holder| *holder != child);
                }
                Step::Wait(ms) => {
                    now += ms;
                    table.handle_timeout(Tick(now));
                    model.expire(now);
                }
            }
            let held: Vec<_> = table.leases().map(|(shard, lease)| (shard.number(), lease.session)).collect();
            let modelled: Vec<_> = model.held.iter().map(|(n, lease)| (*n, session(lease.0))).collect();
            prop_assert_eq!(held, modelled);
            let whole = table.leases().count() + table.free_count() + table.held_back().count();
            prop_assert_eq!(whole, total as usize);
        }
        prop_assert!(epochs.is_sorted_by(|a, b| a < b), "epochs only grow");
    }
}
