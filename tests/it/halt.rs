//! Close codes that no restart can cure halt the fleet, with one alert.

use crate::support::{Program, Shardman, Sim, call, eventually, let_pass, post, seconds, webhook};

fn shardman(manager: &Shardman, command: &str) -> (i32, String, String) {
    Program::shardman(&[command, "--url", &format!("http://{}", manager.address)])
        .dir(manager.folder())
        .env("SECRET", "test-secret")
        .run()
}

#[test]
fn a_forbidden_intent_halts_the_fleet_until_an_operator_resumes_it() {
    let sim = Sim::start(4, 4, &[]);
    sim.fault(r#"{"kind":"deny_intents","intents":512}"#);
    let (url, messages) = webhook(&["204 No Content"]);
    let settings = [
        ("DISCORD_API_URL", &*sim.url()),
        ("BOT_TOKEN", "t"),
        ("SHARDS_PER_WORKER", "2"),
        ("WEBHOOK_URL", &*url),
    ];
    let mut manager = Shardman::up(&settings);
    eventually(seconds(20.0), "the fleet halts", || {
        manager
            .fleet()
            .trouble
            .iter()
            .any(|trouble| trouble.contains("4014"))
            .then_some(())
    });
    // Who was refused is gone; who has not asked yet waits for its permit.
    let_pass(seconds(1.0));
    let spent = sim.report().identify_count;
    assert!(spent <= 4, "{spent}");
    let (code, table, _) = shardman(&manager, "status");
    assert_eq!((code, table.matches("4014").count()), (3, 1), "one line: {table}");
    assert_eq!(manager.connect().status, 503, "externals wait, too");

    let mut embeds = Vec::new();
    let mut halts = || {
        let new = messages
            .try_iter()
            .flat_map(|message| message["embeds"].as_array().unwrap().clone());
        embeds.extend(new);
        embeds
            .iter()
            .filter(|embed| embed.to_string().contains("halted"))
            .count()
    };
    eventually(seconds(15.0), "an alert", || (halts() > 0).then_some(()));

    manager.kill();
    manager.start();
    let reason = manager.fleet().halted.expect("it is halted");
    assert!(
        reason.contains("4014") && !reason.starts_with("halted"),
        "{reason}"
    );
    let_pass(seconds(3.0));
    assert_eq!(
        sim.report().identify_count,
        spent,
        "also after a crash nothing is tried"
    );
    assert_eq!(halts(), 1, "one alert");

    sim.clear_faults();
    let (code, _, error) = shardman(&manager, "resume");
    assert_eq!(code, 0, "{error}");
    assert_eq!(manager.fleet().halted, None);
    manager.wait_ready(seconds(40.0));
    let (code, _, error) = shardman(&manager, "resume");
    assert_eq!((code, error.contains("not halted")), (1, true), "{error}");
    sim.assert_clean_but(&["disallowed_intents"]);
    assert!(manager.stop().success());
}

#[test]
fn only_an_operator_resumes_a_fleet() {
    let settings = [("MAX_SHARDS", "1"), ("WORKERS", "0"), ("OPERATOR_SECRET", "boss")];
    let mut manager = Shardman::up(&settings);
    assert_eq!(
        post(manager.address, "/fleet/resume", "test-secret", "").status,
        403
    );
    assert_eq!(post(manager.address, "/fleet/resume", "boss", "").status, 409);
    assert_eq!(
        call(manager.address, "POST", "/fleet/resume", &[], None).status,
        422
    );
    assert!(manager.stop().success());
}
