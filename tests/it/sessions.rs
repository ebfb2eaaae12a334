//! What Discord does to sessions, and that nothing is lost or stormed by it.

use crate::support::{Shardman, Sim, eventually, let_pass, seconds};

fn fleet(shards: u32, buckets: u32, flags: &[&str]) -> (Sim, Shardman) {
    let sim = Sim::start(shards, buckets, flags);
    let shardman = Shardman::up(&[("DISCORD_API_URL", &sim.url()), ("BOT_TOKEN", "t")]);
    shardman.wait_ready(seconds(60.0));
    (sim, shardman)
}

/// Stops the load, waits until all is delivered, and checks that nothing was lost.
fn assert_nothing_lost(sim: &Sim) {
    sim.load(0.0);
    eventually(seconds(10.0), "everything is delivered", || {
        (sim.report().events_total.pending == 0).then_some(())
    });
    let total = sim.report().events_total;
    assert_eq!((total.lost, total.doubled), (0, 0), "{total:?}");
    assert!(total.delivered > 50, "{total:?}");
}

#[test]
fn a_reconnect_and_a_resumable_invalid_session_cost_no_identify_and_no_event() {
    let (sim, mut shardman) = fleet(2, 2, &["--events-per-second", "100"]);
    for (number, fault) in [
        r#"{"kind":"reconnect"}"#,
        r#"{"kind":"invalid_session","resumable":true}"#,
    ]
    .iter()
    .enumerate()
    {
        sim.fault(fault);
        let resumed = 2 * (number as u64 + 1);
        eventually(seconds(8.0), "both shards resume", || {
            (sim.report().resume_count == resumed).then_some(())
        });
        shardman.wait_ready(seconds(5.0));
    }
    assert_nothing_lost(&sim);
    let report = sim.report();
    assert_eq!((report.identify_count, report.resume_failures), (2, 0));
    assert!(report.resumes.iter().all(|resume| resume.by_resume_url));
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_dead_resume_url_gives_way_to_the_main_one_and_the_session_goes_on() {
    let (sim, mut shardman) = fleet(2, 2, &["--events-per-second", "100"]);
    sim.fault(r#"{"kind":"dead_resume_url"}"#);
    sim.fault(r#"{"kind":"drop"}"#);
    // Three failures lie between, with pauses of up to 1, 2, 4 and 8 seconds.
    eventually(seconds(30.0), "both resume by the main URL", || {
        (sim.report().resume_count == 2).then_some(())
    });
    shardman.wait_ready(seconds(5.0));
    assert_nothing_lost(&sim);
    let report = sim.report();
    assert_eq!((report.identify_count, report.resume_failures), (2, 0));
    assert!(report.resumes.iter().all(|resume| !resume.by_resume_url));
    sim.assert_clean();
    assert!(shardman.stop().success());
}

#[test]
fn a_session_whose_resumes_come_to_nothing_is_given_up_at_last() {
    let (sim, mut shardman) = fleet(1, 1, &[]);
    sim.fault(r#"{"kind":"close_after","phase":"resume"}"#);
    sim.fault(r#"{"kind":"drop"}"#);
    // Six tries, with pauses of up to 1, 2, 4, 8, 16 and 32 seconds.
    eventually(seconds(150.0), "it identifies anew", || {
        (sim.report().identify_count == 2).then_some(())
    });
    shardman.wait_ready(seconds(15.0));
    assert_eq!(sim.report().resume_count, 0);
    sim.assert_clean();
    assert!(shardman.stop().success());
}

/// For eight seconds everything is answered by op 9, after all sessions were lost.
fn storm(resumable: bool) {
    let (sim, mut shardman) = fleet(8, 4, &[]);
    assert_eq!(sim.report().identify_count, 8);
    let began = sim.report().identifies.last().unwrap().at_ms;
    sim.fault(&format!(
        r#"{{"kind":"invalid_sessions","ms":8000,"resumable":{resumable}}}"#
    ));
    sim.fault(r#"{"kind":"drop"}"#);
    let_pass(seconds(9.0));
    shardman.wait_ready(seconds(60.0));
    sim.assert_clean();
    let report = sim.report();
    let lasted = report.identifies.last().unwrap().at_ms - began;
    let most = 8 + 4 * (lasted / 5000 + 1);
    eprintln!(
        "op 9 storm, resumable {resumable}: {} identifies, {} resumes refused, {} worked, over {lasted} ms",
        report.identify_count, report.resume_failures, report.resume_count
    );
    assert!(
        report.identify_count <= most,
        "{} of {most}",
        report.identify_count
    );
    assert!(
        report.min_gap_ms.values().all(|gap| *gap >= 5000),
        "{:?}",
        report.min_gap_ms
    );
    assert!(report.connections.opened < 8 * 10, "{:?}", report.connections);
    assert!(shardman.stop().success());
}

#[test]
fn a_storm_of_invalid_sessions_is_weathered_at_the_buckets_pace() {
    storm(false);
}

#[test]
fn a_storm_of_resumable_invalid_sessions_is_weathered_with_resumes() {
    storm(true);
}
