//! What became of each message: it has one copy for every session that routes
//! its guild, and one copy that is delivered is enough.

use std::collections::HashMap;

use crate::report::MessageCounts;

/// The copies of messages that are not settled yet.
#[derive(Debug, Default)]
pub(super) struct Copies {
    open: HashMap<u64, Copy>,
    counts: MessageCounts,
}

#[derive(Debug, Default)]
struct Copy {
    waiting: u32,
    delivered: u32,
}

impl Copies {
    /// A session will have to deliver it.
    pub(super) fn sent(&mut self, message: u64) {
        self.open.entry(message).or_default().waiting += 1;
    }

    /// It was written to a connection, for the first time in its session.
    pub(super) fn delivered(&mut self, message: u64) {
        self.settle(message, 1);
    }

    /// Its session ended before it was written.
    pub(super) fn dropped(&mut self, message: u64) {
        self.settle(message, 0);
    }

    fn settle(&mut self, message: u64, delivered: u32) {
        let Some(copy) = self.open.get_mut(&message) else {
            return;
        };
        copy.waiting = copy.waiting.saturating_sub(1);
        copy.delivered += delivered;
        if copy.waiting > 0 {
            return;
        }
        match copy.delivered {
            0 => self.counts.lost += 1,
            1 => self.counts.delivered += 1,
            _ => {
                self.counts.delivered += 1;
                self.counts.doubled += 1;
            }
        }
        self.open.remove(&message);
    }

    pub(super) fn counts(&self) -> MessageCounts {
        MessageCounts {
            pending: self.open.len() as u64,
            ..self.counts
        }
    }

    /// Forgets the past.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_delivered_copy_is_enough() {
        let mut copies = Copies::default();
        for (message, fates) in [(1, [true, true]), (2, [false, true]), (3, [false, false])] {
            for _ in fates {
                copies.sent(message);
            }
            for delivered in fates {
                if delivered {
                    copies.delivered(message);
                } else {
                    copies.dropped(message);
                }
            }
        }
        copies.sent(4);
        let counts = copies.counts();
        assert_eq!(
            (counts.delivered, counts.doubled, counts.lost, counts.pending),
            (2, 1, 1, 1)
        );
    }
}
