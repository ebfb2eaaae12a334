//! `POST /reload`, for operators: the configuration is read again.

use axum::extract::{Request, State};
use axum::response::Response;

use super::HttpState;
use super::error::{self, Refusal};
use super::fleet::operator;
use crate::manager::ReloadError;

pub(super) async fn reload(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    operator(&state, &request)?;
    Ok(error::ok(&state.manager.reload().await?))
}

impl From<ReloadError> for Refusal {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::BadConfiguration(line) => Self::BadConfiguration(line),
            ReloadError::Unavailable { reason } => Self::Unavailable {
                reason,
                retry_seconds: error::RELEASE_RETRY_SECONDS,
            },
        }
    }
}
