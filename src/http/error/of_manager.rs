//! What a client is told when the manager refuses.

use super::{Flaw, Place, RELEASE_RETRY_SECONDS, Refusal, Version};
use crate::manager::{BeatError, ConnectError, DisconnectError, IdentifyError, RescaleError, RestartError};

impl Refusal {
    /// What a refused `connect` means to a client of `version`.
    pub(in crate::http) fn connect(error: ConnectError, version: Version) -> Self {
        match error {
            ConnectError::NoShardFree => Self::NoShardFree(version),
            ConnectError::Unavailable {
                reason,
                retry_seconds,
            } => Self::Unavailable {
                reason,
                retry_seconds,
            },
            ConnectError::UnknownPool { pools } => Self::unknown_pool(&pools),
            ConnectError::OtherPool { own } => Self::OtherPool(format!(
                "This worker is of the pool {own} and takes no slot of another"
            )),
            ConnectError::Assigned { pool } => Self::SlotsAreAssigned(format!(
                "The processes of the pool {pool} are given their slots; set its REGISTER to connect to take one by hand"
            )),
        }
    }

    fn unknown_pool(pools: &[String]) -> Self {
        Self::no_pool_of(Place::Name("query"), pools)
    }

    /// The pool that `place` names is not among these.
    pub(in crate::http) fn no_pool_of(place: Place, pools: &[String]) -> Self {
        let msg = format!("there is no such pool; there are: {}", pools.join(", "));
        Self::flaw(Flaw::new(&[place, Place::Name("pool")], msg, "value_error"))
    }

    /// What a refused beat means to a client of `version`.
    pub(in crate::http) fn beat(error: BeatError, version: Version) -> Self {
        match error {
            BeatError::UnknownSession => Self::SessionNotFound,
            BeatError::OutOfPlan => Self::NoShardFree(version),
        }
    }
}

impl From<DisconnectError> for Refusal {
    fn from(error: DisconnectError) -> Self {
        match error {
            DisconnectError::UnknownSession => Self::SessionNotFound,
            DisconnectError::Unavailable { reason } => Self::Unavailable {
                reason,
                retry_seconds: RELEASE_RETRY_SECONDS,
            },
        }
    }
}

impl From<RescaleError> for Refusal {
    fn from(error: RescaleError) -> Self {
        match error {
            RescaleError::Refused(reasons) => Self::Unsafe(reasons),
            RescaleError::Unavailable { reason } => Self::Unavailable {
                reason,
                retry_seconds: RELEASE_RETRY_SECONDS,
            },
        }
    }
}

impl From<RestartError> for Refusal {
    fn from(error: RestartError) -> Self {
        match error {
            RestartError::UnknownWorker => Self::WorkerNotFound,
            RestartError::UnknownShard => Self::ShardNotFound,
            RestartError::NotHeld(_) => Self::ShardNotHeld(error.to_string()),
            RestartError::UnknownPool { pools } => Self::unknown_pool(&pools),
            RestartError::NothingRuns => Self::NoWorkerRuns,
            RestartError::UnderWay => Self::RestartUnderWay,
            RestartError::NotUnderWay => Self::NoRestartUnderWay,
            RestartError::Partly { .. } => Self::Partly(error.to_string()),
            RestartError::Unavailable { reason } => Self::Unavailable {
                reason,
                retry_seconds: RELEASE_RETRY_SECONDS,
            },
        }
    }
}

impl From<IdentifyError> for Refusal {
    fn from(error: IdentifyError) -> Self {
        match error {
            IdentifyError::UnknownSession => Self::SessionNotFound,
            IdentifyError::OutOfPlan => Self::NoShardFree(Version::Current),
            IdentifyError::NoGateway => Self::NoGateway,
        }
    }
}
