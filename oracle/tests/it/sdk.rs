//! OpenAI's own clients for Python and JavaScript, and async-openai, which is
//! nobody's of these: every kind of call that people make, on the fake model
//! and on a real one.

use std::process::Command;

use super::support::{Oracle, tools};

mod rust;

/// The key that the clients present.
pub const KEY: &str = "your-api-key";

/// One oracle after the other: with the fake model, and with the real one where
/// it is there.
pub fn oracles(test: &str) -> impl Iterator<Item = Oracle> {
    let real = super::model::path(test).map(|path| path.to_str().unwrap().to_owned());
    let models = std::iter::once("fake".to_owned()).chain(real);
    models.map(|model| {
        Oracle::start(&[
            ("ORACLE_MODEL", &model),
            ("SHARD_API_KEYS", KEY),
            ("SHARD_RATE_LIMIT_PER_MINUTE", "100000"),
        ])
    })
}

/// Runs every kind of call of a script; each says that it was clean.
fn calls(program: &str, probe: &[&str], script: &str) {
    if !tools(script, &[&[&[program], probe].concat()]) {
        return;
    }
    for oracle in oracles(script) {
        let output = Command::new(program)
            .arg(format!(
                "{}/tests/it/clients/{script}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .env("BASE_URL", format!("http://{}/v1", oracle.address))
            .env("API_KEY", KEY)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{complaint}");
        assert_eq!(complaint, "", "a client warned");
        let clean = said.lines().filter(|line| line.starts_with("clean: ")).count();
        assert!(clean >= 15, "{said}");
    }
}

#[test]
fn the_official_python_client_makes_every_kind_of_call() {
    calls("python3", &["-c", "import openai"], "calls.py");
}

#[test]
fn the_official_javascript_client_makes_every_kind_of_call() {
    calls("node", &["-e", "require('openai')"], "calls.mjs");
}
