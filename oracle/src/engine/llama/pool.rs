//! The engine's threads: as many as it was given, and no more.

/// Threads that share a pass. With one, nothing is started at all.
pub(super) struct Pool {
    threads: Option<rayon::ThreadPool>,
}

impl Pool {
    pub(super) fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let threads = (threads > 1).then(|| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|index| format!("engine-{index}"))
                .build()
        });
        Ok(Self {
            threads: threads.transpose()?,
        })
    }

    /// Into how many parts to cut a task of so many steps: some more than there
    /// are threads, so that one that is held up does not hold up the others.
    pub(super) fn parts(&self, steps: usize) -> usize {
        let parts = self
            .threads
            .as_ref()
            .map_or(1, |threads| 3 * threads.current_num_threads());
        parts.clamp(1, steps.max(1))
    }

    /// Runs a pass where [`Pool::each`] reaches the threads without a detour.
    pub(super) fn install<R: Send>(&self, pass: impl FnOnce() -> R + Send) -> R {
        match &self.threads {
            Some(threads) => threads.install(pass),
            None => pass(),
        }
    }

    /// Does all of these, in any order, and returns when all are done.
    pub(super) fn each<T: Send>(&self, parts: Vec<T>, task: impl Fn(T) + Sync) {
        if self.threads.is_none() || parts.len() == 1 {
            parts.into_iter().for_each(task);
            return;
        }
        let task = &task;
        rayon::scope(|scope| {
            for part in parts {
                scope.spawn(move |_| task(part));
            }
        });
    }
}
