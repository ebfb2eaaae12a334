//! `GET /plan`: how many shards run, and with `?shards=N` what N of them would
//! cost. `POST /plan`: changes the number, if that is safe.

use axum::extract::{Request, State};
use axum::response::Response;

use super::error::{self, Flaw, Place, Refusal};
use super::query::Query;
use super::{HttpState, body, fleet, json, number, who};

pub(super) async fn get(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    who::reader(&state.manager, request.method(), request.headers())?;
    Ok(match asked(&Query::of(request.uri()))? {
        Some(shards) => error::ok(&state.manager.price(shards)),
        None => error::ok(&state.manager.plan()),
    })
}

pub(super) async fn post(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    fleet::operator(&state, &request)?;
    let (head, content) = request.into_parts();
    let bytes = body::read(&head.headers, content).await?;
    let document = json::read(&bytes)?;
    let mut fields = body::fields(&document.source, document.root)?;
    let shards = fields.required_u64("shards");
    let shards = fields.finish(shards).map_err(Refusal::Invalid)?;
    let report = state.manager.rescale(within(shards)).await?;
    Ok(error::accepted(&report))
}

/// The number that is asked about.
fn asked(query: &Query) -> Result<Option<u32>, Refusal> {
    let Some(text) = query.get("shards") else {
        return Ok(None);
    };
    let number = number::integer(text).and_then(|number| u64::try_from(number.max(0)).ok());
    number.map(|number| Some(within(number))).ok_or_else(|| {
        let loc = [Place::Name("query"), Place::Name("shards")];
        Refusal::flaw(Flaw::new(
            &loc,
            "value is not a valid integer",
            "type_error.integer",
        ))
    })
}

/// What is far too large stays so, and is refused with the reason.
fn within(shards: u64) -> u32 {
    u32::try_from(shards).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;

    #[test]
    fn a_number_of_shards_is_read_from_the_query() {
        let asked = |uri| asked(&Query::of(&Uri::from_static(uri)));
        assert_eq!(asked("/plan").unwrap(), None);
        assert_eq!(asked("/plan?shards=8").unwrap(), Some(8));
        assert_eq!(asked("/plan?shards=-8").unwrap(), Some(0));
        assert_eq!(asked("/plan?shards=99999999999").unwrap(), Some(u32::MAX));
        assert!(matches!(asked("/plan?shards=many"), Err(Refusal::Invalid(_))));
    }
}
