//! The body and the headers of refusals.

use axum::body::to_bytes;
use serde_json::{Value, json};

use super::*;

async fn told(refusal: Refusal) -> (u16, Value, Response) {
    let response = refusal.into_response();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap();
    (
        parts.status.as_u16(),
        body,
        Response::from_parts(parts, ().into_response().into_body()),
    )
}

#[tokio::test]
async fn a_refusal_has_openais_form_and_the_documents() {
    let (status, body, response) = told(Refusal::WrongKey).await;
    let message = "Missing or invalid API key";
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": "invalid_api_key"});
    assert_eq!((status, body), (401, json!({"error": error, "detail": message})));
    assert!(
        response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Bearer")
    );
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let retry_after = Duration::from_millis(1500);
    let (status, body, response) = told(Refusal::RateLimited { retry_after }).await;
    assert_eq!((status, &body["detail"]), (429, &json!("Rate limit exceeded")));
    assert_eq!(response.headers()["retry-after"], "2");
    let full = Refusal::NotTaken(scheduler::Refusal::Full { retry_after });
    let (status, body, response) = told(full).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("overloaded")));
    assert_eq!(response.headers()["retry-after"], "2");
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_the_clients_and_a_model_that_fails_is_ours() {
    let exceeded = scheduler::Refusal::ContextExceeded {
        prompt: 9,
        answer: 5,
        context: 10,
    };
    let (status, body, _) = told(exceeded.into()).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    assert_eq!(body["error"]["param"], "messages");
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .starts_with("The prompt has 9 tokens"),
        "{body}"
    );
    let (status, body, _) = told(scheduler::Refusal::Broken.into()).await;
    assert_eq!(status, 503);
    assert!(
        body["detail"].as_str().unwrap().starts_with("Inference failed: "),
        "{body}"
    );
}
