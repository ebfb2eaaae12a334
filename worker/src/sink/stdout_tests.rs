//! The stdout sink against pipes that are slow, blocked or broken.

use std::sync::mpsc;
use std::time::Duration;

use shardman_core::{Epoch, ShardId};

use super::*;
use crate::sink::Acks;

/// A pipe that takes one chunk for every permission.
struct Gated {
    permission: mpsc::Receiver<()>,
    written: mpsc::Sender<String>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.permission
            .recv()
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let _ = self.written.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn event(sequence: u64, acks: &Acks) -> Event {
    Event {
        shard: ShardId::new(0, 1).unwrap(),
        epoch: Some(Epoch(1)),
        sequence,
        kind: "TYPING_START".into(),
        payload: format!(r#"{{"t":"TYPING_START","s":{sequence},"op":0,"d":{sequence}}}"#),
        acks: acks.clone(),
    }
}

fn gated(
    limit: usize,
    failed: &CancellationToken,
) -> (Arc<Writer>, mpsc::Sender<()>, mpsc::Receiver<String>) {
    let (permit, permission) = mpsc::channel();
    let (written, lines) = mpsc::channel();
    let writer = Writer::start(Gated { permission, written }, limit, failed.clone()).unwrap();
    (writer, permit, lines)
}

#[tokio::test]
async fn events_are_written_in_order_and_acknowledged_only_then() {
    let (writer, permit, lines) = gated(LIMIT_BYTES, &CancellationToken::new());
    let acks = Acks::default();
    for sequence in 1..=500 {
        writer.offer(event(sequence, &acks)).unwrap();
    }
    assert_eq!(acks.last(), 0);
    for _ in 0..500 {
        let _ = permit.send(());
    }
    writer.empty().await;
    assert_eq!(acks.last(), 500);
    let text: String = lines.try_iter().collect();
    let sequences: Vec<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["sequence"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(sequences.iter().copied().eq(1..=500), "{sequences:?}");
}

#[tokio::test]
async fn a_blocked_pipe_refuses_events_beyond_its_bound_and_recovers() {
    let acks = Acks::default();
    let limit = 4 * event(1, &acks).weight();
    let (writer, permit, _lines) = gated(limit, &CancellationToken::new());
    let taken = (1..=100)
        .take_while(|&sequence| writer.offer(event(sequence, &acks)).is_ok())
        .count();
    assert_eq!(taken, 4);
    assert_eq!(writer.offer(event(5, &acks)).unwrap_err().sequence, 5);
    for _ in 0..4 {
        let _ = permit.send(());
    }
    writer.drained().await;
    writer.empty().await;
    assert_eq!(acks.last(), 4);
    writer.offer(event(5, &acks)).unwrap();
}

#[tokio::test]
async fn a_broken_pipe_is_reported_and_acknowledges_nothing() {
    let failed = CancellationToken::new();
    let (writer, permit, _lines) = gated(LIMIT_BYTES, &failed);
    let acks = Acks::default();
    drop(permit);
    writer.offer(event(1, &acks)).unwrap();
    tokio::time::timeout(Duration::from_secs(10), failed.cancelled())
        .await
        .unwrap();
    assert_eq!(acks.last(), 0);
    assert!(writer.offer(event(2, &acks)).is_err());
}
