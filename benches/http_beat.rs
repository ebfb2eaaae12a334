//! `/beat` over real sockets, beside a handler that does nothing but answer
//! 204, in one run: requests a second at 64 connections, with 10 leases and
//! with 10,000. Only the ratios mean anything.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use shardman::http::{HttpState, router, serve};
use shardman::manager::{Caller, ConnectRequest, IdentifyPlan, Manager, Secrets, Settings};
use shardman::store::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 64;
/// Different requests of one connection: 10,000 sessions over 64 connections.
const REQUESTS: usize = 156;
const SECRET: &str = "bench-secret-of-a-usual-length";

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn main() {
    // `cargo test --benches` runs it once and shortly.
    let measured = std::env::args().any(|arg| arg == "--bench");
    let (rounds, lasts) = if measured {
        (7, Duration::from_secs(2))
    } else {
        (1, Duration::from_millis(200))
    };
    // Outlived by nothing that writes into them.
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let bare = runtime.block_on(bare());
    let (few, few_sessions) = runtime.block_on(manager(10, folders[0].path()));
    let (many, many_sessions) = runtime.block_on(manager(10_000, folders[1].path()));
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        rates[0].push(load(bare, &few_sessions, lasts));
        rates[1].push(load(few, &few_sessions, lasts));
        rates[2].push(load(many, &many_sessions, lasts));
    }
    let ratios = |above: usize, below: usize| {
        let mut ratios: Vec<_> = rates[above]
            .iter()
            .zip(&rates[below])
            .map(|(a, b)| a / b)
            .collect();
        ratios.sort_by(f64::total_cmp);
        format!(
            "{:.3} ({:.3} to {:.3})",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1]
        )
    };
    let median = |n: usize| {
        let mut sorted = rates[n].clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    println!("requests a second at {CONNECTIONS} connections, median of {rounds} rounds:");
    println!("  bare handler     {:>9.0}", median(0));
    println!(
        "  10 leases        {:>9.0}   of the bare handler: {}",
        median(1),
        ratios(1, 0)
    );
    println!(
        "  10,000 leases    {:>9.0}   of the bare handler: {}",
        median(2),
        ratios(2, 0)
    );
    println!("  10,000 leases beside 10: {}", ratios(2, 1));
}

/// The floor: the same server, a handler that looks at nothing.
async fn bare() -> SocketAddr {
    let router = axum::Router::new().route("/beat", post(|| async { StatusCode::NO_CONTENT }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(
            listener.tap_io(|stream| {
                let _ = stream.set_nodelay(true);
            }),
            router,
        )
        .await
    });
    address
}

/// A manager with this many leases, and their sessions. It writes into `folder`.
async fn manager(leases: u32, folder: &Path) -> (SocketAddr, Vec<String>) {
    let settings = Settings::leases_only(leases, Duration::from_secs(3600), folder.join("logs"));
    let secrets = Secrets {
        shared: SECRET.to_owned(),
        operator: None,
    };
    let (alerts, _) = tokio::sync::mpsc::channel(1);
    let (manager, handle) = Manager::start(MemoryStore::default(), settings, &secrets, alerts)
        .await
        .unwrap();
    tokio::spawn(manager.run(CancellationToken::new()));
    let mut sessions = Vec::new();
    for _ in 0..leases {
        let request = ConnectRequest {
            caller: Caller::External,
            identify: IdentifyPlan::Ask,
            idempotency_key: None,
        };
        sessions.push(handle.connect(request).await.unwrap().session.reveal());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(
        HttpState {
            manager: handle,
            public_status: false,
        },
        &[],
    );
    tokio::spawn(serve(listener, router, CancellationToken::new(), Duration::ZERO));
    (address, sessions)
}

/// Requests a second that one thread of clients gets answered.
fn load(address: SocketAddr, sessions: &[String], lasts: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    runtime.block_on(async {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                // Each connection goes through sessions of its own, and through as
                // many requests in every case, so that the clients cost the same.
                let mine: Vec<_> = sessions
                    .iter()
                    .cycle()
                    .skip(number)
                    .step_by(CONNECTIONS)
                    .take(REQUESTS)
                    .map(request)
                    .collect();
                tokio::spawn(client(address, mine, Arc::clone(&done), Arc::clone(&stop)))
            })
            .collect();
        tokio::time::sleep(lasts).await;
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
    });
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

async fn client(address: SocketAddr, requests: Vec<Vec<u8>>, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 1024];
    for request in requests.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        stream.write_all(request).await.unwrap();
        // A 204 has no body: one read is one answer.
        let length = stream.read(&mut answer).await.unwrap();
        assert!(
            answer[..length].starts_with(b"HTTP/1.1 204"),
            "{}",
            String::from_utf8_lossy(&answer[..length])
        );
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn request(session: &String) -> Vec<u8> {
    let body = format!("{{\"session_id\":\"{session}\",\"guild_count\":1234,\"latency\":0.041}}");
    let length = body.len();
    format!(
        "POST /beat HTTP/1.1\r\nHost: localhost\r\nAuthorization: {SECRET}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
