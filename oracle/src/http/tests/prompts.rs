//! Requests that wait to be made into tokens.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Condvar, PoisonError};

use super::*;
use crate::engine::fake::FakeText;
use crate::engine::{Message, TextError, Token};

/// A text that takes as long for a prompt as the test wants.
#[derive(Default)]
struct Slow {
    text: FakeText,
    running: AtomicUsize,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Slow {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    async fn until_running(&self, count: usize) {
        tokio::time::timeout(Duration::from_secs(20), async {
            while self.running.load(SeqCst) != count {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}

impl Text for Slow {
    fn prompt(&self, messages: &[Message]) -> Result<Vec<Token>, TextError> {
        self.running.fetch_add(1, SeqCst);
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
        self.running.fetch_sub(1, SeqCst);
        self.text.prompt(messages)
    }

    fn bytes(&self, token: Token) -> &[u8] {
        self.text.bytes(token)
    }

    fn name(&self, token: Token) -> String {
        self.text.name(token)
    }

    fn is_end(&self, token: Token) -> bool {
        self.text.is_end(token)
    }
}

fn chat() -> Request {
    let message = json!({"role": "user", "content": "hi"});
    let body = json!({"model": MODEL_ID, "max_tokens": 2, "messages": [message]});
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

#[tokio::test]
async fn prompts_of_clients_that_went_away_keep_their_places_and_others_wait_so_long() {
    let slow = Arc::new(Slow::default());
    let router = router(api_with(0, Some(slow.clone())), Router::new());
    let gone: Vec<_> = (0..PROMPTS_AT_ONCE)
        .map(|_| tokio::spawn(ask(router.clone(), chat())))
        .collect();
    slow.until_running(PROMPTS_AT_ONCE).await;
    for gone in gone {
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
    }
    let began = Instant::now();
    let (parts, body) = ask(router.clone(), chat()).await;
    println!("refused after {:?}", began.elapsed());
    assert_eq!(slow.running.load(SeqCst), PROMPTS_AT_ONCE);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (parts.status.as_u16(), &body["error"]["code"]),
        (503, &json!("overloaded"))
    );
    assert_eq!(parts.headers["retry-after"], "5");
    assert!(began.elapsed() >= chat::PROMPT_TIME);
    slow.open();
    slow.until_running(0).await;
    assert_eq!(ask(router, chat()).await.0.status.as_u16(), 200);
}

#[tokio::test]
async fn nothing_is_made_into_tokens_while_the_server_stops() {
    let slow = Arc::new(Slow::default());
    let api = api_with(0, Some(slow.clone()));
    api.0.parts.scheduler.stop();
    // It would wait for ever.
    let (parts, body) = ask(router(api, Router::new()), chat()).await;
    assert_eq!(parts.status.as_u16(), 503, "{body}");
    assert!(body.contains("\"stopping\""), "{body}");
    assert_eq!(slow.running.load(SeqCst), 0);
}
