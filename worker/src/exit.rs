//! How a worker ends, as its exit code tells the supervisor.

use std::process::ExitCode;

/// Why the worker stopped. The numbers follow `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Asked to stop; every session was left resumable. Code 0.
    Stopped,
    /// Started by a manager, and no manager was reached for `MAX_SECONDS`.
    /// Code 69 (`EX_UNAVAILABLE`).
    NoManager,
    /// The sink is gone for good, such as a closed pipe. Code 74 (`EX_IOERR`).
    SinkFailed,
    /// The manager refused the secret. Code 77 (`EX_NOPERM`).
    WrongSecret,
    /// The configuration cannot work, or Discord refused the token or the
    /// intents: restarting cannot help. Code 78 (`EX_CONFIG`).
    BadConfig,
}

impl Exit {
    /// The process exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::NoManager => 69,
            Self::SinkFailed => 74,
            Self::WrongSecret => 77,
            Self::BadConfig => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
