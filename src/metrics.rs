//! What is counted and timed as it happens, for `GET /metrics`.
//!
//! Recording is an atomic addition: nobody waits here, neither the owner nor a
//! beat. What a fleet's state says by itself (leases, workers, the budget) is
//! not kept here; `manager::metrics` reads it off when it is asked.

use std::collections::BTreeMap;
use std::sync::Mutex;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};
use shardman_core::timeline::Kind;

use crate::manager::{BeatError, ConnectError};
use crate::supervisor::usage::MostSeen;

mod families;

pub(crate) use families::{Families, Labels};

/// Requests: from a beat's tens of microseconds to a permit that is waited for.
const REQUEST_SECONDS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

/// Commits and turns: `MAX_SECONDS` is in danger where they take seconds.
const TURN_SECONDS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Waits for a permit: one bucket's turn takes five seconds, a large fleet's
/// first start half an hour.
const WAIT_SECONDS: [f64; 9] = [0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// Classes of status codes. An answer of 1xx is none.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The variables that name a receiver of alerts.
const RECEIVERS: [&str; 2] = ["WEBHOOK_URL", "ALERT_URL"];

/// Every kind of event, so that each is there before its first. One that is
/// missing here is counted from its first on.
const KINDS: [Kind; 50] = [
    Kind::ManagerStarted,
    Kind::ManagerStopping,
    Kind::ManagerStalled,
    Kind::DiskTrouble,
    Kind::DiskBack,
    Kind::DiscordUnreachable,
    Kind::DiscordBack,
    Kind::Planned,
    Kind::RescaleProposed,
    Kind::RescaleBegun,
    Kind::RescaleStep,
    Kind::RescaleFinished,
    Kind::RescaleGivenUp,
    Kind::RestartBegun,
    Kind::RestartStep,
    Kind::RestartPaused,
    Kind::RestartContinued,
    Kind::RestartDone,
    Kind::RestartCancelled,
    Kind::BudgetAlert,
    Kind::ReserveReleased,
    Kind::Reloaded,
    Kind::Halted,
    Kind::Resumed,
    Kind::WorkerStarted,
    Kind::WorkerRegistered,
    Kind::WorkerAdopted,
    Kind::WorkerBuried,
    Kind::WorkerStopAsked,
    Kind::WorkerEnded,
    Kind::WorkerStartAsked,
    Kind::BackOff,
    Kind::CrashLooping,
    Kind::WorkerHalted,
    Kind::WorkerResting,
    Kind::WorkerStopped,
    Kind::BrakeOn,
    Kind::BrakeOff,
    Kind::Unwell,
    Kind::ReconnectAsked,
    Kind::PermitRefused,
    Kind::Leased,
    Kind::Lost,
    Kind::Waiting,
    Kind::Identifying,
    Kind::Resuming,
    Kind::StandingBy,
    Kind::Ready,
    Kind::Disconnected,
    Kind::Other,
];

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertEnd {
    Sent,
    /// Too many came at once.
    Dropped,
    /// A receiver did not take it. It is tried again where that can help.
    Failed,
    /// There is no receiver.
    NoWebhook,
}

impl AlertEnd {
    const ALL: [Self; 4] = [Self::Sent, Self::Dropped, Self::Failed, Self::NoWebhook];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::NoWebhook => "no_webhook",
        }
    }
}

/// What the whole manager counts. Counters of one fleet are in its tally.
#[derive(Debug)]
pub struct Metrics {
    /// Wall clock, milliseconds since 1970.
    started_ms: u64,
    beats: IntCounterVec,
    beats_accepted: IntCounter,
    beats_unknown: IntCounter,
    beats_out_of_plan: IntCounter,
    connects: IntCounterVec,
    alerts: IntCounterVec,
    alerts_waiting: IntGaugeVec,
    receiver_ok: IntGaugeVec,
    requests: IntCounterVec,
    durations: HistogramVec,
    events: IntCounterVec,
    kinds: BTreeMap<Kind, IntCounter>,
    pub(crate) commit: Histogram,
    pub(crate) commit_failures: IntCounter,
    pub(crate) turn: Histogram,
    /// What runs of workers were seen to use.
    pub(crate) used: Mutex<MostSeen>,
}

/// One route's requests, found once.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    pub(crate) duration: Histogram,
    classes: [IntCounter; CLASSES.len()],
}

impl RouteMetrics {
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(2);
        self.classes[class.min(CLASSES.len() - 1)].inc();
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let beats = counters(
            "shardman_beats_total",
            "Beats by what they were answered",
            &["result"],
        );
        let events = counters(
            "shardman_events_total",
            "Events of the timeline since the manager started",
            &["kind"],
        );
        let metrics = Self {
            started_ms: crate::clock::wall_ms(),
            beats_accepted: beats.with_label_values(&["accepted"]),
            beats_unknown: beats.with_label_values(&["unknown_session"]),
            beats_out_of_plan: beats.with_label_values(&["out_of_plan"]),
            beats,
            connects: counters(
                "shardman_connects_total",
                "Requests for a shard or slot by what they were answered",
                &["result"],
            ),
            alerts: counters(
                "shardman_alerts_total",
                "Alerts by what became of them",
                &["result"],
            ),
            alerts_waiting: gauges(
                "shardman_alerts_waiting",
                "Alerts that wait for a receiver, and those under way",
            ),
            receiver_ok: gauges(
                "shardman_alert_receiver_ok",
                "Whether the receiver of alerts took what it was last sent, or was sent nothing yet",
            ),
            requests: counters(
                "shardman_http_requests_total",
                "HTTP requests by route and class of the status code",
                &["route", "class"],
            ),
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "shardman_http_request_duration_seconds",
                    "Time from a request's head to its answer's head",
                )
                .buckets(REQUEST_SECONDS.to_vec()),
                &["route"],
            )
            .expect("a constant name and label"),
            kinds: KINDS
                .map(|kind| (kind, events.with_label_values(&[&name(kind)])))
                .into(),
            events,
            commit: histogram(
                "shardman_store_commit_duration_seconds",
                "Time of a commit to the store, with its fsync",
                &TURN_SECONDS,
            ),
            commit_failures: IntCounter::new(
                "shardman_store_commit_failures_total",
                "Commits that the disk did not take",
            )
            .expect("a constant name"),
            turn: histogram(
                "shardman_turn_duration_seconds",
                "Time of the decisions of one turn of the manager, without its commit",
                &TURN_SECONDS,
            ),
            used: Mutex::default(),
        };
        for end in AlertEnd::ALL {
            metrics.alerts(end, 0);
        }
        for receiver in RECEIVERS {
            metrics.receiver(receiver, 0, true);
        }
        for result in [
            "granted",
            "no_shard_free",
            "unavailable",
            "unknown_pool",
            "other_pool",
            "assigned",
        ] {
            metrics.connects.with_label_values(&[result]);
        }
        metrics
    }

    pub(crate) fn beat<T>(&self, answer: &Result<T, BeatError>) {
        match answer {
            Ok(_) => self.beats_accepted.inc(),
            Err(BeatError::UnknownSession) => self.beats_unknown.inc(),
            Err(BeatError::OutOfPlan) => self.beats_out_of_plan.inc(),
        }
    }

    pub(crate) fn connect<T>(&self, answer: &Result<T, ConnectError>) {
        let result = match answer {
            Ok(_) => "granted",
            Err(ConnectError::NoShardFree) => "no_shard_free",
            Err(ConnectError::Unavailable { .. }) => "unavailable",
            Err(ConnectError::UnknownPool { .. }) => "unknown_pool",
            Err(ConnectError::OtherPool { .. }) => "other_pool",
            Err(ConnectError::Assigned { .. }) => "assigned",
        };
        self.connects.with_label_values(&[result]).inc();
    }

    /// What became of so many alerts.
    pub(crate) fn alerts(&self, end: AlertEnd, alerts: u64) {
        self.alerts.with_label_values(&[end.as_str()]).inc_by(alerts);
    }

    /// How a receiver of alerts is, by the name of its variable.
    pub(crate) fn receiver(&self, receiver: &str, waiting: u64, is_ok: bool) {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.alerts_waiting.with_label_values(&[receiver]).set(waiting);
        self.receiver_ok.with_label_values(&[receiver]).set(is_ok.into());
    }

    pub(crate) fn event(&self, kind: Kind) {
        match self.kinds.get(&kind) {
            Some(count) => count.inc(),
            None => self.events.with_label_values(&[&name(kind)]).inc(),
        }
    }

    /// The counters of a route. `route` is a template, never a path.
    pub(crate) fn route(&self, route: &'static str) -> RouteMetrics {
        RouteMetrics {
            duration: self.durations.with_label_values(&[route]),
            classes: CLASSES.map(|class| self.requests.with_label_values(&[route, class])),
        }
    }

    /// All of it as it is now.
    pub(crate) fn collect(&self, families: &mut Families) {
        let all: [&dyn Collector; 11] = [
            &self.beats,
            &self.connects,
            &self.alerts,
            &self.alerts_waiting,
            &self.receiver_ok,
            &self.requests,
            &self.durations,
            &self.events,
            &self.commit,
            &self.commit_failures,
            &self.turn,
        ];
        for collector in all {
            families.add(collector.collect());
        }
        families.gauge(
            "process_start_time_seconds",
            "When the manager started, in seconds since 1970",
            &[],
            self.started_ms as f64 / 1000.0,
        );
    }
}

/// The waits of one fleet for permits.
pub(crate) fn permit_waits() -> Histogram {
    histogram(
        "shardman_identify_wait_seconds",
        "Time from asking for a permit to identify to its grant",
        &WAIT_SECONDS,
    )
}

/// As it is in JSON.
fn name(kind: Kind) -> String {
    let name = serde_json::to_value(kind).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str);
    name.unwrap_or("other").to_owned()
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("a constant name and labels")
}

/// Of receivers of alerts.
fn gauges(name: &str, help: &str) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), &["receiver"]).expect("a constant name and label")
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    Histogram::with_opts(options).expect("a constant name and rising buckets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut families = Families::default();
        metrics.collect(&mut families);
        families.into_text()
    }

    #[test]
    fn what_never_happened_is_there_as_zero() {
        let text = text(&Metrics::new());
        for line in [
            "shardman_beats_total{result=\"unknown_session\"} 0",
            "shardman_alerts_total{result=\"failed\"} 0",
            "shardman_events_total{kind=\"crash_looping\"} 0",
            "shardman_connects_total{result=\"no_shard_free\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn every_kind_of_event_is_there_before_its_first() {
        let description: serde_json::Value = serde_json::from_str(crate::http::OPENAPI).unwrap();
        let told = description["components"]["schemas"]["EventKind"]["enum"].as_array();
        let mut told: Vec<_> = told
            .unwrap()
            .iter()
            .map(|kind| kind.as_str().unwrap().to_owned())
            .collect();
        let mut known: Vec<_> = KINDS.map(name).into();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, told);
    }

    #[test]
    fn a_status_counts_for_its_class_alone() {
        let metrics = Metrics::new();
        let route = metrics.route("/beat");
        for status in [200, 204, 307, 404, 503, 101, 999] {
            route.answered(status);
        }
        let text = text(&metrics);
        for (class, count) in [("2xx", 3), ("3xx", 1), ("4xx", 1), ("5xx", 2)] {
            let line = format!("shardman_http_requests_total{{class=\"{class}\",route=\"/beat\"}} {count}");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
