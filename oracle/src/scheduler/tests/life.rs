//! How requests come, wait, end, fail and are forgotten.

use super::*;

#[test]
fn answers_that_share_passes_are_those_of_plain_decoding() {
    let fake = FakeSettings {
        memory: 1000,
        ..FakeSettings::default()
    };
    let bench = Bench::new(&fake, Settings::default());
    let jobs: Vec<Job> = (0..12)
        .map(|index| {
            let mut job = job(&format!("tell me about shard {index}"));
            job.sampling.temperature = [0.0, 0.7, 1.5][index % 3];
            job.sampling.seed = index as u64;
            job.choices = 1 + (index % 4) as u32;
            job.max_tokens = 20 + index;
            job
        })
        .collect();
    let tickets: Vec<Ticket> = jobs.iter().map(|job| bench.submit(job)).collect();
    for (job, ticket) in jobs.iter().zip(tickets) {
        assert_eq!(collect(ticket), plain(&fake, job));
    }
    bench.until_idle();
    assert!(bench.metric("oracle_prompt_tokens_total") > 0.0);
    assert!(bench.metric("oracle_completion_tokens_total") > 0.0);
    assert_eq!(bench.metric("oracle_cancelled_total"), 0.0);
}

#[test]
fn rows_are_free_before_the_next_pass_when_a_reader_leaves() {
    let bench = Bench::new(&slow(), Settings::default());
    let mut job = endless("on and on");
    job.choices = 3;
    let (ticket, _) = bench.begin(&job);
    assert_eq!(bench.handle.standing().rows, 3);
    drop(ticket);
    let passes = bench.watch.passes.load(Relaxed);
    bench.until_idle();
    let more = bench.watch.passes.load(Relaxed) - passes;
    assert!(more <= 1, "only the pass that ran may end, not {more}");
    let tokens = bench.metric("oracle_completion_tokens_total");
    assert!(tokens >= 3.0, "what was written was written: {tokens}");
    assert_eq!(bench.metric("oracle_cancelled_total"), 1.0);
}

#[test]
fn one_that_leaves_the_line_makes_place_at_once() {
    let settings = Settings {
        answers: 1,
        queue: 1,
        ..Settings::default()
    };
    let bench = Bench::new(&slow(), settings);
    let (running, _) = bench.begin(&endless("first"));
    let waiting = bench.submit(&job("second"));
    let refusal = bench.handle.submit(job("third")).unwrap_err();
    assert!(matches!(refusal, Refusal::Full { retry_after } if retry_after >= Duration::from_secs(1)));
    assert_eq!(bench.handle.standing().queued, 1);
    drop(waiting);
    let third = bench.submit(&job("third"));
    drop(running);
    assert_eq!(collect(third), plain(&slow(), &job("third")));
    bench.until_idle();
    assert_eq!(bench.metric("oracle_cancelled_total"), 2.0);
}

#[test]
fn a_large_request_is_not_overtaken_for_ever() {
    let fake = slow();
    let settings = Settings {
        kv_budget: 4000 * fake.kv_bytes_per_token,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let (running, _) = bench.begin(&endless("running"));
    let mut large = bench.submit(&Job {
        max_tokens: 3800,
        ..job("large")
    });
    let mut small = bench.submit(&Job {
        max_tokens: 1,
        ..job("small")
    });
    assert_eq!(
        bench.handle.standing().queued,
        2,
        "the small one could begin, and does not"
    );
    drop(running);
    small.events.blocking_recv().unwrap();
    large.events.try_recv().expect("the large one began first");
}

#[test]
fn whoever_waits_too_long_is_told() {
    let settings = Settings {
        answers: 1,
        queue_wait: Duration::from_secs(1),
        ..Settings::default()
    };
    let bench = Bench::new(&slow(), settings);
    let (_running, _) = bench.begin(&endless("running"));
    let refused = collect(bench.submit(&job("waiting")));
    assert!(
        matches!(refused, Whole::Refused(Refusal::Waited { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_can_never_fit_is_refused_by_its_reason() {
    let fake = FakeSettings {
        context_tokens: 50,
        ..FakeSettings::default()
    };
    let settings = Settings {
        kv_budget: 60 * fake.kv_bytes_per_token,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let with = |prompt: usize, choices| Job {
        prompt: vec![70; prompt],
        choices,
        max_tokens: 30,
        ..job("")
    };
    assert_eq!(bench.handle.submit(with(0, 1)).unwrap_err(), Refusal::Empty);
    let refusal = bench.handle.submit(with(50, 1)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::ContextExceeded {
            prompt: 50,
            answer: 30,
            context: 50
        }
    );
    let refusal = bench.handle.submit(with(40, 2)).unwrap_err();
    let bytes = |tokens| tokens * fake.kv_bytes_per_token;
    assert_eq!(
        refusal,
        Refusal::MemoryExceeded {
            needed: bytes(100),
            budget: bytes(60)
        }
    );
    // What is asked for beyond the context is cut there.
    let long = Job {
        max_tokens: 1000,
        ..endless("")
    };
    let Whole::Choices(choices) = collect(bench.submit(&long)) else {
        panic!("it fits")
    };
    assert_eq!(choices[0].finish, Some(Finish::Length));
    assert_eq!(choices[0].tokens, 50 - long.prompt.len());
}

#[test]
fn requests_wait_for_the_memory_of_their_worst_case() {
    let fake = FakeSettings::default();
    let settings = Settings {
        kv_budget: 250 * fake.kv_bytes_per_token,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let jobs = (0..6).map(|index| Job {
        prompt: vec![70 + index; 100],
        max_tokens: 10,
        ..job("")
    });
    let tickets: Vec<(Job, Ticket)> = jobs.map(|job| (job.clone(), bench.submit(&job))).collect();
    for (job, ticket) in tickets {
        assert_eq!(collect(ticket), plain(&fake, &job));
    }
    let most = bench.watch.most_held_tokens.load(Relaxed);
    assert!((200..=250).contains(&most), "two at a time, not {most} tokens");
    bench.until_idle();
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    let fake = FakeSettings::default();
    let bench = Bench::new(&fake, Settings::default());
    let unread = Job {
        max_tokens: 2000,
        logprobs: Some(2),
        ..endless("unread")
    };
    let ticket = bench.submit(&unread);
    let other = job("another");
    assert_eq!(collect(bench.submit(&other)), plain(&fake, &other));
    bench.until_idle();
    assert_eq!(collect(ticket), plain(&fake, &unread));
}

#[test]
fn a_failed_pass_fails_its_requests_and_no_later_one() {
    let fake = FakeSettings::default();
    let settings = Settings {
        answers: 1,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let trouble = bench.submit(&job("!long! !fail-after=5!"));
    let behind = job("and I?");
    let later = bench.submit(&behind);
    let failed = collect(trouble);
    assert!(
        matches!(failed, Whole::Failed(ref text) if text.contains("asked for it")),
        "{failed:?}"
    );
    assert_eq!(collect(later), plain(&fake, &behind));
    let at_once = collect(bench.submit(&job("!fail-after=0!")));
    assert!(matches!(at_once, Whole::Failed(_)), "{at_once:?}");
    bench.until_idle();
    assert_eq!(bench.metric("oracle_failed_passes_total"), 2.0);
    let Whole::Choices(whole) = plain(&fake, &behind) else {
        panic!("it is whole")
    };
    let failed = bench.metric("oracle_completion_tokens_total") as usize - whole[0].tokens;
    assert!((4..=5).contains(&failed), "{failed} of the one that failed");
}

#[test]
fn numbers_that_are_none_fail_their_request_alone() {
    let fake = slow();
    let bench = Bench::new(&fake, Settings::default());
    let beside = Job {
        max_tokens: 30,
        ..endless("beside")
    };
    let other = bench.submit(&beside);
    let failed = collect(bench.submit(&job("!long! !nan-after=3!")));
    assert!(
        matches!(failed, Whole::Failed(ref text) if text.contains("numbers")),
        "{failed:?}"
    );
    assert_eq!(collect(other), plain(&fake, &beside));
    bench.until_idle();
}

#[test]
fn an_engine_that_panics_is_broken_and_everyone_is_told() {
    let settings = Settings {
        answers: 2,
        ..Settings::default()
    };
    let bench = Bench::new(&slow(), settings);
    let (beside, _) = bench.begin(&endless("beside"));
    let trouble = bench.submit(&endless("!panic-after=300!"));
    let waiting = bench.submit(&job("waiting"));
    assert!(matches!(collect(trouble), Whole::Failed(_)));
    assert!(matches!(collect(beside), Whole::Failed(_)));
    assert_eq!(collect(waiting), Whole::Refused(Refusal::Broken));
    assert_eq!(bench.handle.submit(job("late")).unwrap_err(), Refusal::Broken);
    let standing = bench.handle.standing();
    assert!(standing.broken && !standing.stopped && standing.active == 0 && standing.kv_bytes == 0);
}

#[test]
fn who_has_its_turn_is_answered_before_the_thread_ends() {
    let fake = slow();
    let settings = Settings {
        answers: 1,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let running = Job {
        max_tokens: 400,
        ..endless("running")
    };
    let ticket = bench.submit(&running);
    until("its turn", || bench.handle.standing().active == 1);
    let waiting = bench.submit(&job("waiting"));
    bench.handle.stop();
    assert_eq!(collect(waiting), Whole::Refused(Refusal::Stopping));
    assert_eq!(bench.handle.submit(job("late")).unwrap_err(), Refusal::Stopping);
    assert_eq!(collect(ticket), plain(&fake, &running));
    until("the end of the thread", || bench.handle.standing().stopped);
}

#[test]
fn the_thread_ends_with_its_last_handle() {
    let bench = Bench::new(&FakeSettings::default(), Settings::default());
    let ticket = bench.submit(&job("only one"));
    let watch = Arc::clone(&bench.watch);
    drop(bench);
    collect(ticket);
    // The engine is dropped with its thread, and lets go of what watches it.
    until("the end of the thread", || Arc::strong_count(&watch) == 1);
}

#[test]
fn an_engine_that_does_not_come_back_is_seen() {
    let bench = Bench::new(&FakeSettings::default(), Settings::default());
    let ticket = bench.submit(&job("!slow=700ms!"));
    until("a long pass", || {
        bench.handle.standing().stalled_for > Duration::from_millis(200)
    });
    drop(ticket);
    bench.until_idle();
    let standing = bench.handle.standing();
    assert_eq!(standing.stalled_for, Duration::ZERO, "there is nothing to do");
    until("time without work", || {
        bench.handle.standing().idle_for > Duration::from_millis(1)
    });
}

#[test]
fn an_engine_that_gets_on_is_not_taken_for_one_that_does_not() {
    let bench = Bench::new(&slow(), Settings::default());
    let (_running, _) = bench.begin(&endless("running"));
    let began = Instant::now();
    until("a pass that ended lately", || {
        let standing = bench.handle.standing();
        assert_eq!(standing.active, 1);
        began.elapsed() > Duration::from_millis(400) && standing.stalled_for < Duration::from_millis(100)
    });
}

#[test]
fn a_model_whose_passes_always_fail_is_failing_until_a_row_is_good() {
    let bench = Bench::new(&FakeSettings::default(), Settings::default());
    let fail = |trouble: &str| {
        let failed = collect(bench.submit(&job(trouble)));
        assert!(matches!(failed, Whole::Failed(_)), "{failed:?}");
        bench.until_idle();
        bench.handle.standing().failing
    };
    assert!(!fail("!fail-after=0!"));
    assert!(!fail("!nan-after=0!"));
    assert!(fail("!fail-after=0!"), "the third one in a row");
    assert!(fail("!nan-after=0!"));
    collect(bench.submit(&job("and now?")));
    bench.until_idle();
    assert!(!bench.handle.standing().failing);
}

#[test]
fn a_model_that_cannot_be_measured_is_broken() {
    let fake = FakeSettings {
        fails: true,
        ..FakeSettings::default()
    };
    let bench = Bench::new(&fake, Settings::default());
    until("the end of the thread", || bench.handle.standing().broken);
    assert_eq!(bench.handle.submit(job("late")).unwrap_err(), Refusal::Broken);
}

#[test]
fn memory_is_counted_as_it_is_taken() {
    let fake = FakeSettings {
        kv_block_tokens: 64,
        ..slow()
    };
    // Three prompts and answers of 110 tokens, but for what rounding takes.
    let settings = Settings {
        kv_budget: 330 * fake.kv_bytes_per_token,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let job = Job {
        prompt: vec![70; 100],
        max_tokens: 10,
        ..endless("")
    };
    let tickets: Vec<Ticket> = (0..3).map(|_| bench.submit(&job)).collect();
    tickets.into_iter().for_each(|ticket| drop(collect(ticket)));
    let most = bench.watch.most_held_tokens.load(Relaxed);
    assert!((200..=220).contains(&most), "two at a time, not {most} tokens");
}
