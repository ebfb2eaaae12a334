//! The bounds of a connection, on real sockets.

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;

/// A server on a free port, and its end.
async fn start(router: Router, grace: Duration) -> (std::net::SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let trigger = shutdown.clone();
    let server = tokio::spawn(async move { serve(listener, router, shutdown, grace).await.unwrap() });
    (address, trigger, server)
}

async fn send(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn plain_router() -> Router {
    Router::new().route("/", get(|| async { "hello" }).post(|| async { "unread" }))
}

#[tokio::test]
async fn a_request_is_answered_and_a_stop_is_clean() {
    let (address, stop, server) = start(plain_router(), Duration::from_secs(5)).await;
    let answer = send(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"),
        "{answer}"
    );
    // An idle connection does not delay the stop.
    let _idle = TcpStream::connect(address).await.unwrap();
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn what_is_no_http_gets_a_400_or_431_and_nothing_worse() {
    let (address, stop, server) = start(plain_router(), Duration::from_secs(5)).await;
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(MAX_HEADERS + 1)
    );
    let huge = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(MAX_HEAD_BYTES + 1)
    );
    for request in [
        "\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        many.as_str(),
        huge.as_str(),
    ] {
        let answer = send(address, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or("none");
        assert!(["400", "431"].contains(&status), "{request:.40} -> {answer}");
    }
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_arrives_although_a_large_body_was_not_read() {
    let (address, stop, server) = start(plain_router(), Duration::from_secs(5)).await;
    let body = vec![b'x'; 2 * 1024 * 1024];
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = send(address, &[head.as_bytes(), &body].concat()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("unread"),
        "{answer}"
    );
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn an_open_request_is_finished_within_the_grace_and_cut_off_after_it() {
    let (entered, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let stopping = CancellationToken::new();
    let (in_never, in_soon, finish) = (entered.clone(), entered, stopping.clone());
    let never = move || async move {
        in_never.send(()).unwrap();
        std::future::pending::<&'static str>().await
    };
    let soon = move || async move {
        in_soon.send(()).unwrap();
        finish.cancelled().await;
        "done"
    };
    let router = Router::new()
        .route("/never", get(never))
        .route("/soon", get(soon));
    let (address, stop, server) = start(router, Duration::from_millis(300)).await;
    let soon = tokio::spawn(send(address, b"GET /soon HTTP/1.1\r\nhost: a\r\n\r\n"));
    let mut never = TcpStream::connect(address).await.unwrap();
    never
        .write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..2 {
        arrivals.recv().await.unwrap();
    }
    stop.cancel();
    stopping.cancel();
    server.await.unwrap();
    assert!(soon.await.unwrap().ends_with("done"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off_and_one_that_goes_on_gets_it_all() {
    const SIZE: usize = 64 << 20;
    let router = Router::new().route("/", get(|| async { vec![b'x'; SIZE] }));
    let (address, stop, server) = start(router, Duration::from_secs(5)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(60), std::future::pending::<()>())
        .await
        .unwrap_err();
    let mut answer = Vec::new();
    // The rest of what was under way, and then the end.
    drop(stream.read_to_end(&mut answer).await);
    assert!(!answer.is_empty() && answer.len() < SIZE, "{}", answer.len());
    let whole = send(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(whole.len() > SIZE);
    stop.cancel();
    server.await.unwrap();
}
