//! The single owner of the fleet's state.

mod handle;

pub use handle::{
    BeatError, BeatReport, Caller, ConnectError, ConnectRequest, Connection, DisconnectError, IdentifyError,
    IdentifyOutcome, IdentifyPlan, ManagerHandle,
};
