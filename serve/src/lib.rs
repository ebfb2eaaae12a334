//! Accepts connections and serves the router on them, within bounds: on the
//! number of connections, on the size and time of a request's head, on how long
//! a stop may take. It knows no route.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

mod descriptors;
mod linger;
mod origins;
mod patience;

pub use descriptors::raise_descriptor_limit;
use linger::Lingering;
pub use origins::{OriginError, parse_origins};

/// Connections at one time; more wait in the kernel's queue. A fleet of 4,096
/// workers can each keep one open, and at some 20 KiB each they stay below
/// 100 MiB.
const MAX_CONNECTIONS: usize = 4096;

/// How long a request's head may take, and so how long a connection may idle.
/// It is no multiple of the beat intervals that clients choose, so that a beat
/// does not meet a connection in the moment it closes.
const HEAD_TIME: Duration = Duration::from_secs(12);

/// The most bytes that a request's head may have, and the most headers.
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;

/// The most bytes of requests that a connection holds before they are read.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// The rest after a connection could not be accepted, because descriptors or
/// memory ran out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long a connection that has asked nothing yet is kept when the server
/// stops.
const LATECOMERS: Duration = Duration::from_millis(50);

/// Who is at the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Serves until `shutdown`, then lets open requests finish for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let (router, grace) = (watch::Sender::new(router), watch::Sender::new(grace));
    serve_current(listener, router.subscribe(), shutdown, grace.subscribe()).await
}

/// The same with a router, and a grace, that may be exchanged: each request is
/// answered by the router of its moment, also on a connection that is kept.
pub async fn serve_current(
    listener: TcpListener,
    router: watch::Receiver<Router>,
    shutdown: CancellationToken,
    grace: watch::Receiver<Duration>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    // Cancelled when no request is on its way any more.
    let closing = CancellationToken::new();
    // Cancelled when the grace is over.
    let cutoff = CancellationToken::new();
    loop {
        let (stream, place) = tokio::select! { biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted?,
        };
        let connection = connection(stream, router.clone(), closing.clone());
        let cutoff = cutoff.clone();
        connections.spawn(async move {
            let _place = place;
            tokio::select! {
                () = cutoff.cancelled() => {}
                () = connection => {}
            }
        });
    }
    drop(listener);
    connections.close();
    // Who connected a moment ago has a request on its way.
    tokio::time::sleep(LATECOMERS).await;
    closing.cancel();
    let grace = *grace.borrow();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        warn!(
            http.connections = connections.len(),
            "connections were cut off: the grace time is over"
        );
        cutoff.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, place)),
            Err(error) if is_of_one_connection(&error) => {
                debug!(error = %error, "a connection went away before it was accepted");
            }
            Err(error) => {
                warn!(error = %error, "no connection can be accepted now: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Whether only the one connection failed, so that the next may be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
    ]
    .contains(&error.kind())
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, router: watch::Receiver<Router>, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %error, "a connection keeps its send delay");
    }
    let peer = stream.peer_addr().map(|address| Peer(address.ip())).ok();
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(
            TokioIo::new(Lingering::new(stream)),
            service_fn(move |mut request: hyper::Request<_>| {
                if let Some(peer) = peer {
                    request.extensions_mut().insert(peer);
                }
                let router = router.borrow().clone();
                TowerToHyperService::new(router).call(request)
            }),
        )
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(error = %error, "a connection ended early: {error}");
    }
}

#[cfg(test)]
mod tests;
