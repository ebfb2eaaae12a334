use super::*;

const HOUR: u64 = HOUR_MS;

fn child(index: u32) -> Holder {
    Holder::Child(WorkerId::new(&crate::PoolId::discord(), index))
}

fn shard(number: u32) -> ShardId {
    ShardId::new(number, 64).unwrap()
}

fn place(index: u32) -> Spender {
    Spender::of(&child(index), shard(0))
}

#[test]
fn a_childs_starts_count_together_and_external_ones_by_shard() {
    let mut ledger = Ledger::default();
    for number in [0, 1, 1] {
        ledger.enter(&child(7), shard(number), StartCause::Crash, 0);
        ledger.enter(&Holder::External, shard(number), StartCause::First, 0);
    }
    ledger.enter(&child(7), shard(0), StartCause::First, 0);
    assert_eq!(ledger.spent(&place(7)), 4);
    assert_eq!(ledger.spent(&Spender::External(shard(1))), 2);
    assert_eq!(ledger.cause(&place(7)), StartCause::Crash);
    let all: Vec<_> = ledger.by_worker().into_iter().collect();
    let spent = |starts, cause| Spent { starts, cause };
    assert_eq!(all[0], (None, spent(3, StartCause::First)));
    assert_eq!(
        all[1],
        (Some(WorkerId::from("discord-7")), spent(4, StartCause::Crash))
    );
}

#[test]
fn an_hour_counts_until_its_last_moment_is_a_day_old() {
    let mut ledger = Ledger::default();
    ledger.enter(&child(0), shard(0), StartCause::First, 10 * HOUR + 1);
    ledger.enter(&child(0), shard(0), StartCause::Crash, 11 * HOUR);
    assert_eq!(ledger.ends_at(), Some(35 * HOUR));
    ledger.forget_old(35 * HOUR - 1);
    assert_eq!(ledger.spent(&place(0)), 2);
    ledger.forget_old(35 * HOUR);
    assert_eq!(ledger.spent(&place(0)), 1);
    ledger.forget_old(36 * HOUR);
    assert_eq!((ledger.spent(&place(0)), ledger.ends_at()), (0, None));
    assert!(ledger.totals.is_empty() && ledger.counters == 0);
}

#[test]
fn what_was_saved_is_taken_up_again_without_what_is_too_old() {
    let mut ledger = Ledger::default();
    ledger.enter(&child(0), shard(0), StartCause::Crash, 0);
    ledger.enter(&child(0), shard(1), StartCause::Lapse, 9 * HOUR);
    ledger.enter(&Holder::External, shard(2), StartCause::First, 9 * HOUR);
    let saved = ledger.take_unsaved();
    assert_eq!(saved.len(), 2);
    assert_eq!(ledger.take_unsaved(), []);
    let mut next = Ledger::restore(saved, 30 * HOUR);
    assert_eq!(next.spent(&place(0)), 1);
    assert!(next.knows(shard(2)) && !next.knows(shard(0)));
    assert_eq!(next.take_unsaved(), [(0, Vec::new())], "the old hour goes");
}

#[test]
fn a_promise_that_was_not_kept_is_taken_out_again() {
    let mut ledger = Ledger::default();
    ledger.enter(&child(0), shard(0), StartCause::Lapse, 0);
    assert_eq!(ledger.take_back(&child(0), shard(1)), None);
    assert_eq!(ledger.take_back(&child(0), shard(0)), Some(StartCause::Lapse));
    assert_eq!((ledger.spent(&place(0)), ledger.counters), (0, 0));
}

#[test]
fn the_rate_is_that_of_the_last_hour_and_first_starts_do_not_count() {
    let mut ledger = Ledger::default();
    let now = 50 * HOUR + HOUR / 4;
    for _ in 0..40 {
        ledger.enter(&child(0), shard(0), StartCause::First, now);
        ledger.enter(&child(0), shard(0), StartCause::Crash, now - HOUR / 2);
    }
    assert!(
        (ledger.rate_per_hour(now) - 30.0).abs() < 1e-9,
        "three quarters of the hour before"
    );
    assert_eq!(used_up_in_ms(60, 30.0), Some(2 * HOUR));
    assert_eq!(used_up_in_ms(60, 0.0), None);

    let mut young = Ledger::default();
    young.enter(&child(0), shard(0), StartCause::Crash, 50 * HOUR + 1000);
    assert!(
        (young.rate_per_hour(50 * HOUR + 2000) - 6.0).abs() < 1e-9,
        "one in ten minutes"
    );
}

#[test]
fn a_share_always_covers_one_start_of_each_shard() {
    assert_eq!(limit(1000, 25, 4), 250);
    assert_eq!(limit(20, 25, 16), 16);
    assert_eq!(limit(u32::MAX, 100, 1), u32::MAX);
}

#[test]
fn the_ledger_is_bounded() {
    let mut ledger = Ledger::default();
    for number in 0..COUNTERS as u32 + 1000 {
        let shard = ShardId::new(number, 65_536).unwrap();
        let hour = u64::from(number) * 20 / COUNTERS as u64;
        ledger.enter(&child(0), shard, StartCause::First, hour * HOUR);
    }
    assert!(ledger.counters <= COUNTERS && ledger.counters > COUNTERS * 9 / 10);
    assert_eq!(ledger.spent(&place(0)) as usize, ledger.counters);
}

proptest::proptest! {
    /// The sums are those of the counters, whatever comes in and however the
    /// hours pass, and a ledger that was saved in steps is the ledger.
    #[test]
    fn sums_and_saved_hours_agree_with_what_was_entered(
        steps in proptest::collection::vec((0u32..3, 0u32..4, 0u64..3 * HOUR, 0u8..6), 1..120),
    ) {
        let mut ledger = Ledger::default();
        let mut saved: BTreeMap<u64, Vec<Counter>> = BTreeMap::new();
        let mut entered: Vec<(u64, u32)> = Vec::new();
        let mut now = 0;
        for (worker, number, pause, step) in steps {
            now += pause;
            if step == 0 {
                if ledger.take_back(&child(worker), shard(number)).is_some() {
                    entered.retain(|(at, _)| now < (at / HOUR + 1) * HOUR + DAY_MS);
                    let last = entered.iter().rposition(|(_, tag)| *tag == worker * 10 + number);
                    if let Some(last) = last { entered.remove(last); }
                }
            } else {
                ledger.enter(&child(worker), shard(number), StartCause::Crash, now);
                entered.push((now, worker * 10 + number));
            }
            ledger.forget_old(now);
            for (hour, counters) in ledger.take_unsaved() {
                if counters.is_empty() { saved.remove(&hour); } else { saved.insert(hour, counters); }
            }
            entered.retain(|(at, _)| now < (at / HOUR + 1) * HOUR + DAY_MS);
            for worker in 0..3 {
                let expected = entered.iter().filter(|(_, tag)| tag / 10 == worker).count();
                proptest::prop_assert_eq!(ledger.spent(&place(worker)) as usize, expected);
            }
            let again = Ledger::restore(saved.clone(), now);
            proptest::prop_assert_eq!(&again.hours, &ledger.hours);
            proptest::prop_assert_eq!(&again.totals, &ledger.totals);
        }
    }
}
