use std::collections::BTreeSet;

use super::*;

fn at(seconds: f64) -> Tick {
    Tick((seconds * 1000.0) as u64)
}

fn shard(number: u32) -> ShardId {
    ShardId::new(number, 64).unwrap()
}

fn granted(line: &mut IdentifyLine, now: Tick) -> Vec<u32> {
    line.poll(now, u32::MAX, |_| true)
        .iter()
        .map(|permit| permit.shard.number())
        .collect()
}

#[test]
fn each_bucket_grants_one_permit_and_the_next_five_seconds_after_its_use() {
    let mut line = IdentifyLine::new(2, at(0.0));
    for number in [3, 2, 1, 0] {
        line.join(shard(number), at(0.0));
    }
    assert_eq!(granted(&mut line, at(0.03)), [0, 1]);
    line.used(shard(0), at(1.0));
    assert_eq!(
        granted(&mut line, at(5.2)),
        [] as [u32; 0],
        "bucket 0 was used at 1.0, bucket 1 not yet"
    );
    assert_eq!(line.poll_timeout(at(5.2), |_| true), Some(at(6.35)), "a slow one");
    assert_eq!(granted(&mut line, at(6.35)), [2]);
    line.used(shard(1), at(7.0));
    assert_eq!(granted(&mut line, at(12.05)), [3]);
}

#[test]
fn shards_that_come_forward_together_are_served_lowest_first() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.join(shard(4), at(0.0));
    assert_eq!(granted(&mut line, at(0.0)), [] as [u32; 0]);
    line.join(shard(0), at(0.01));
    assert_eq!(line.poll_timeout(at(0.01), |_| true), Some(at(0.03)));
    assert_eq!(granted(&mut line, at(0.03)), [0]);
}

#[test]
fn no_more_is_granted_than_there_are_starts_left() {
    let mut line = IdentifyLine::new(4, at(0.0));
    for number in 0..4 {
        line.join(shard(number), at(0.0));
    }
    assert_eq!(line.poll(at(1.0), 0, |_| true), []);
    assert_eq!(line.poll(at(1.0), 3, |_| true).len(), 3);
    assert_eq!(line.poll(at(1.0), 3, |_| true).len(), 1);
}

#[test]
fn a_permit_that_nobody_reports_on_counts_as_used_when_its_time_is_over() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.join(shard(0), at(0.0));
    line.join(shard(1), at(0.0));
    assert_eq!(granted(&mut line, at(0.03)), [0]);
    assert_eq!(line.poll_timeout(at(0.03), |_| true), Some(at(5.03)));
    assert_eq!(granted(&mut line, at(5.03)), [] as [u32; 0]);
    assert_eq!(granted(&mut line, at(10.08)), [1]);
}

#[test]
fn a_shard_that_may_not_start_keeps_its_place_and_holds_nobody_up() {
    let mut line = IdentifyLine::new(1, at(0.0));
    for number in [0, 1] {
        line.join(shard(number), at(0.0));
    }
    let not_0 = |shard: ShardId| shard.number() != 0;
    assert_eq!(line.poll_timeout(at(0.0), not_0), Some(at(0.03)));
    assert_eq!(line.poll(at(0.03), 9, not_0)[0].shard, shard(1));
    line.used(shard(1), at(0.03));
    assert_eq!(line.poll(at(9.0), 9, not_0), []);
    assert_eq!(line.poll_timeout(at(9.0), not_0), None, "nothing to wake for");
    assert_eq!(granted(&mut line, at(9.0)), [0]);
}

#[test]
fn sleepers_get_one_slot_each_however_long_the_line() {
    let mut line = IdentifyLine::new(2, at(0.0));
    let slots: Vec<_> = (0..6)
        .map(|number| line.reserve(shard(number), at(0.0)))
        .collect();
    assert_eq!(slots, [at(0.0), at(0.0), at(6.0), at(6.0), at(12.0), at(12.0)]);
}

#[test]
fn an_asker_is_served_between_the_slots_of_sleepers_or_after_them() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.reserve(shard(0), at(0.0));
    line.reserve(shard(1), at(0.0));
    line.join(shard(2), at(0.0));
    line.used(shard(0), at(0.5));
    assert_eq!(granted(&mut line, at(1.0)), [] as [u32; 0]);
    assert_eq!(line.poll_timeout(at(1.0), |_| true), Some(at(11.1)));
    assert_eq!(granted(&mut line, at(6.0)), [] as [u32; 0]);
    line.used(shard(1), at(6.2));
    assert_eq!(granted(&mut line, at(11.24)), [] as [u32; 0]);
    assert_eq!(granted(&mut line, at(11.25)), [2]);
    assert_eq!(
        line.reserve(shard(3), at(11.3)),
        at(21.3),
        "the open permit is expected to be used now"
    );
}

#[test]
fn what_is_promised_is_counted_until_its_use_is_known() {
    let mut line = IdentifyLine::new(2, at(0.0));
    for number in [0, 1] {
        line.join(shard(number), at(0.0));
    }
    line.reserve(shard(2), at(0.0));
    assert_eq!(line.promised(at(0.0)), 1, "who waits has no promise");
    assert_eq!(granted(&mut line, at(0.03)), [0, 1]);
    assert_eq!(line.promised(at(0.03)), 3);
    line.used(shard(1), at(0.1));
    assert_eq!(line.promised(at(0.1)), 2);
    assert_eq!(line.promised(at(5.94)), 1, "nobody reported on the other permit");
    assert_eq!(line.promised(at(5.95)), 0, "the slot came up");
}

#[test]
fn a_slot_given_back_before_it_came_up_is_free_for_the_line() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.reserve(shard(0), at(0.0));
    line.reserve(shard(1), at(0.0));
    line.join(shard(2), at(0.0));
    line.forget(shard(1), at(1.0));
    line.used(shard(0), at(1.0));
    assert_eq!(granted(&mut line, at(6.1)), [2]);
}

#[test]
fn a_sleeper_that_ends_soon_after_its_slot_may_have_identified_the_moment_before() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.reserve(shard(0), at(0.0));
    line.forget(shard(0), at(4.0));
    assert_eq!(line.reserve(shard(0), at(4.0)), at(9.05));
    line.forget(shard(0), at(60.0));
    assert_eq!(line.reserve(shard(0), at(60.0)), at(60.0), "long ago");
}

#[test]
fn a_slot_leaves_those_in_the_line_before_it_the_time_to_use_their_permits() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.join(shard(0), at(0.0));
    line.join(shard(1), at(0.0));
    assert_eq!(line.reserve(shard(2), at(0.0)), at(11.0));
    assert_eq!(granted(&mut line, at(0.03)), [0]);
    line.used(shard(0), at(0.3));
    assert_eq!(
        granted(&mut line, at(5.6)),
        [1],
        "a little late, and in time for the slot"
    );
}

#[test]
fn a_permit_waits_for_a_sign_of_the_sleeper_before_it() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.reserve(shard(0), at(0.0));
    line.join(shard(1), at(1.0));
    assert_eq!(granted(&mut line, at(1.1)), [] as [u32; 0]);
    assert_eq!(
        line.poll_timeout(at(1.1), |_| true),
        Some(at(5.0)),
        "as long as it may need"
    );
    assert!(!line.connected(shard(1), at(2.0)), "that one has not slept");
    assert!(line.connected(shard(0), at(2.0)));
    assert!(!line.connected(shard(0), at(3.0)), "no news");
    assert_eq!(line.poll_timeout(at(3.0), |_| true), Some(at(7.05)));
    assert_eq!(granted(&mut line, at(7.05)), [1]);
}

#[test]
fn a_sleeper_without_a_sign_counts_as_late_as_it_may_be() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.reserve(shard(0), at(0.0));
    line.join(shard(1), at(1.0));
    assert_eq!(granted(&mut line, at(5.0)), [] as [u32; 0]);
    assert_eq!(line.poll_timeout(at(5.0), |_| true), Some(at(10.05)));
    assert_eq!(granted(&mut line, at(10.05)), [1]);

    let mut line = IdentifyLine::new(1, at(0.0));
    line.reserve(shard(0), at(0.0));
    assert_eq!(
        line.reserve(shard(1), at(6.0)),
        at(6.0),
        "sleepers are late alike"
    );
}

#[test]
fn an_identify_that_nobody_allowed_closes_the_bucket_all_the_same() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.sent(shard(0), at(1.0));
    line.join(shard(1), at(1.0));
    assert_eq!(line.poll_timeout(at(1.0), |_| true), Some(at(6.05)));
}

#[test]
fn a_holder_that_vanished_with_an_open_permit_may_have_used_it() {
    let mut line = IdentifyLine::new(1, at(0.0));
    line.join(shard(0), at(0.0));
    line.join(shard(1), at(0.0));
    assert_eq!(granted(&mut line, at(0.03)), [0]);
    line.forget(shard(0), at(2.0));
    assert_eq!(granted(&mut line, at(7.34)), [] as [u32; 0]);
    assert_eq!(granted(&mut line, at(7.35)), [1]);
}

#[test]
fn a_new_max_concurrency_keeps_the_line_and_opens_no_bucket_early() {
    let mut line = IdentifyLine::new(1, at(0.0));
    for number in 0..3 {
        line.join(shard(number), at(0.0));
    }
    assert_eq!(granted(&mut line, at(0.03)), [0]);
    line.set_max_concurrency(4, at(1.0));
    assert_eq!(granted(&mut line, at(10.05)), [] as [u32; 0]);
    assert_eq!(granted(&mut line, at(10.08)), [1, 2]);
}

#[test]
fn a_line_taken_up_after_a_restart_opens_when_it_is_told() {
    let mut line = IdentifyLine::new(1, at(5.1));
    line.join(shard(0), at(0.0));
    assert_eq!(line.poll_timeout(at(0.0), |_| true), Some(at(5.1)));
    assert_eq!(granted(&mut line, at(5.1)), [0]);
}

proptest::proptest! {
    /// Whatever holders do, the identifies of one bucket stay five seconds
    /// apart, as long as permits are used at once, and sleepers are no later
    /// than others by more than the spread.
    #[test]
    fn identifies_of_a_bucket_stay_five_seconds_apart(
        mc in 1u32..5,
        steps in proptest::collection::vec((0u32..12, 0u8..5, 0u64..4000, 0u64..1000, proptest::bool::ANY), 1..80),
    ) {
        let mut line = IdentifyLine::new(mc, Tick(0));
        let mut now = Tick(0);
        let mut identifies: Vec<(u32, Tick)> = Vec::new();
        // When each sleeper identifies, and whether it gives a sign then.
        let mut sleepers: BTreeMap<ShardId, (Tick, bool)> = BTreeMap::new();
        let mut asked: BTreeSet<ShardId> = BTreeSet::new();
        for (number, step, pause, late, tells) in steps {
            now = now + Duration::from_millis(pause);
            let shard = shard(number);
            sleepers.retain(|sleeper, (at, tells)| {
                let woke = *at <= now;
                if woke {
                    identifies.push((sleeper.bucket(mc), *at));
                    line.poll(now, 0, |_| true);
                    if *tells { line.connected(*sleeper, now); }
                }
                !woke
            });
            let busy = sleepers.contains_key(&shard) || asked.contains(&shard);
            match step {
                0 if !busy => {
                    let slot = line.reserve(shard, now);
                    sleepers.insert(shard, (slot + Duration::from_millis(late), tells));
                }
                1 | 2 if !busy => { line.join(shard, now); asked.insert(shard); }
                3 => { sleepers.remove(&shard); asked.remove(&shard); line.forget(shard, now); }
                _ => {}
            }
            for permit in line.poll(now, u32::MAX, |_| true) {
                asked.remove(&permit.shard);
                identifies.push((permit.shard.bucket(mc), now));
                line.used(permit.shard, now);
            }
        }
        identifies.sort_unstable();
        for pair in identifies.windows(2) {
            let ((one, first), (other, second)) = (pair[0], pair[1]);
            proptest::prop_assert!(one != other || second.ms_since(first) >= 5_000, "{first} and {second} in bucket {one}");
        }
    }
}

#[test]
fn a_prompt_ready_says_when_identify_had_arrived_at_the_latest() {
    let opens = |ready: f64| {
        let mut line = IdentifyLine::new(1, at(0.0));
        line.join(shard(0), at(0.0));
        line.join(shard(1), at(0.0));
        assert_eq!(granted(&mut line, at(0.03)), [0]);
        line.used(shard(0), at(0.04));
        line.answered(shard(0), at(ready));
        line.poll_timeout(at(ready), |_| true).unwrap()
    };
    assert_eq!(opens(0.06), at(5.09), "as soon as ever");
    assert_eq!(opens(0.34), at(5.305), "it may have been on its way for long");
    assert_eq!(opens(2.0), at(5.09), "READY itself was slow");
}
