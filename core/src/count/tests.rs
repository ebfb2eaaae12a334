//! Numbers of shards: which are taken, what they cost, when others are due.

use super::*;

const SMALL: Bot = Bot {
    recommended: Some(4),
    max_concurrency: 1,
    guilds: 4_000,
    most_guilds: 1_100,
};

const LARGE: Bot = Bot {
    recommended: Some(208),
    max_concurrency: 16,
    guilds: 200_000,
    most_guilds: 1_100,
};

fn question(live: &Plan, target: u32, bot: Bot) -> Question {
    Question {
        live: live.clone(),
        target,
        bot,
        starts: Some((900, 1000)),
        places: None,
        memory: Some((10 << 20, 1 << 30)),
        under_way: false,
        halted: None,
    }
}

#[test]
fn a_large_bot_runs_a_multiple_of_its_number() {
    assert_eq!(LARGE.refuses(192), None);
    assert_eq!(LARGE.refuses(416), None, "a multiple of the recommended number");
    let reason = LARGE.refuses(200).unwrap();
    assert!(
        reason.contains("4010") && reason.contains("192 or 208"),
        "{reason}"
    );
    assert_eq!(SMALL.refuses(7), None, "others run what they like");
}

#[test]
fn too_few_shards_for_the_guilds_are_refused() {
    let reason = SMALL.refuses(1).unwrap();
    assert!(
        reason.contains("4011") && reason.contains("take 2 or more"),
        "{reason}"
    );
    assert!(SMALL.refuses(0).is_some() && SMALL.refuses(MAX_SHARDS + 1).is_some());
}

#[test]
fn guilds_that_nobody_counted_are_not_taken_for_none() {
    let bot = |counts: &[u64]| Bot::new(Some(100), 1, 100, counts).guilds;
    assert_eq!(bot(&[]), 100_000, "as many as Discord plans for");
    assert_eq!(bot(&[900, 1_100]), 100_000, "the others are like those");
    assert_eq!(Bot::new(None, 1, 4, &[]).guilds, 0);
}

#[test]
fn to_stay_is_always_possible_while_a_change_is_under_way() {
    let live = Plan::of_total(200);
    let mut asked = question(&live, 200, LARGE);
    asked.under_way = true;
    asked.halted = Some("halted".to_owned());
    assert_eq!(price(&asked).refusals, [] as [String; 0]);
}

#[test]
fn a_split_costs_the_new_shards_one_after_another() {
    let live = Plan::of_total(4);
    let report = price(&question(&live, 8, SMALL));
    assert_eq!((report.steps, report.identifies, report.peak_shards), (4, 8, 2));
    assert_eq!(report.peak_bytes, Some(20 << 20));
    assert!(report.refusals.is_empty(), "{:?}", report.refusals);
    assert!((50.0..60.0).contains(&report.seconds), "{}", report.seconds);
    let beside = price(&question(&live, 7, SMALL));
    assert_eq!((beside.steps, beside.identifies, beside.peak_shards), (1, 7, 7));
}

#[test]
fn what_is_unsafe_is_refused_with_every_reason() {
    let live = Plan::of_total(4);
    let mut asked = question(&live, 8, SMALL);
    asked.starts = Some((7, 107));
    asked.places = Some(6);
    asked.memory = Some((1 << 30, 1 << 20));
    asked.halted = Some("halted: the token".to_owned());
    let refusals = price(&asked).refusals.join("\n");
    for word in ["session starts", "SHARDS_PER_WORKER", "memory", "the token"] {
        assert!(refusals.contains(word), "{refusals}");
    }
    assert_eq!(price(&question(&live, 4, SMALL)).refusals.len(), 1);
    assert_eq!(price(&question(&live, 0, SMALL)).identifies, 0);
}

#[test]
fn another_number_is_due_at_four_fifths_of_the_limit_or_at_discords_word() {
    assert_eq!(SMALL.due(4, None), None);
    let full = Bot {
        most_guilds: SPLIT_AT,
        guilds: 7_000,
        ..SMALL
    };
    assert_eq!(full.due(4, None).unwrap().0, 8);
    let grown = Bot {
        recommended: Some(9),
        ..SMALL
    };
    assert_eq!(grown.due(4, None).unwrap().0, 16);
    assert_eq!(grown.due(5, None), None, "1,800 guilds a shard are fine");
    assert_eq!(SMALL.due(4, Some(4011)).unwrap().0, 8);
    assert_eq!(LARGE.due(200, Some(4010)).unwrap().0, 208);
    assert_eq!(SMALL.due(4, Some(4010)), None, "it is what Discord recommends");
}
