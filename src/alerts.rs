//! Alerts to a Discord webhook and to any other receiver of JSON.
//!
//! They are told, never waited for: what a receiver cannot take in time is
//! folded together until it can, and no lease ever hangs on it. The rules are in
//! `core::alerting`; here they meet clocks and sockets.

use std::sync::Arc;
use std::time::Duration;

use shardman_core::alerting::{AlertKind, Incident, Notice, Severity};
use shardman_core::{PoolId, Tick};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::client::{Answer, CallError, Client};
use crate::clock::Clock;
use crate::manager::{Alert, Summary};
use crate::metrics::{AlertEnd, Metrics};

mod answer;
mod courier;
mod discord;
mod json;
mod targets;

use courier::{Courier, Form};
pub use targets::Targets;

/// Alerts of one turn, which are folded at once: more than the largest fleet
/// can raise together, so that none is turned away.
pub const QUEUE: usize = 1 << 18;

/// Alerts folded without looking at anything else.
const BATCH: usize = 4096;

/// At the end what waits is sent once more, within this.
pub const LAST_ATTEMPT: Duration = Duration::from_secs(2);

/// What came back, or did not, for the message of this number of a courier.
type Flight = (Form, u64, Result<Answer, CallError>);

/// What alerts are made of, and where they go.
pub struct Alerting {
    /// Where alerts go at any moment.
    pub targets: watch::Receiver<Targets>,
    pub alerts: mpsc::Receiver<Alert>,
    /// How the fleet is: the end of an incident is told, too.
    pub fleet: watch::Receiver<Summary>,
    /// The end: no alert follows.
    pub stop: CancellationToken,
    /// Where it is counted what becomes of them.
    pub metrics: Arc<Metrics>,
}

struct Post {
    clock: Clock,
    client: Client,
    couriers: [Courier; 2],
    incident: Incident,
    flights: JoinSet<Flight>,
    metrics: Arc<Metrics>,
}

/// Sends what comes until it is stopped, each to the receivers of that moment.
pub async fn run(alerting: Alerting) {
    let client = match Client::new() {
        Ok(client) => client,
        Err(error) => return warn!("alerts cannot be sent: {error}"),
    };
    let Alerting {
        mut targets,
        mut alerts,
        mut fleet,
        stop,
        metrics,
    } = alerting;
    let clock = Clock::start();
    let now = clock.now();
    let mut post = Post {
        clock,
        client,
        couriers: [Form::Discord, Form::Json].map(|form| Courier::new(form, Arc::clone(&metrics), now)),
        incident: Incident::default(),
        flights: JoinSet::new(),
        metrics,
    };
    post.retarget(&targets.borrow_and_update());
    let mut batch = Vec::new();
    let (mut reads, mut watches, mut looks) = (true, true, true);
    loop {
        let now = clock.now();
        let calm = post.look(&fleet.borrow_and_update(), now);
        let due = post.dispatch(now);
        let wake = due.into_iter().chain(calm).min();
        let pause = wake.map_or(LONGEST_SLEEP, |wake| wake.since(now).min(LONGEST_SLEEP));
        tokio::select! {
            () = stop.cancelled() => break,
            taken = alerts.recv_many(&mut batch, BATCH), if reads => reads = taken > 0,
            changed = targets.changed(), if watches => {
                watches = changed.is_ok();
                post.retarget(&targets.borrow_and_update());
            }
            changed = fleet.changed(), if looks => looks = changed.is_ok(),
            Some(landed) = post.flights.join_next(), if !post.flights.is_empty() => {
                if let Ok(flight) = landed {
                    post.land(flight);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
        batch.drain(..).for_each(|alert| post.raise(alert));
    }
    while let Ok(alert) = alerts.try_recv() {
        post.raise(alert);
    }
    post.last_attempt().await;
}

/// The sleep of a host that sleeps itself does not end in time.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

impl Post {
    fn retarget(&mut self, targets: &Targets) {
        let now = self.clock.now();
        for courier in &mut self.couriers {
            courier.retarget(targets.of(courier.form), now);
        }
    }

    fn raise(&mut self, alert: Alert) {
        let now = self.clock.now();
        if alert.pool.is_none() {
            if alert.kind == AlertKind::Recovered && self.incident.is_open() {
                // A part of it; its end is told.
                return;
            }
            self.incident.raise(alert.kind, now);
        }
        let (cause, last_lines) = alert.text.split_once('\n').unwrap_or((&alert.text, ""));
        self.tell(Notice {
            kind: alert.kind,
            cause: cause.to_owned(),
            last_lines: last_lines.to_owned(),
            pool: alert.pool.unwrap_or_else(PoolId::discord),
            worker: alert.worker,
            shard: alert.shard,
            at_ms: self.clock.wall_ms(),
            last_beat_ms: alert.last_beat_ms,
        });
    }

    fn tell(&mut self, notice: Notice) {
        let now = self.clock.now();
        if !self.couriers.iter().any(Courier::has_target) {
            self.metrics.alerts(AlertEnd::NoWebhook, 1);
        }
        let [first, second] = &mut self.couriers;
        first.raise(notice.clone(), now);
        second.raise(notice, now);
    }

    /// Tells the end of an incident. Says when to look again.
    fn look(&mut self, fleet: &Summary, now: Tick) -> Option<Tick> {
        let whole =
            fleet.planned > 0 && fleet.ready == fleet.planned && fleet.trouble.is_empty() && !fleet.stopping;
        let again = self.incident.look(whole, now);
        let Some(over) = self.incident.over(now) else {
            return again;
        };
        let alerts = match over.alerts {
            1 => "the alert".to_owned(),
            alerts => format!("the first of {alerts} alerts"),
        };
        let wall = self.clock.wall_ms();
        self.tell(Notice {
            kind: AlertKind::Recovered,
            cause: format!(
                "all shards ({}) are ready again, {} after {alerts}",
                fleet.planned,
                in_words(over.lasted)
            ),
            last_lines: String::new(),
            pool: PoolId::discord(),
            worker: None,
            shard: None,
            at_ms: wall,
            last_beat_ms: wall,
        });
        None
    }

    /// Sends what is due. Says when more will be.
    fn dispatch(&mut self, now: Tick) -> Option<Tick> {
        for courier in &mut self.couriers {
            if let Some(call) = courier.take(&self.client, now) {
                self.flights.spawn(call);
            }
            courier.measure();
        }
        self.couriers.iter().filter_map(Courier::due).min()
    }

    fn land(&mut self, (form, number, answer): Flight) {
        let now = self.clock.now();
        let mut bits = [0];
        // Without chance the pauses are merely longer.
        let _ = getrandom::fill(&mut bits);
        for courier in self.couriers.iter_mut().filter(|courier| courier.form == form) {
            courier.land(number, &answer, bits[0], now);
        }
    }

    /// Once more for all that waits; what is under way may finish first.
    async fn last_attempt(mut self) {
        let attempt = async {
            loop {
                let now = self.clock.now();
                for courier in &mut self.couriers {
                    if let Some(call) = courier.take_last(&self.client, now) {
                        self.flights.spawn(call);
                    }
                }
                match self.flights.join_next().await {
                    Some(Ok(flight)) => self.land(flight),
                    Some(Err(_)) => {}
                    None => return,
                }
            }
        };
        // Whatever is left is counted below.
        let _ = tokio::time::timeout(LAST_ATTEMPT, attempt).await;
        self.couriers.iter().for_each(Courier::say_left);
    }
}

fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How bad it is, as a colour of Discord's.
fn color(kind: AlertKind) -> u32 {
    match (kind, kind.severity()) {
        (AlertKind::Connect | AlertKind::Recovered, _) => 65_280,
        (AlertKind::Disconnect, _) | (_, Severity::Critical) => 16_711_680,
        (AlertKind::Plan | AlertKind::Rescaled, _) => 3_447_003,
        (AlertKind::Worker, _) => 16_711_680,
        (_, Severity::Warning | Severity::Info) => 16_753_920,
    }
}
