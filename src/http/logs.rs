//! `GET /workers/{worker_id}/logs`, for operators and viewers: what a worker printed last,
//! or with `?after=` what it printed since.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};

use super::error::{Flaw, Place, Refusal};
use super::query::Query;
use super::{HttpState, number, who};
use crate::manager::LogSpan;

/// Lines of an answer unless told otherwise.
const LINES: u64 = 100;

/// The most lines of one answer.
const MAX_LINES: u64 = 10_000;

pub(super) async fn worker(
    State(state): State<HttpState>,
    worker: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    who::operator_or_viewer(&state.manager, request.method(), request.headers())?;
    // A path that is no text names no worker.
    let Path(worker) = worker.map_err(|_| Refusal::WorkerNotFound)?;
    let span = asked(&Query::of(request.uri()))?;
    let log = state.manager.log(&worker, span).await;
    let log = log.ok_or(Refusal::WorkerNotFound)?;
    let next = log.next.to_string();
    // Text alone, whatever a worker prints.
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, [(crate::client::LOG_NEXT, next)], log.bytes).into_response())
}

/// Which part of the log is asked for.
fn asked(query: &Query) -> Result<LogSpan, Refusal> {
    let mut flaws = Vec::new();
    let lines = natural(query, "lines", &mut flaws);
    let after = natural(query, "after", &mut flaws);
    if !flaws.is_empty() {
        return Err(Refusal::Invalid(flaws));
    }
    Ok(match after {
        Some(position) => LogSpan::After(position),
        None => {
            let lines = lines.unwrap_or(LINES).min(MAX_LINES);
            LogSpan::Lines(usize::try_from(lines).unwrap_or(usize::MAX))
        }
    })
}

/// A number that is not negative, where it is there.
fn natural(query: &Query, name: &'static str, flaws: &mut Vec<Flaw>) -> Option<u64> {
    let text = query.get(name)?;
    let number = number::integer(text).and_then(|number| u64::try_from(number).ok());
    if number.is_none() {
        let loc = [Place::Name("query"), Place::Name(name)];
        flaws.push(Flaw::new(
            &loc,
            "value is not a valid integer",
            "type_error.integer",
        ));
    }
    number
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;

    #[test]
    fn a_part_of_a_log_is_read_from_the_query() {
        let asked = |query: &str| asked(&Query::of(&format!("/?{query}").parse::<Uri>().unwrap()));
        assert_eq!(asked("").unwrap(), LogSpan::Lines(100));
        assert_eq!(asked("lines=5").unwrap(), LogSpan::Lines(5));
        assert_eq!(asked("lines=99999999999").unwrap(), LogSpan::Lines(10_000));
        assert_eq!(asked("after=7&lines=5").unwrap(), LogSpan::After(7));
        for wrong in ["lines=-1", "lines=x", "after=", "after=99999999999999999999"] {
            assert!(matches!(asked(wrong), Err(Refusal::Invalid(_))), "{wrong}");
        }
    }
}
