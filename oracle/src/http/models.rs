//! `GET /v1/models`, and one model alone.

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

pub(super) async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Refusal> {
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
