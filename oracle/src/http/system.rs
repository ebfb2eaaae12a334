//! `GET /v1/system/topology` and `/peers`: the network as the leases have it.
//! There is no peer-to-peer network here, so its addresses are `null`, and the
//! source is the document's `fallback`.

use std::net::{IpAddr, SocketAddr};

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Api;
use super::error::ok;

#[derive(Serialize)]
struct Topology {
    /// `degraded` while the manager of the scouts is not reached.
    status: &'static str,
    source: &'static str,
    oracle_peer_id: Option<String>,
    oracle_webrtc_multiaddr: Option<String>,
    oracle_ws_multiaddr: Option<String>,
    listen_addrs: Vec<String>,
    known_peer_count: usize,
}

pub(super) async fn topology(State(api): State<Api>) -> Response {
    let network = &api.0.parts.network;
    let is_whole = network.manager().is_none_or(|manager| manager.is_reachable);
    ok(&Topology {
        status: if is_whole { "ok" } else { "degraded" },
        source: "fallback",
        oracle_peer_id: None,
        oracle_webrtc_multiaddr: None,
        oracle_ws_multiaddr: None,
        listen_addrs: vec![multiaddr(api.0.parts.listens)],
        known_peer_count: network.peers().len(),
    })
}

/// An address of HTTP in the notation that the document has for addresses.
fn multiaddr(address: SocketAddr) -> String {
    let protocol = match address.ip() {
        IpAddr::V4(_) => "ip4",
        IpAddr::V6(_) => "ip6",
    };
    format!("/{protocol}/{}/tcp/{}/http", address.ip(), address.port())
}

#[derive(Serialize)]
struct Peers {
    peers: Vec<Peer>,
    count: usize,
}

#[derive(Serialize)]
struct Peer {
    peer_id: String,
    /// Milliseconds since 1970, as the next.
    connected_at: u64,
    last_seen_at: u64,
    addrs: Vec<String>,
    verified: bool,
    handshake_failures: u64,
}

pub(super) async fn peers(State(api): State<Api>) -> Response {
    let peers: Vec<Peer> = api
        .0
        .parts
        .network
        .peers()
        .into_iter()
        .map(|peer| Peer {
            peer_id: peer.peer_id,
            connected_at: peer.connected_at_ms,
            last_seen_at: peer.last_seen_at_ms,
            addrs: peer.addrs,
            verified: peer.verified,
            handshake_failures: peer.handshake_failures,
        })
        .collect();
    ok(&Peers {
        count: peers.len(),
        peers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_family_and_port() {
        let of = |text: &str| multiaddr(text.parse().unwrap());
        assert_eq!(of("127.0.0.1:8000"), "/ip4/127.0.0.1/tcp/8000/http");
        assert_eq!(of("[::1]:9"), "/ip6/::1/tcp/9/http");
    }
}
