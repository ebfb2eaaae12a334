//! The rules as sentences.

use shardman_core::id::ShardId;
use shardman_core::tick::Tick;

use super::{
    COMMANDS_PER_WINDOW, CloseCode, ConnId, Event, Guilds, Identify, KNOWN_INTENTS, Limits, REPLAY_LIMIT,
    Refusal, Resume, Rules,
};

const INVALID: Refusal = Refusal::InvalidSession { resumable: false };

fn limits() -> Limits {
    Limits {
        max_concurrency: 2,
        identify_window_ms: 5_000,
        budget_total: 1000,
        budget_remaining: 1000,
        resume_window_ms: 90_000,
        heartbeat_interval_ms: 41_250,
        guilds: 8,
        token: None,
        seed: 7,
        epoch_ms: 0,
    }
}

fn at(ms: u64) -> Tick {
    Tick(ms)
}

fn identify(rules: &mut Rules, shard: (i64, i64), now: Tick) -> (ConnId, Result<ShardId, Refusal>) {
    let conn = rules.connect(false, now);
    let body = Identify {
        token: "x",
        shard: Some(shard),
        intents: Some(KNOWN_INTENTS as i64),
    };
    (conn, rules.identify(conn, &body, now))
}

fn ready(rules: &mut Rules, shard: (i64, i64), now: Tick) -> (ConnId, String) {
    let (conn, answer) = identify(rules, shard, now);
    answer.unwrap();
    deliver(rules, conn, now);
    (conn, rules.session_of(conn).unwrap().to_string())
}

/// Writes all that is pending; answers with its sequences.
fn deliver(rules: &mut Rules, conn: ConnId, now: Tick) -> Vec<u64> {
    let pending = rules.pending(conn, usize::MAX);
    let sequences: Vec<u64> = pending.iter().map(|next| next.sequence).collect();
    if let Some(last) = sequences.last() {
        rules.delivered(conn, *last, now);
    }
    sequences
}

fn resume(rules: &mut Rules, session_id: &str, sequence: u64, now: Tick) -> (ConnId, Result<u64, Refusal>) {
    let conn = rules.connect(true, now);
    let answer = rules.resume(
        conn,
        &Resume {
            token: "x",
            session_id,
            sequence,
        },
        now,
    );
    (conn, answer.map(|resumed| resumed.replayed))
}

#[test]
fn one_bucket_takes_one_identify_in_five_seconds() {
    let mut rules = Rules::new(limits());
    assert!(identify(&mut rules, (0, 4), at(0)).1.is_ok());
    assert!(identify(&mut rules, (1, 4), at(0)).1.is_ok(), "another bucket");
    assert_eq!(identify(&mut rules, (2, 4), at(4_999)).1, Err(INVALID));
    assert!(
        identify(&mut rules, (2, 4), at(5_000)).1.is_ok(),
        "the refused one did not push the window on"
    );

    let report = rules.report(at(5_000));
    assert_eq!(report.identify_count, 4);
    assert_eq!(report.identifies_per_bucket[&0], 3);
    assert_eq!(report.min_gap_ms[&0], 1);
    assert_eq!(report.broken_rules[0].rule, "identify_rate");
    assert_eq!(report.budget.remaining, 996);
}

#[test]
fn an_identify_beyond_the_budget_resets_the_token_for_everyone() {
    let mut rules = Rules::new(Limits {
        budget_remaining: 1,
        ..limits()
    });
    let (first, _) = ready(&mut rules, (0, 2), at(0));
    let refused = identify(&mut rules, (1, 2), at(1)).1;
    assert_eq!(refused, Err(Refusal::Close(CloseCode::AuthenticationFailed)));
    assert_eq!(rules.shard_of(first), None);
    assert!(!rules.token_is_good("x"));
    assert_eq!(rules.report(at(1)).token_resets, 1);
}

#[test]
fn the_budget_is_full_again_after_a_day() {
    let mut rules = Rules::new(Limits {
        budget_total: 2,
        budget_remaining: 1,
        ..limits()
    });
    ready(&mut rules, (0, 2), at(0));
    ready(&mut rules, (1, 2), at(24 * 60 * 60 * 1000));
    assert_eq!(rules.report(at(0)).budget.remaining, 1);
}

#[test]
fn a_resume_replays_what_the_client_missed_and_nothing_else() {
    let mut rules = Rules::new(limits());
    let (conn, session) = ready(&mut rules, (0, 1), at(0));
    rules.message(at(1));
    rules.message(at(2));
    assert_eq!(deliver(&mut rules, conn, at(2)), [10, 11]);
    rules.disconnect(conn, None, at(3));
    rules.message(at(4));

    let (conn, replayed) = resume(&mut rules, &session, 10, at(5));
    assert_eq!(replayed, Ok(2));
    assert_eq!(
        deliver(&mut rules, conn, at(5)),
        [11, 12, 13],
        "one again, one missed, RESUMED"
    );
    let report = rules.report(at(5));
    let counts = report.events[&ShardId::new(0, 1).unwrap()];
    assert_eq!(
        (counts.sent, counts.delivered, counts.replayed, counts.lost),
        (3, 3, 1, 0)
    );
    assert!(report.resumes[0].by_resume_url);
}

#[test]
fn an_absence_lasts_from_the_end_of_a_connection_to_resumed() {
    let mut rules = Rules::new(limits());
    let (conn, session) = ready(&mut rules, (0, 1), at(0));
    rules.disconnect(conn, Some(4000), at(1_000));
    let shard = ShardId::new(0, 1).unwrap();
    let report = rules.report(at(1_500));
    assert_eq!(report.longest_absence_ms[&shard], 500, "it still lasts");
    assert_eq!(report.absences[0].to_ms, None);
    let (conn, _) = resume(&mut rules, &session, 9, at(1_700));
    deliver(&mut rules, conn, at(1_750));
    let report = rules.report(at(9_000));
    assert_eq!(report.longest_absence_ms[&shard], 750);
    assert_eq!(
        (report.absences[0].from_ms, report.absences[0].to_ms),
        (1_000, Some(1_750))
    );
    rules.reset_report(at(9_000));
    assert!(rules.report(at(9_001)).absences.is_empty());
}

#[test]
fn a_session_lives_for_its_window_and_not_longer() {
    let mut rules = Rules::new(limits());
    let (conn, session) = ready(&mut rules, (0, 1), at(0));
    rules.disconnect(conn, Some(4000), at(1_000));
    rules.handle_timeout(at(90_999));
    let (conn, replayed) = resume(&mut rules, &session, 9, at(90_999));
    assert_eq!(replayed, Ok(0));
    rules.disconnect(conn, None, at(91_000));
    rules.message(at(91_001));
    rules.handle_timeout(at(181_000));
    assert_eq!(resume(&mut rules, &session, 9, at(181_000)).1, Err(INVALID));
    assert_eq!(rules.report(at(181_000)).events_total.lost, 1);
}

#[test]
fn a_client_that_closes_with_1000_or_1001_gives_its_session_up() {
    for code in [1000, 1001] {
        let mut rules = Rules::new(limits());
        let (conn, session) = ready(&mut rules, (0, 1), at(0));
        rules.disconnect(conn, Some(code), at(1));
        assert_eq!(resume(&mut rules, &session, 1, at(1)).1, Err(INVALID));
    }
}

#[test]
fn a_resume_from_the_future_is_an_invalid_sequence() {
    let mut rules = Rules::new(limits());
    let (conn, session) = ready(&mut rules, (0, 1), at(0));
    rules.disconnect(conn, None, at(1));
    let refused = resume(&mut rules, &session, 99, at(1)).1;
    assert_eq!(refused, Err(Refusal::Close(CloseCode::InvalidSequence)));
}

#[test]
fn a_resume_of_a_live_session_takes_it_over_without_a_double_holder() {
    let mut rules = Rules::new(limits());
    let (old, session) = ready(&mut rules, (0, 1), at(0));
    let (new, answer) = resume(&mut rules, &session, 9, at(50));
    assert!(answer.is_ok());
    assert_eq!(
        (rules.shard_of(old), rules.shard_of(new)),
        (None, ShardId::new(0, 1).ok())
    );
    let report = rules.report(at(60));
    assert_eq!((report.double_holders.count, report.takeovers.len()), (0, 1));
}

#[test]
fn two_sessions_of_one_shard_at_once_are_double_holders() {
    let mut rules = Rules::new(limits());
    let (first, _) = ready(&mut rules, (0, 1), at(0));
    let (second, _) = ready(&mut rules, (0, 1), at(6_000));
    rules.message(at(6_500));
    deliver(&mut rules, first, at(6_500));
    deliver(&mut rules, second, at(6_500));
    rules.disconnect(first, None, at(7_000));

    let report = rules.report(at(8_000));
    assert_eq!(report.max_holders[&ShardId::new(0, 1).unwrap()], 2);
    let hold = &report.double_holders.list[0];
    assert_eq!((hold.from_ms, hold.to_ms), (6_000, Some(7_000)));
    assert_eq!(report.events_total.doubled, 1);
}

#[test]
fn sessions_of_different_totals_are_no_double_holders() {
    let mut rules = Rules::new(limits());
    ready(&mut rules, (0, 1), at(0));
    ready(&mut rules, (0, 2), at(5_000));
    assert_eq!(rules.report(at(9_000)).double_holders.count, 0);
}

#[test]
fn a_new_session_covers_what_the_old_one_never_delivers() {
    let mut rules = Rules::new(limits());
    let (old, _) = ready(&mut rules, (0, 1), at(0));
    rules.disconnect(old, None, at(1));
    let (new, _) = ready(&mut rules, (0, 1), at(5_000));
    rules.message(at(5_001));
    deliver(&mut rules, new, at(5_001));
    rules.handle_timeout(at(90_001));
    let total = rules.report(at(90_001)).events_total;
    assert_eq!((total.delivered, total.lost, total.superseded), (1, 0, 1));
}

#[test]
fn a_message_without_any_session_is_unheard() {
    let mut rules = Rules::new(limits());
    rules.message(at(0));
    let report = rules.report(at(0));
    assert_eq!((report.generated, report.unheard), (1, 1));
}

#[test]
fn guilds_are_spread_as_discord_spreads_them() {
    let rules = Rules::new(Limits {
        guilds: 1_000,
        ..limits()
    });
    let mut sum = 0;
    for shard in ShardId::all(7) {
        assert_eq!(
            rules.guilds().of(shard).count() as u32,
            rules.guilds().count(shard)
        );
        for index in rules.guilds().of(shard) {
            assert_eq!((Guilds::id(index) >> 22) % 7, u64::from(shard.number()));
            sum += 1;
        }
    }
    assert_eq!(sum, 1_000);
}

#[test]
fn bad_identifies_get_their_close_codes() {
    let mut rules = Rules::new(Limits {
        guilds: 2_501,
        ..limits()
    });
    rules.deny_intents(2);
    let mut check = |token, shard, intents, code| {
        let conn = rules.connect(false, at(0));
        let answer = rules.identify(
            conn,
            &Identify {
                token,
                shard,
                intents,
            },
            at(0),
        );
        assert_eq!(answer, Err(Refusal::Close(code)));
    };
    check("", None, Some(0), CloseCode::AuthenticationFailed);
    check("invalid", None, Some(0), CloseCode::AuthenticationFailed);
    check("x", Some((4, 4)), Some(0), CloseCode::InvalidShard);
    check("x", Some((-1, 4)), Some(0), CloseCode::InvalidShard);
    check("x", Some((0, 2)), None, CloseCode::InvalidIntents);
    check("x", Some((0, 2)), Some(1 << 40), CloseCode::InvalidIntents);
    check("x", Some((0, 2)), Some(3), CloseCode::DisallowedIntents);
    check("x", None, Some(0), CloseCode::ShardingRequired);
    assert_eq!(rules.report(at(0)).identify_count, 0);
}

#[test]
fn a_connection_sends_120_messages_a_minute_at_most() {
    let mut rules = Rules::new(limits());
    let conn = rules.connect(false, at(0));
    for _ in 0..COMMANDS_PER_WINDOW {
        rules.command(conn, at(0)).unwrap();
    }
    assert_eq!(
        rules.command(conn, at(59_999)),
        Err(Refusal::Close(CloseCode::RateLimited))
    );
    assert_eq!(rules.command(conn, at(60_000)), Ok(()));
}

#[test]
fn a_connection_without_heartbeats_is_silent_after_two_intervals() {
    let mut rules = Rules::new(limits());
    let (conn, _) = ready(&mut rules, (0, 1), at(0));
    rules.heartbeat(conn, at(41_000));
    assert_eq!(rules.poll_timeout(), Some(at(123_500)));
    assert_eq!(rules.handle_timeout(at(123_499)), []);
    assert_eq!(rules.handle_timeout(at(123_500)), [conn]);
}

#[test]
fn a_session_that_had_to_forget_an_undelivered_event_is_gone() {
    let mut rules = Rules::new(limits());
    let (conn, session) = ready(&mut rules, (0, 1), at(0));
    rules.disconnect(conn, None, at(0));
    for _ in 0..=REPLAY_LIMIT {
        rules.message(at(1));
    }
    assert_eq!(resume(&mut rules, &session, 9, at(2)).1, Err(INVALID));
    assert!(rules.report(at(2)).events_total.lost > 0);
}

#[test]
fn without_the_intents_there_are_no_guilds_and_no_messages() {
    let mut rules = Rules::new(limits());
    let conn = rules.connect(false, at(0));
    rules
        .identify(
            conn,
            &Identify {
                token: "x",
                shard: None,
                intents: Some(0),
            },
            at(0),
        )
        .unwrap();
    rules.message(at(1));
    let events: Vec<Event> = rules
        .pending(conn, 9)
        .into_iter()
        .map(|next| next.event)
        .collect();
    assert_eq!(events, [Event::Ready]);
}
