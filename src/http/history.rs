//! `GET /history`: how the fleet was over the last hour, day or week, and with
//! `?shard=` how one shard was over the last hour.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::Response;
use serde::Serialize;
use shardman_core::ShardId;

use super::error::{self, Flaw, Place, Refusal};
use super::query::Query;
use super::{HttpState, number, who};

/// What is shown unless told otherwise.
const SECONDS: u64 = 3600;

#[derive(Serialize)]
struct History {
    step_seconds: u64,
    /// When the last step ends, in seconds since 1970.
    end: u64,
    series: BTreeMap<&'static str, Vec<Option<f64>>>,
}

pub(super) async fn history(State(state): State<HttpState>, request: Request) -> Result<Response, Refusal> {
    who::reader(&state.manager, request.method(), request.headers())?;
    let query = Query::of(request.uri());
    let mut flaws = Vec::new();
    let seconds = natural(&query, "seconds", &mut flaws).unwrap_or(SECONDS);
    let shard = query.get("shard").map(|text| {
        let shard = number_and_total(text);
        if shard.is_none() {
            let loc = [Place::Name("query"), Place::Name("shard")];
            let msg = "value is not a shard: 3, or 3/8";
            flaws.push(Flaw::new(&loc, msg, "value_error.shard"));
        }
        shard
    });
    if !flaws.is_empty() {
        return Err(Refusal::Invalid(flaws));
    }
    let chart = match shard.flatten() {
        Some((shard, total)) => {
            let shard = u32::try_from(shard).map_err(|_| Refusal::ShardNotFound)?;
            state.manager.shard_chart(shard, total)
        }
        None => state.manager.fleet_chart(seconds),
    };
    let mut answer = error::ok(&History {
        step_seconds: chart.lines.step_seconds,
        end: chart.end_seconds,
        series: chart.lines.series,
    });
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(answer)
}

/// `3` is shard 3 of whatever total, `3/8` that one alone.
fn number_and_total(text: &str) -> Option<(u64, Option<u32>)> {
    if text.contains('/') {
        let shard: ShardId = text.parse().ok()?;
        return Some((shard.number().into(), Some(shard.total())));
    }
    let number = number::integer(text)?;
    Some((u64::try_from(number).ok()?, None))
}

/// A number that is not negative, where it is there.
fn natural(query: &Query, name: &'static str, flaws: &mut Vec<Flaw>) -> Option<u64> {
    let text = query.get(name)?;
    let number = number::integer(text).and_then(|number| u64::try_from(number).ok());
    if number.is_none() {
        let loc = [Place::Name("query"), Place::Name(name)];
        let msg = "value is not a valid integer";
        flaws.push(Flaw::new(&loc, msg, "type_error.integer"));
    }
    number
}
