//! What comes out of a fleet's workers, as it comes out.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{let_pass, seconds};

/// Reads the logs of workers that print their events, all the time.
pub struct Arrivals {
    delays: Arc<Mutex<BTreeMap<u64, f64>>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Arrivals {
    pub fn watch(logs: PathBuf) -> Self {
        let delays = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, ended) = (Arc::clone(&delays), Arc::clone(&stop));
        let reader = std::thread::spawn(move || {
            let mut read = HashMap::new();
            while !ended.load(Ordering::Relaxed) {
                look(&logs, &mut read, &seen);
                let_pass(seconds(0.05));
            }
        });
        Self {
            delays,
            stop,
            reader: Some(reader),
        }
    }

    /// The longest time, in seconds, from when a message was sent until it came
    /// out of some worker for the first time, and its number.
    pub fn longest(&self) -> (u64, f64) {
        let delays = self.delays.lock().unwrap();
        let longest = delays.iter().max_by(|a, b| a.1.total_cmp(b.1));
        longest.map(|(number, delay)| (*number, *delay)).unwrap()
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.reader.take().map(JoinHandle::join));
    }
}

/// Takes in the whole lines that were written since the last look.
fn look(logs: &Path, read: &mut HashMap<PathBuf, u64>, seen: &Mutex<BTreeMap<u64, f64>>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    for log in std::fs::read_dir(logs).into_iter().flatten().flatten() {
        let from = read.entry(log.path()).or_insert(0);
        let mut text = Vec::new();
        let mut file = std::fs::File::open(log.path()).unwrap();
        file.seek(SeekFrom::Start(*from)).unwrap();
        file.read_to_end(&mut text).unwrap();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        *from += whole as u64;
        for line in text[..whole].split(|byte| *byte == b'\n') {
            let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else {
                continue;
            };
            if event["type"] == "MESSAGE_CREATE" {
                let number = event["data"]["nonce"].as_str().unwrap().parse().unwrap();
                let sent = sent_at(event["data"]["timestamp"].as_str().unwrap());
                seen.lock().unwrap().entry(number).or_insert(now - sent);
            }
        }
    }
}

/// Seconds since midnight UTC of an RFC 3339 time, put on today's date.
fn sent_at(timestamp: &str) -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let field = |range: std::ops::Range<usize>| timestamp[range].parse::<f64>().unwrap();
    let of_day = field(11..13) * 3600.0 + field(14..16) * 60.0 + field(17..23);
    let today = (now / 86_400.0).floor() * 86_400.0 + of_day;
    // Just before midnight it was yesterday.
    if today > now + 60.0 {
        today - 86_400.0
    } else {
        today
    }
}
