//! What follows a turn once its writes are durable.

use std::sync::Arc;
use std::time::Duration;

use shardman_core::WorkerId;
use shardman_core::reconcile::StopCause;
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::alert::Alert;
use super::fleet::Effect;
use super::handle::Shared;
use super::settings::{Settings, WorkerProgram};
use crate::supervisor::{Launch, Supervisor};

/// A child whose lease lapsed has lost its shard already; it gets little time.
const LAPSED_GRACE: Duration = Duration::from_millis(500);

/// What belongs to the manager and is nobody else's business.
const NOT_INHERITED: &[&str] = &[
    "SECRET_KEY",
    "OPERATOR_SECRET",
    "WEBHOOK_URL",
    "WEBHOOK_CONTENT",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

pub(super) struct Effects {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<Settings>,
    pub(super) supervisor: Supervisor,
    pub(super) alerts: mpsc::Sender<Alert>,
}

impl Effects {
    pub(super) fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Start {
                worker,
                shards,
                credential,
            } => self.start(worker, shards, credential),
            Effect::Adopt { worker } => self.adopt(&worker),
            Effect::Bury { worker } => self.bury(worker),
            Effect::Stop { worker, cause } => {
                let grace = match cause {
                    StopCause::LeaseLapsed => LAPSED_GRACE,
                    StopCause::NeverRegistered
                    | StopCause::Surplus
                    | StopCause::Retired
                    | StopCause::Room
                    | StopCause::Unwell(_)
                    | StopCause::Restart
                    | StopCause::Shutdown => self.settings.grace,
                };
                self.supervisor.stop(&worker, grace);
            }
            Effect::Alert(alert) => {
                if self.alerts.try_send(alert).is_err() {
                    debug!("an alert was dropped: nobody takes them as fast as they come");
                }
            }
        }
    }

    fn start(&mut self, worker: WorkerId, shards: u32, credential: String) {
        self.shared.keys.forget(&worker);
        self.shared
            .keys
            .admit(&worker, &crate::supervisor::hash(credential.as_bytes()));
        let (program, args) = match &self.settings.program {
            WorkerProgram::Bundled(program) => (program.clone(), vec!["worker".to_owned()]),
            WorkerProgram::Command(command) => ("/bin/sh".into(), vec!["-c".to_owned(), command.clone()]),
        };
        let mut env = self.settings.worker_env.clone();
        env.push(("SECRET", credential));
        env.push(("SHARDMAN_WORKER_ID", worker.to_string()));
        env.push(("SHARDMAN_SHARDS", shards.to_string()));
        self.supervisor.start(Launch {
            worker,
            program,
            args,
            env,
            without_env: NOT_INHERITED,
        });
    }

    fn bury(&mut self, worker: WorkerId) {
        let credential = self
            .shared
            .fleet()
            .workers
            .get(&worker)
            .map(|entry| entry.record.credential.clone());
        if let Some(credential) = credential {
            self.supervisor.bury(worker, credential);
        }
    }

    fn adopt(&mut self, worker: &WorkerId) {
        let fleet = self.shared.fleet();
        let Some(record) = fleet.workers.get(worker).map(|entry| &entry.record) else {
            return;
        };
        let Some(process) = &record.process else { return };
        info!(worker.id = %worker, pid = process.pid, "worker {worker} is adopted (pid {})", process.pid);
        self.shared.keys.admit(worker, &record.credential);
        self.supervisor.adopt(worker, process);
    }
}
