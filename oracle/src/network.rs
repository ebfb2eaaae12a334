//! What the API tells of the scouts: who they are, and how the manager is
//! reached that leases them. Whoever keeps the scouts implements it.

use crate::scouts::Peer;

/// The scouts of this oracle. Every call returns at once.
pub trait Network: Send + Sync {
    /// Every scout that holds a lease, or is connected.
    fn peers(&self) -> Vec<Peer>;

    /// Whether scouts may connect and draft now.
    fn accepts_scouts(&self) -> bool;

    /// The manager that leases the scouts; none if this oracle knows none.
    fn manager(&self) -> Option<Manager>;
}

/// The manager as it was last reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    pub url: String,
    pub is_reachable: bool,
}

/// An oracle without scouts.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Network for Alone {
    fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }

    fn accepts_scouts(&self) -> bool {
        false
    }

    fn manager(&self) -> Option<Manager> {
        None
    }
}
