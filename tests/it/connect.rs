//! Many callers at once.

use std::collections::BTreeSet;
use std::sync::Barrier;

use crate::support::{Connection, Shardman};

#[test]
fn five_hundred_parallel_connects_get_each_of_a_hundred_shards_once() {
    let mut shardman = Shardman::up(&[("MAX_SHARDS", "100"), ("WORKERS", "0")]);
    let address = shardman.address;
    let barrier = Barrier::new(500);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let caller = || {
            let mut connection = Connection::open(address).unwrap();
            barrier.wait();
            connection
                .call("GET", "/connect", &[("Authorization", "test-secret")], None)
                .unwrap()
        };
        let callers: Vec<_> = (0..500).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let granted: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.json())
        .collect();
    let shards: BTreeSet<_> = granted
        .iter()
        .map(|body| body["shard_id"].as_u64().unwrap())
        .collect();
    assert_eq!(granted.len(), 100);
    assert_eq!(shards, (0..100).collect());
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 400);
    let mut by_epoch: Vec<_> = granted
        .iter()
        .map(|body| (body["epoch"].as_u64(), body["shard_id"].as_u64()))
        .collect();
    by_epoch.sort_unstable();
    assert!(
        by_epoch.is_sorted_by_key(|(_, shard)| *shard),
        "the lowest free shard goes first"
    );
    assert!(shardman.stop().success());
}
