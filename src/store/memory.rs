//! A store that forgets with its process: for tests, and the model that every
//! other engine is compared with.

use super::{LeaseStore, Saved, StoreError, Write};

#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    saved: Saved,
}

impl MemoryStore {
    pub(crate) fn apply(saved: &mut Saved, write: Write) {
        match write {
            Write::Lease(record) => {
                saved.next_epoch = saved.next_epoch.max(record.epoch.next());
                saved.leases.retain(|lease| lease.shard != record.shard);
                saved.leases.push(record);
                saved.leases.sort_by_key(|lease| lease.shard);
            }
            Write::LeaseEnded(shard) => saved.leases.retain(|lease| lease.shard != shard),
            Write::Plan(plan) => saved.plan = Some(plan),
            Write::Discord(facts) => saved.discord = Some(facts),
            Write::Rescale(rescale) => saved.rescale = rescale,
            Write::Chosen(chosen) => saved.chosen = chosen,
            Write::Starts(hour, counters) if counters.is_empty() => {
                saved.starts.remove(&hour);
            }
            Write::Starts(hour, counters) => {
                saved.starts.insert(hour, counters);
            }
            Write::Halt(halt) => saved.halt = halt,
            Write::Rolling(rolling) => saved.rolling = Some(rolling),
            Write::Resume(shard, Some(point)) => {
                saved.resume.insert(shard, point);
            }
            Write::Resume(shard, None) => {
                saved.resume.remove(&shard);
            }
            Write::Worker(record) => {
                saved.workers.retain(|worker| worker.worker != record.worker);
                saved.workers.push(record);
                saved.workers.sort_by(|a, b| a.worker.cmp(&b.worker));
            }
            Write::WorkerGone(worker) => saved.workers.retain(|record| record.worker != worker),
            Write::Rest(worker, Some(rest)) => {
                saved.rests.insert(worker, rest);
            }
            Write::Rest(worker, None) => {
                saved.rests.remove(&worker);
            }
            Write::Stopped(worker, Some(stopped)) => {
                saved.stopped.insert(worker, stopped);
            }
            Write::Stopped(worker, None) => {
                saved.stopped.remove(&worker);
            }
            Write::Pool(pool, write) => {
                Self::apply(saved.pools.entry(pool).or_default(), *write);
            }
        }
    }
}

impl LeaseStore for MemoryStore {
    async fn load(&mut self) -> Result<Saved, StoreError> {
        Ok(self.saved.clone())
    }

    async fn commit(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        for write in writes {
            Self::apply(&mut self.saved, write);
        }
        Ok(())
    }
}
