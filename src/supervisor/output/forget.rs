//! The logs of workers that are no more: they go once nobody wrote to them for
//! a week, so that what an earlier fleet left does not stay for ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use shardman_core::WorkerId;
use tracing::{info, warn};

/// How long a log is kept that no worker of this manager prints to.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// Between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// What belongs to the log of one worker, the live file last: as long as that
/// is there, the rest is found again.
const PARTS: [&str; 3] = [".log.1", ".log.begin", ".log"];

/// Deletes old logs but those `in_use`: a worker may be silent for a week.
pub(super) fn old_logs(folder: &Path, in_use: &BTreeSet<WorkerId>, now: SystemTime) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(worker) = name.to_str().and_then(|name| name.strip_suffix(".log")) else {
            continue;
        };
        let written = entry.metadata().and_then(|log| log.modified());
        let age = written.ok().and_then(|at| now.duration_since(at).ok());
        if in_use.contains(&WorkerId::from(worker)) || age.is_none_or(|age| age < KEEP) {
            continue;
        }
        for part in PARTS {
            match fs::remove_file(folder.join(format!("{worker}{part}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    warn!("the old log {worker}{part} cannot be deleted: {error}");
                }
                Ok(()) | Err(_) => {}
            }
        }
        info!("the log of {worker} was deleted: there is no such worker any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_a_week_after_its_worker() {
        let folder = tempfile::tempdir().unwrap();
        let files = |worker: &str| PARTS.map(|part| folder.path().join(format!("{worker}{part}")));
        for file in ["discord-0", "discord-1"].iter().flat_map(|worker| files(worker)) {
            fs::write(file, "1").unwrap();
        }
        let other = folder.path().join("notes.txt");
        fs::write(&other, "").unwrap();
        let in_use = BTreeSet::from([WorkerId::from("discord-0")]);
        let at = |age| SystemTime::now() + age;
        old_logs(folder.path(), &in_use, at(KEEP - Duration::from_secs(60)));
        assert!(files("discord-1").iter().all(|file| file.exists()), "not yet");
        old_logs(folder.path(), &in_use, at(KEEP + Duration::from_secs(60)));
        assert!(files("discord-0").iter().all(|file| file.exists()), "in use");
        assert!(!files("discord-1").iter().any(|file| file.exists()));
        assert!(other.exists(), "it is not ours");
    }
}
