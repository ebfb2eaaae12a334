//! `POST /identify`: waits for the right to send one IDENTIFY.

use axum::extract::{Request, State};
use axum::response::Response;
use shardman_core::SessionId;
use shardman_core::wire::IdentifyAnswer;

use super::error::{self, Refusal};
use super::{HttpState, body, json, secret};
use crate::manager::IdentifyOutcome;

/// When the client hangs up, this future is dropped and its place in the line
/// goes to the next.
pub(super) async fn identify(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    let (head, content) = request.into_parts();
    let Some(caller) = secret::from_header(&state.manager, &head.headers)? else {
        let flaws = [Some(secret::missing_header()), body::missing(&content)];
        return Err(Refusal::Invalid(flaws.into_iter().flatten().collect()));
    };
    let bytes = body::read(&head.headers, content).await?;
    let session = SessionId::parse(&session_id(&bytes)?).ok_or(Refusal::SessionNotFound)?;
    Ok(match state.manager.identify(&caller, session).await? {
        IdentifyOutcome::Granted { permit, open_seconds } => error::ok(&IdentifyAnswer {
            permit: Some(permit),
            seconds: open_seconds,
        }),
        IdentifyOutcome::StillWaiting { wait_seconds } => error::accepted(&IdentifyAnswer {
            permit: None,
            seconds: wait_seconds,
        }),
    })
}

fn session_id(bytes: &[u8]) -> Result<String, Refusal> {
    let document = json::read(bytes)?;
    let mut fields = body::fields(&document.source, document.root)?;
    let session = fields.required_text("session_id");
    fields.finish(session).map_err(Refusal::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identify_names_its_session() {
        assert_eq!(session_id(br#"{"session_id":"a","more":1}"#).unwrap(), "a");
        assert!(matches!(session_id(b"{}"), Err(Refusal::Invalid(_))));
        assert!(matches!(session_id(b"null"), Err(Refusal::Invalid(_))));
    }
}
