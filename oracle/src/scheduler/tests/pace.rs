//! Who gets on how fast: drafts where they pay, and prompts that let running
//! answers go on.

use super::*;

fn auto() -> Settings {
    Settings {
        speculate: Speculate::Auto,
        draft_wait: Some(Duration::ZERO),
        ..Settings::default()
    }
}

fn tokens(count: usize) -> Job {
    Job {
        max_tokens: count,
        ..endless("a draft may help here")
    }
}

/// The passes of a job, without those of the calibration.
fn passes(bench: &Bench, fake: &FakeSettings, job: &Job) -> usize {
    assert_eq!(collect(bench.submit(job)), plain(fake, job));
    bench.metric("oracle_passes_total") as usize
}

#[test]
fn good_drafts_spare_passes() {
    let fake = FakeSettings {
        memory: 1000,
        ..slow()
    };
    let bench = Bench::with(&fake, auto(), &[Character::Honest]);
    let passes = passes(&bench, &fake, &tokens(200));
    println!(
        "200 tokens in {passes} passes, {} drafted",
        bench.metric("oracle_drafted_tokens_total")
    );
    assert!(passes < 100);
    assert_eq!(
        bench.metric("oracle_drafted_tokens_total"),
        bench.metric("oracle_accepted_tokens_total")
    );
    assert_eq!(bench.metric("oracle_speculates"), 1.0);
    assert!(bench.metric("oracle_draft_acceptance_ratio") > 0.6);
}

#[test]
fn bad_drafts_are_soon_no_longer_checked() {
    let fake = FakeSettings {
        per_row: Duration::from_millis(1),
        memory: 1000,
        ..slow()
    };
    let bench = Bench::with(&fake, auto(), &[Character::Lying]);
    let passes = passes(&bench, &fake, &tokens(200));
    let drafted = bench.metric("oracle_drafted_tokens_total");
    println!("200 tokens in {passes} passes, {drafted} drafted in vain");
    assert!((200..=201).contains(&passes));
    assert!(drafted < 80.0);
}

#[test]
fn rows_that_are_not_exact_have_no_drafts() {
    let fake = FakeSettings {
        row_exact: false,
        ..slow()
    };
    let bench = Bench::with(&fake, auto(), &[Character::Honest]);
    collect(bench.submit(&tokens(20)));
    assert_eq!(bench.metric("oracle_drafted_tokens_total"), 0.0);
    assert_eq!(bench.metric("oracle_speculates"), 0.0);
}

#[test]
fn the_best_of_several_drafts_is_checked() {
    let fake = FakeSettings {
        memory: 1000,
        ..slow()
    };
    let drafters = [Character::Lying, Character::Honest, Character::Silent];
    let bench = Bench::with(&fake, auto(), &drafters);
    let passes = passes(&bench, &fake, &tokens(300));
    let accepted = bench.metric("oracle_accepted_tokens_total");
    println!("300 tokens in {passes} passes, {accepted} drafted well");
    assert!(accepted > 150.0);
}

#[test]
fn a_draft_that_comes_in_time_is_waited_for() {
    let fake = FakeSettings {
        memory: 1000,
        ..slow()
    };
    let bench = Bench::with(
        &fake,
        Settings {
            draft_wait: None,
            ..auto()
        },
        &[Character::Tardy],
    );
    let passes = passes(&bench, &fake, &tokens(200));
    println!("200 tokens in {passes} passes, with a wait for each");
    assert!(passes < 100);
}

#[test]
fn a_drafter_that_never_answers_is_soon_not_waited_for() {
    let fake = FakeSettings {
        memory: 1000,
        ..slow()
    };
    let settings = Settings {
        draft_wait: Some(Duration::from_millis(1)),
        ..auto()
    };
    let frozen = Bench::with(&fake, settings.clone(), &[Character::Frozen]);
    passes(&frozen, &fake, &tokens(300));
    let waits = frozen.metric("oracle_draft_waits_total");
    println!("{waits} waits in 300 passes");
    assert!((1.0..40.0).contains(&waits));
}

#[test]
fn a_long_prompt_lets_running_answers_go_on() {
    let fake = FakeSettings {
        per_row: Duration::from_millis(1),
        ..FakeSettings::default()
    };
    let settings = Settings {
        pause: Duration::from_millis(50),
        speculate: Speculate::Never,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let (mut running, _) = bench.begin(&endless("running"));
    let before = bench.watch.passes.load(Relaxed);
    let (mut events, mut prompt) = (
        0,
        bench.submit(&Job {
            prompt: vec![70; 600],
            ..job("")
        }),
    );
    while !matches!(prompt.events.try_recv(), Ok(Event::Text { .. })) {
        running.events.blocking_recv().unwrap();
        events += 1;
    }
    let most = bench.watch.most_rows.load(Relaxed);
    println!("{events} events of the running answer meanwhile; at most {most} rows a pass");
    assert!(most <= 51, "50 ms are at most 50 rows, and one for the answer");
    assert!(bench.watch.passes.load(Relaxed) - before >= 12);
}

#[test]
fn one_client_with_long_prompts_does_not_hold_up_another() {
    let fake = FakeSettings {
        per_row: Duration::from_micros(100),
        ..FakeSettings::default()
    };
    let settings = Settings {
        answers: 2,
        pause: Duration::from_millis(5),
        speculate: Speculate::Never,
        ..Settings::default()
    };
    let bench = Bench::new(&fake, settings);
    let long = Job {
        client: 1,
        prompt: vec![70; 3000],
        max_tokens: 3,
        ..endless("")
    };
    let mut flood: Vec<Ticket> = (0..8).map(|_| bench.submit(&long)).collect();
    let short = Job {
        client: 2,
        max_tokens: 3,
        ..job("and I?")
    };
    let ticket = bench.submit(&short);
    assert_eq!(collect(ticket), plain(&fake, &short));
    let begun = |ticket: &mut Ticket| ticket.events.try_recv().is_ok();
    let before = flood.iter_mut().map(begun).filter(|&begun| begun).count();
    println!("{before} of 8 long prompts were read before the short one was answered");
    assert!(
        before <= 3,
        "those that had begun, and at most one more: {before}"
    );
}

#[test]
fn to_be_measured_is_no_stall_and_no_work() {
    let fake = FakeSettings {
        per_pass: Duration::from_millis(60),
        ..FakeSettings::default()
    };
    let began = Instant::now();
    let bench = Bench::new(&fake, Settings::default());
    assert!(!bench.handle.standing().measured);
    let ticket = bench.submit(&Job {
        max_tokens: 1,
        ..job("early")
    });
    let mut longest = Duration::ZERO;
    until("being measured", || {
        let standing = bench.handle.standing();
        longest = longest.max(standing.stalled_for);
        standing.measured
    });
    println!(
        "measured after {:?}, with {longest:?} between two passes",
        began.elapsed()
    );
    assert!(longest * 2 < began.elapsed(), "each pass counts as progress");
    collect(ticket);
    bench.until_idle();
}
