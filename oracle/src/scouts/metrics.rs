//! What the scouts do, for Prometheus. A scout's label is its slot, so the
//! series are bounded by the pool's size.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) connected: IntGauge,
    pub(super) drafted: IntCounterVec,
    pub(super) accepted: IntCounterVec,
    /// Drafts for what was certain already otherwise.
    pub(super) stale: IntCounterVec,
    /// Drafts for answers that the scout does not have.
    pub(super) stray: IntCounterVec,
    pub(super) refused: IntCounterVec,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let per = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let connected = IntGauge::new(
            "oracle_scouts_connected",
            "Scouts that are connected and proved that they hold a slot",
        )?;
        registry.register(Box::new(connected.clone()))?;
        Ok(Self {
            connected,
            drafted: per(
                "oracle_scout_drafted_tokens_total",
                "Tokens of a scout's drafts that were verified",
                "scout",
            )?,
            accepted: per(
                "oracle_scout_accepted_tokens_total",
                "Tokens of a scout's drafts that were those that followed",
                "scout",
            )?,
            stale: per(
                "oracle_scout_stale_drafts_total",
                "Drafts of a scout that came too late, or for a prefix that is another",
                "scout",
            )?,
            stray: per(
                "oracle_scout_stray_drafts_total",
                "Drafts of a scout for answers that it does not have, or not any more",
                "scout",
            )?,
            refused: per(
                "oracle_scout_refusals_total",
                "Connections of scouts that were refused or closed, by reason",
                "reason",
            )?,
        })
    }
}
