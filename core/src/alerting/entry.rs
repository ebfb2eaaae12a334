//! Alerts of one cause, told as one.

use std::collections::BTreeSet;

use super::{AlertKind, Notice, Severity, Subject};
use crate::{PoolId, ShardId, WorkerId};

/// Causes of one entry that are shown where they differ.
const SHOWN: usize = 3;

/// Bytes of a cause that are kept.
const CAUSE: usize = 4096;

/// Bytes of output that are kept.
const OUTPUT: usize = 16 * 1024;

/// Subjects that are named; more are only counted.
const SUBJECTS: usize = 70_000;

/// Alerts of one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: AlertKind,
    pub pool: PoolId,
    pub subjects: BTreeSet<Subject>,
    /// The first few that differ.
    pub causes: Vec<String>,
    /// Of the first that had any.
    pub last_lines: String,
    /// Whose they are.
    pub last_lines_of: Option<WorkerId>,
    /// How many alerts it stands for.
    pub count: u64,
    /// The first and the last of them, wall clock, milliseconds since 1970.
    pub first_ms: u64,
    pub last_ms: u64,
    /// When the last of its shards was last heard of.
    pub last_beat_ms: u64,
    /// It was told before, the first time at this moment, and happened again.
    pub again_since_ms: Option<u64>,
}

impl Entry {
    pub(super) fn new(notice: &Notice, again_since_ms: Option<u64>) -> Self {
        Self {
            kind: notice.kind,
            pool: notice.pool.clone(),
            subjects: BTreeSet::new(),
            causes: Vec::new(),
            last_lines: String::new(),
            last_lines_of: None,
            count: 0,
            first_ms: notice.at_ms,
            last_ms: notice.at_ms,
            last_beat_ms: notice.last_beat_ms,
            again_since_ms,
        }
    }

    pub(super) fn add(&mut self, notice: Notice, subject: Subject) {
        self.count += 1;
        self.first_ms = self.first_ms.min(notice.at_ms);
        self.last_ms = self.last_ms.max(notice.at_ms);
        self.last_beat_ms = self.last_beat_ms.max(notice.last_beat_ms);
        if self.subjects.len() < SUBJECTS {
            self.subjects.insert(subject);
        }
        self.show(beginning(&notice.cause, CAUSE));
        if self.last_lines.is_empty() && !notice.last_lines.is_empty() {
            end(&notice.last_lines, OUTPUT).clone_into(&mut self.last_lines);
            self.last_lines_of = notice.worker;
        }
    }

    fn show(&mut self, cause: &str) {
        if self.causes.len() < SHOWN && !self.causes.iter().any(|known| known == cause) {
            self.causes.push(cause.to_owned());
        }
    }

    /// Takes up a newer one of the same key.
    pub(super) fn absorb(&mut self, newer: Self) {
        self.count += newer.count;
        self.first_ms = self.first_ms.min(newer.first_ms);
        self.last_ms = self.last_ms.max(newer.last_ms);
        self.last_beat_ms = self.last_beat_ms.max(newer.last_beat_ms);
        self.again_since_ms = self.again_since_ms.min(newer.again_since_ms);
        let room = SUBJECTS.saturating_sub(self.subjects.len());
        self.subjects.extend(newer.subjects.into_iter().take(room));
        newer.causes.iter().for_each(|cause| self.show(cause));
        if self.last_lines.is_empty() {
            self.last_lines = newer.last_lines;
            self.last_lines_of = newer.last_lines_of;
        }
    }

    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// The shards, or slots of a pool, that it is about.
    pub fn shards(&self) -> BTreeSet<ShardId> {
        self.subjects.iter().filter_map(|subject| subject.shard).collect()
    }

    pub fn workers(&self) -> BTreeSet<&WorkerId> {
        self.subjects
            .iter()
            .filter_map(|subject| subject.worker.as_ref())
            .collect()
    }
}

fn beginning(text: &str, most: usize) -> &str {
    let mut cut = most.min(text.len());
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    &text[..cut]
}

fn end(text: &str, most: usize) -> &str {
    let mut cut = text.len().saturating_sub(most);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    &text[cut..]
}

/// Numbers as ranges: `0–2, 5`.
pub fn ranges(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    let numbers: BTreeSet<u32> = numbers.into_iter().collect();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let words = ranges.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}–{last}"),
    });
    words.collect()
}
