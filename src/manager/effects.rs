//! What follows a turn once its writes are durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shardman_core::reconcile::StopCause;
use shardman_core::{PoolId, WorkerId};
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::alert::Alert;
use super::command::{self, Assigned};
use super::fleet::Effect;
use super::handle::Shared;
use super::settings::{Settings, WorkerProgram};
use crate::config::pool_variables;
use crate::metrics::AlertEnd;
use crate::supervisor::{Launch, Supervisor};

/// A child whose lease lapsed has lost its shard already; it gets little time.
const LAPSED_GRACE: Duration = Duration::from_millis(500);

/// What belongs to the manager and is nobody else's business.
const NOT_INHERITED: &[&str] = &[
    "SECRET_KEY",
    // Set anew for those that are to have it.
    "BOT_TOKEN",
    // An unmodified discord.js client would wait for a ShardingManager.
    "SHARDING_MANAGER",
    "SHARDING_MANAGER_MODE",
    "OPERATOR_SECRET",
    "WEBHOOK_URL",
    "WEBHOOK_CONTENT",
    "ALERT_URL",
    "ALERT_TOKEN",
    "WORKER_COMMAND",
    "POOLS",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

pub(super) struct Effects {
    pub(super) shared: Arc<Shared>,
    pub(super) supervisor: Supervisor,
    pub(super) alerts: mpsc::Sender<Alert>,
}

impl Effects {
    pub(super) fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Start {
                worker,
                shards,
                assigned,
                credential,
            } => self.start(worker, shards, &assigned, credential),
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
                    | StopCause::Operator
                    | StopCause::Shutdown => self.settings_of(&worker).grace,
                };
                self.supervisor.stop(&worker, grace);
            }
            Effect::Alert(alert) | Effect::AlertOn(_, alert) => {
                if self.alerts.try_send(alert).is_err() {
                    self.shared.metrics.alerts(AlertEnd::Dropped, 1);
                    debug!("an alert was dropped: nobody takes them as fast as they come");
                }
            }
        }
    }

    fn settings_of(&self, worker: &WorkerId) -> Arc<Settings> {
        Arc::clone(&self.shared.of_worker(worker).settings)
    }

    fn start(&mut self, worker: WorkerId, shards: u32, assigned: &Assigned, credential: String) {
        let settings = self.settings_of(&worker);
        self.shared.of_worker(&worker).tally_start(&worker);
        self.shared.keys.forget(&worker);
        self.shared
            .keys
            .admit(&worker, &crate::supervisor::hash(credential.as_bytes()));
        let (program, args) = match &settings.program {
            WorkerProgram::Bundled(program) => (executable(program), vec!["worker".to_owned()]),
            WorkerProgram::Command(text) => {
                let filled = command::fill(text, &worker, assigned);
                ("/bin/sh".into(), vec!["-c".to_owned(), filled])
            }
        };
        let mut env = settings.worker_env.clone();
        env.push(("SECRET", credential));
        env.push(("SHARDMAN_WORKER_ID", worker.to_string()));
        env.push(("SHARDMAN_SHARDS", shards.to_string()));
        env.extend(command::environment(&settings.pool, assigned));
        self.supervisor.start(Launch {
            worker,
            program,
            args,
            env,
            inherit: settings.inherit.clone(),
            without_env: self.not_inherited(&settings.pool),
            nice: settings.nice,
        });
    }

    /// What no child is to see, other pools' settings included.
    fn not_inherited(&self, of: &PoolId) -> Vec<String> {
        let settings = Arc::clone(&self.shared.fleet().settings);
        let pools = settings.pools.iter().map(|pool| &pool.pool);
        let others = settings.pools.iter().filter(|pool| pool.pool != *of);
        let of_others = others.flat_map(|pool| pool.start.inherit_alone);
        let ours = NOT_INHERITED.iter().chain(of_others);
        let ours = ours.map(|name| (*name).to_owned());
        ours.chain(pool_variables(pools)).collect()
    }

    fn bury(&mut self, worker: WorkerId) {
        let credential = self
            .shared
            .of_worker(&worker)
            .workers
            .get(&worker)
            .map(|entry| entry.record.credential.clone());
        if let Some(credential) = credential {
            self.supervisor.bury(worker, credential);
        }
    }

    fn adopt(&mut self, worker: &WorkerId) {
        let fleet = self.shared.of_worker(worker);
        let Some(record) = fleet.workers.get(worker).map(|entry| &entry.record) else {
            return;
        };
        let Some(process) = &record.process else { return };
        info!(worker.id = %worker, pid = process.pid, "worker {worker} is adopted (pid {})", process.pid);
        self.shared.keys.admit(worker, &record.credential);
        self.supervisor.adopt(worker, process, &record.credential);
    }
}

/// Where our executable is now. While an upgrade puts another one in its place
/// there may be none for a moment: then it is the one that runs.
fn executable(path: &Path) -> PathBuf {
    if path.exists() {
        path.to_owned()
    } else {
        PathBuf::from("/proc/self/exe")
    }
}
