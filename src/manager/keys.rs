//! Who may speak to the manager.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use sha2::{Digest, Sha256};
use shardman_core::WorkerId;
use subtle::ConstantTimeEq;

use super::handle::Caller;
use super::tokens::Seal;

type Hash = [u8; 32];

/// Secrets, kept as their SHA-256: nothing here can leak one, and a comparison
/// of hashes tells nothing about the secret behind it.
pub(super) struct Keys {
    shared: Hash,
    operator: Option<Hash>,
    children: RwLock<HashMap<Hash, WorkerId>>,
    /// Signs who may operate, so its key is from the secret that lets them.
    pub(super) seal: Seal,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    pub(super) fn new(shared: &str, operator: Option<&str>) -> Self {
        Self {
            shared: hash(shared.as_bytes()),
            operator: operator.map(|secret| hash(secret.as_bytes())),
            children: RwLock::default(),
            seal: Seal::new(operator.unwrap_or(shared)),
        }
    }

    pub(super) fn has_operator(&self) -> bool {
        self.operator.is_some()
    }

    pub(super) fn authorize(&self, secret: &[u8]) -> Option<Caller> {
        let presented = hash(secret);
        if bool::from(presented.ct_eq(&self.shared)) {
            return Some(Caller::External);
        }
        if self
            .operator
            .is_some_and(|operator| bool::from(presented.ct_eq(&operator)))
        {
            return Some(Caller::Operator);
        }
        let children = self.children.read().unwrap_or_else(PoisonError::into_inner);
        children.get(&presented).map(|worker| Caller::Child {
            worker: worker.clone(),
            run: run(&presented),
        })
    }

    /// Lets a child speak with the credential of this hash, in hex.
    pub(super) fn admit(&self, worker: &WorkerId, credential: &str) {
        if let Some(hash) = from_hex(credential) {
            self.children().insert(hash, worker.clone());
        }
    }

    pub(super) fn forget(&self, worker: &WorkerId) {
        self.children().retain(|_, child| child != worker);
    }

    fn children(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Hash, WorkerId>> {
        self.children.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(secret: &[u8]) -> Hash {
    Sha256::digest(secret).into()
}

/// Which run of a child a credential belongs to: each run has its own.
fn run(hash: &Hash) -> u64 {
    let (first, _) = hash.split_at(8);
    first.iter().fold(0, |run, byte| run << 8 | u64::from(*byte))
}

/// The run that a stored credential's hash, in hex, belongs to.
pub(super) fn run_of(credential: &str) -> Option<u64> {
    from_hex(credential).map(|hash| run(&hash))
}

/// Thirty-two bytes in hex, and nothing else.
pub(super) fn from_hex(text: &str) -> Option<Hash> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    (text.len() == 64).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_tells_who_presents_it() {
        let keys = Keys::new("shared", Some("boss"));
        let worker = WorkerId::from("discord-0");
        keys.admit(&worker, &crate::supervisor::hash(b"child"));
        assert_eq!(keys.authorize(b"shared"), Some(Caller::External));
        assert_eq!(keys.authorize(b"boss"), Some(Caller::Operator));
        assert_eq!(
            keys.authorize(b"child"),
            Some(Caller::Child {
                worker: worker.clone(),
                run: run_of(&crate::supervisor::hash(b"child")).unwrap()
            })
        );
        assert_eq!(keys.authorize(b""), None);
        assert_eq!(keys.authorize(b"share"), None);
        keys.forget(&worker);
        assert_eq!(keys.authorize(b"child"), None);
    }
}
