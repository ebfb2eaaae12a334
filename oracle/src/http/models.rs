//! `GET /v1/models`, and one model alone.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;

use super::error::{Refusal, ok};
use super::{Api, MODEL_ID};
use crate::openai::{Invalid, ModelList, ModelObject};

pub(super) async fn list(State(api): State<Api>) -> Response {
    ok(&ModelList {
        object: "list",
        data: vec![model(&api)],
    })
}

pub(super) async fn one(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    // What is no text is no model of ours.
    let id = id.map_or_else(|_| "\u{FFFD}".to_owned(), |Path(id)| id);
    if id != MODEL_ID {
        return Err(Invalid::model_not_found(&id).into());
    }
    Ok(ok(&model(&api)))
}

fn model(api: &Api) -> ModelObject<'static> {
    ModelObject {
        id: MODEL_ID,
        object: "model",
        created: api.0.began_at,
        owned_by: "shard-network",
        permission: [],
    }
}
