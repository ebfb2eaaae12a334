//! `shardman sim` as a process, and its referee.

use std::net::SocketAddr;

use shardman_sim::Report;

use super::process::{Program, Running};
use super::{call, eventually, seconds};

/// A simulated Discord.
pub struct Sim {
    pub address: SocketAddr,
    _running: Running,
    _folder: tempfile::TempDir,
}

impl Sim {
    #[track_caller]
    pub fn start(shards: u32, max_concurrency: u32, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (shards, max_concurrency) = (shards.to_string(), max_concurrency.to_string());
        let mut program = Program::shardman(&["sim", "--listen", "127.0.0.1:0"]);
        for arg in ["--shards", &shards, "--max-concurrency", &max_concurrency]
            .iter()
            .chain(flags)
        {
            program = program.arg(arg);
        }
        let running = program.spawn(&folder.path().join("sim.log"));
        let address = eventually(seconds(20.0), "the simulator listens", || {
            let log = running.log();
            let rest = log.split("http://").nth(1)?;
            rest.split(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':'))
                .next()?
                .parse()
                .ok()
        });
        Self {
            address,
            _running: running,
            _folder: folder,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[track_caller]
    pub fn report(&self) -> Report {
        let answer = call(self.address, "GET", "/sim/report", &[], None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The report begins anew; what is live stays.
    #[track_caller]
    pub fn reset_report(&self) {
        assert!(call(self.address, "POST", "/sim/report/reset", &[], None).status < 300);
    }

    #[track_caller]
    pub fn fault(&self, json: &str) {
        let answer = call(
            self.address,
            "POST",
            "/sim/faults",
            &[("Content-Type", "application/json")],
            Some(json),
        );
        assert!(answer.status < 300, "{}: {}", answer.status, answer.body);
    }

    #[track_caller]
    pub fn clear_faults(&self) {
        assert!(call(self.address, "DELETE", "/sim/faults", &[], None).status < 300);
    }

    #[track_caller]
    pub fn load(&self, events_per_second: f64) {
        let body = format!("{{\"events_per_second\":{events_per_second}}}");
        let answer = call(
            self.address,
            "POST",
            "/sim/load",
            &[("Content-Type", "application/json")],
            Some(&body),
        );
        assert!(answer.status < 300, "{}: {}", answer.status, answer.body);
    }

    /// No rule of Discord's was broken, and no shard had two live holders.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.assert_clean_but(&[]);
    }

    /// The same, but for what a test breaks on purpose.
    #[track_caller]
    pub fn assert_clean_but(&self, on_purpose: &[&str]) {
        let report = self.report();
        let broken: Vec<_> = report
            .broken_rules
            .iter()
            .filter(|broken| !on_purpose.contains(&broken.rule.as_str()))
            .collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert_eq!(
            report.double_holders.count, 0,
            "{:#?}",
            report.double_holders.list
        );
        assert_eq!(report.token_resets, 0);
    }
}
