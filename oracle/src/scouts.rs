//! The scouts as the oracle sees them: who holds a slot of their pool, who is
//! connected, and what their drafts were worth.

/// One scout that holds a lease, or is connected.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub peer_id: String,
    /// Milliseconds since 1970.
    pub connected_at_ms: u64,
    /// Milliseconds since 1970.
    pub last_seen_at_ms: u64,
    pub addrs: Vec<String>,
    /// Whether it is connected, and proved that it holds its lease.
    pub verified: bool,
    pub handshake_failures: u64,
}
