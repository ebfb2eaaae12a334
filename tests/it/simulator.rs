//! The simulator against client libraries that nobody here wrote: unmodified
//! but for their base URLs, they log in, stay, and resume without a loss.

use std::path::PathBuf;

use crate::support::{Program, Sim, eventually, let_pass, seconds, tools};

fn script(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("sim/tests/clients")
        .join(name)
        .to_str()
        .unwrap()
        .to_owned()
}

fn attach(program: &str, name: &str) {
    let sim = Sim::start(3, 3, &["--events-per-second", "60"]);
    let folder = tempfile::tempdir().unwrap();
    // discord.py starts one shard every five seconds, whatever it may do.
    let mut client = Program::new(program)
        .arg(&script(name))
        .arg(&sim.url())
        .arg("30")
        .spawn(&folder.path().join("client.log"));
    eventually(seconds(27.0), "all shards are ready", || {
        (sim.report().connections.live == 3).then_some(())
    });
    let_pass(seconds(2.0));
    sim.fault(r#"{"kind":"reconnect","shard":0}"#);
    sim.fault(r#"{"kind":"drop","shard":1}"#);
    eventually(seconds(20.0), "both resume", || {
        (sim.report().resume_count == 2).then_some(())
    });
    // A client that logs off gives up what was just sent to it, so the losses
    // are counted while it is here.
    let report = eventually(seconds(10.0), "every event is delivered", || {
        Some(sim.report()).filter(|report| report.events_total.delivered > 100)
    });
    assert_eq!(report.events_total.lost, 0, "{:?}", report.events_total);
    assert_eq!(report.identify_count, 3);
    assert!(
        report.resumes.iter().all(|resume| resume.by_resume_url),
        "{:?}",
        report.resumes
    );
    assert!(client.wait(seconds(40.0)).success(), "{}", client.log());
    assert!(client.log().contains("resumed"), "{}", client.log());
    sim.assert_clean();
}

#[test]
fn discord_py_logs_in_stays_and_resumes() {
    if tools(
        "discord.py on the simulator",
        &[&["python3", "-c", "import discord"]],
    ) {
        attach("python3", "discordpy.py");
    }
}

#[test]
fn discord_js_logs_in_stays_and_resumes() {
    if tools(
        "discord.js on the simulator",
        &[&["node", "-e", "require('discord.js')"]],
    ) {
        attach("node", "discordjs.mjs");
    }
}
