//! A manager and a gateway on real sockets, and one record of what they saw.

mod gateway;
mod manager;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shardman_core::wire::{Beat, ResumePoint, ShardState};
use shardman_worker::{Exit, Secret, SinkKind, WorkerArgs, run};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twilight_gateway::Intents;

pub(crate) use gateway::Script;
pub(crate) use manager::{BeatMode, Orders};

/// Nothing here takes longer, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(15);

/// What reached the manager or the gateway, in order.
#[derive(Debug)]
pub(crate) enum Seen {
    Connect,
    Identify,
    Beat(Box<Beat>),
    Release,
    /// A gateway connection was opened.
    Opened,
    /// A payload from the worker to the gateway.
    Payload(u64, Value),
    /// The worker's side of a gateway connection ended, with this close code.
    Closed(Option<u16>),
}

impl Seen {
    pub(crate) fn is_state(&self, state: ShardState) -> bool {
        matches!(self, Self::Beat(beat) if beat.state == Some(state))
    }

    pub(crate) fn is_op(&self, op: u64) -> bool {
        matches!(self, Self::Payload(sent, _) if *sent == op)
    }
}

pub(crate) struct World {
    pub(crate) orders: Arc<Orders>,
    seen: mpsc::UnboundedReceiver<Seen>,
    shutdown: CancellationToken,
    worker: JoinHandle<Exit>,
}

/// What differs between tests.
pub(crate) struct Setup {
    pub(crate) script: Script,
    pub(crate) max_seconds: f64,
    pub(crate) resume_sequence: Option<u64>,
    pub(crate) is_child: bool,
    /// The manager takes its time with its grants.
    pub(crate) holds_grants: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            script: Script::Serve,
            max_seconds: 30.0,
            resume_sequence: None,
            is_child: false,
            holds_grants: false,
        }
    }
}

impl World {
    pub(crate) async fn start(setup: Setup) -> Self {
        let (log, seen) = mpsc::unbounded_channel();
        let gateway_url = gateway::start(setup.script, log.clone()).await;
        let resume = setup.resume_sequence.map(|sequence| ResumePoint {
            session_id: "inherited".to_owned(),
            sequence,
            resume_url: gateway_url.clone(),
            guild_count: None,
        });
        let (orders, shardman_url) = manager::start(&setup, gateway_url, resume, log).await;
        let args = WorkerArgs {
            shardman_url: shardman_url.parse().unwrap(),
            secret: Secret::from("secret".to_owned()),
            bot_token: Secret::from("token".to_owned()),
            intents: Intents::GUILDS,
            shardman_shards: 1,
            shardman_worker_id: setup.is_child.then(|| "discord-0".to_owned()),
            event_sink: Some(SinkKind::None),
        };
        let shutdown = CancellationToken::new();
        let worker = tokio::spawn(run(args, shutdown.clone()));
        Self {
            orders,
            seen,
            shutdown,
            worker,
        }
    }

    /// Everything up to and with the first that `wanted` accepts.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.within(PATIENCE, wanted)
            .await
            .unwrap_or_else(|seen| panic!("it never came; seen: {seen:#?}"))
    }

    /// The same within a time; an error gives what came instead.
    pub(crate) async fn within(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<Vec<Seen>, Vec<Seen>> {
        let end = tokio::time::Instant::now() + patience;
        let mut all = Vec::new();
        while let Ok(Some(seen)) = tokio::time::timeout_at(end, self.seen.recv()).await {
            let found = wanted(&seen);
            all.push(seen);
            if found {
                return Ok(all);
            }
        }
        Err(all)
    }

    pub(crate) async fn until_ready(&mut self) -> Vec<Seen> {
        self.until(|seen| seen.is_state(ShardState::Ready)).await
    }

    pub(crate) fn stop(&self) {
        self.shutdown.cancel();
    }

    /// How the worker ended, by itself or after [`World::stop`].
    pub(crate) async fn exit(&mut self) -> Exit {
        tokio::time::timeout(PATIENCE, &mut self.worker)
            .await
            .expect("the worker does not end")
            .unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.worker.abort();
    }
}
