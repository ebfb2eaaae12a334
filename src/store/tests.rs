use std::fs;

use proptest::prelude::*;
use shardman_core::lease::{Holder, LeaseRecord};
use shardman_core::rolling::{Standing, WorkerRun};
use shardman_core::wire::ResumePoint;
use shardman_core::{PoolId, SessionId};

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn lease(number: u32, epoch: u64) -> LeaseRecord {
    LeaseRecord {
        shard: ShardId::new(number, 64).unwrap(),
        session: SessionId::from_random(u128::from(epoch)),
        epoch: Epoch(epoch),
        holder: Holder::Child(WorkerId::new(&PoolId::discord(), number)),
        key: Some(format!("key {epoch}")),
        identify_at_ms: 7,
        ttl_ms: 60_000,
        assigned: number == 3,
    }
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        of_one_pool(),
        (0u8..3, of_one_pool())
            .prop_map(|(pool, write)| Write::Pool(format!("pool-{pool}").parse().unwrap(), Box::new(write))),
    ]
}

fn of_one_pool() -> impl Strategy<Value = Write> {
    let shard = (0u32..6).prop_map(|n| ShardId::new(n, 64).unwrap());
    let worker = (0u32..4).prop_map(|n| WorkerId::new(&PoolId::discord(), n));
    let point = |sequence| SavedPoint {
        point: ResumePoint {
            session_id: "s".into(),
            sequence,
            resume_url: "wss://r".into(),
            guild_count: Some(3),
        },
        reported_at_ms: sequence,
    };
    prop_oneof![
        (0u32..6, 1u64..1000).prop_map(|(number, epoch)| Write::Lease(lease(number, epoch))),
        shard.clone().prop_map(Write::LeaseEnded),
        (1u32..9).prop_map(|total| Write::Plan(Plan::of_total(total))),
        proptest::option::of(any::<u64>()).prop_map(|at_ms| Write::Halt(at_ms.map(|at_ms| HaltRecord {
            reason: "4014".into(),
            at_ms
        }))),
        (shard, proptest::option::of(any::<u64>()))
            .prop_map(move |(shard, sequence)| Write::Resume(shard, sequence.map(point))),
        (worker.clone(), proptest::option::of(any::<i32>())).prop_map(|(worker, pid)| {
            let process = pid.map(|pid| ProcessId {
                pid,
                start_time: 1,
                boot_id: "b".into(),
            });
            Write::Worker(WorkerRecord {
                worker,
                credential: "c".into(),
                shards: 2,
                process,
                condemned: vec![ShardId::new(1, 64).unwrap()],
                started_at_ms: 3,
            })
        }),
        worker.clone().prop_map(Write::WorkerGone),
        (worker.clone(), any::<bool>()).prop_map(|(worker, rests)| {
            let rest = RestRecord {
                how: "exit code 0".into(),
                command: "c".into(),
            };
            Write::Rest(worker, rests.then_some(rest))
        }),
        (worker, any::<u64>()).prop_map(|(worker, run)| Write::Rolling(RollingRecord {
            asked_at_ms: 5,
            total: 1,
            queue: [WorkerRun {
                worker: worker.clone(),
                run,
            }]
            .into(),
            restarted: [worker.clone()].into(),
            current: None,
            begun: true,
            excused: [ShardId::new(1, 64).unwrap()].into(),
            standing: Standing::Paused {
                worker,
                reason: "r".into(),
            },
        })),
        (0u64..4, 0u32..3).prop_map(|(hour, starts)| Write::Starts(
            hour,
            (0..starts)
                .map(|number| Counter {
                    holder: lease(number, 1).holder,
                    shard: lease(number, 1).shard,
                    cause: shardman_core::ledger::StartCause::Crash,
                    starts,
                })
                .collect()
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_was_committed_is_there_after_reopening(batches in prop::collection::vec(prop::collection::vec(write(), 0..6), 1..8)) {
        let folder = tempfile::tempdir().unwrap();
        let mut model = MemoryStore::default();
        runtime().block_on(async {
            for batch in batches {
                let mut store = DiskStore::open(folder.path()).unwrap();
                store.commit(batch.clone()).await.unwrap();
                model.commit(batch).await.unwrap();
            }
            let saved = DiskStore::open(folder.path()).unwrap().load().await.unwrap();
            let mut expected = model.load().await.unwrap();
            expected.next_epoch = expected.next_epoch.max(Epoch(1));
            for saved in expected.pools.values_mut() {
                saved.next_epoch = saved.next_epoch.max(Epoch(1));
            }
            assert_eq!(saved, expected);
        });
    }
}

#[test]
fn the_epoch_counter_outlives_its_leases() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut store = DiskStore::open(folder.path()).unwrap();
        store.commit(vec![Write::Lease(lease(0, 41))]).await.unwrap();
        store
            .commit(vec![
                Write::LeaseEnded(lease(0, 41).shard),
                Write::Lease(lease(1, 7)),
            ])
            .await
            .unwrap();
        drop(store);
        assert_eq!(
            DiskStore::open(folder.path())
                .unwrap()
                .load()
                .await
                .unwrap()
                .next_epoch,
            Epoch(42)
        );
    });
}

#[test]
fn each_pool_has_an_epoch_counter_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let pool: PoolId = "web".parse().unwrap();
    runtime().block_on(async {
        let mut store = DiskStore::open(folder.path()).unwrap();
        let in_pool = |write| Write::Pool(pool.clone(), Box::new(write));
        let writes = vec![
            Write::Lease(lease(0, 41)),
            in_pool(Write::Lease(lease(0, 7))),
            in_pool(Write::LeaseEnded(lease(0, 7).shard)),
        ];
        store.commit(writes).await.unwrap();
        drop(store);
        let saved = DiskStore::open(folder.path()).unwrap().load().await.unwrap();
        assert_eq!((saved.next_epoch, saved.leases.len()), (Epoch(42), 1));
        let of_pool = &saved.pools[&pool];
        assert_eq!((of_pool.next_epoch, of_pool.leases.len()), (Epoch(8), 0));
    });
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = DiskStore::open(folder.path()).unwrap();
    assert!(matches!(
        DiskStore::open(folder.path()),
        Err(StoreError::Locked(_))
    ));
}

fn store_file(folder: &tempfile::TempDir) -> PathBuf {
    let mut store = DiskStore::open(folder.path()).unwrap();
    let grants = (0..40)
        .map(|n| Write::Lease(lease(n, u64::from(n) + 1)))
        .collect();
    runtime().block_on(store.commit(grants)).unwrap();
    folder.path().join("shardman.redb")
}

#[track_caller]
fn refused_and_untouched(folder: &tempfile::TempDir, bytes: &[u8]) -> StoreError {
    let path = folder.path().join("shardman.redb");
    fs::write(&path, bytes).unwrap();
    let error = DiskStore::open(folder.path())
        .map(|_| ())
        .expect_err("damage is refused");
    assert!(
        fs::read(&path).unwrap() == bytes,
        "a refused file is not written to"
    );
    let text = error.to_string();
    assert!(
        text.contains("shardman.redb") && text.contains("move it away"),
        "{text}"
    );
    error
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [
        &b""[..],
        b"hello",
        &[0; 8192],
        "not a store\n".repeat(2000).as_bytes(),
    ] {
        refused_and_untouched(&folder, bytes);
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(store_file(&folder)).unwrap();
    for part in [1, 64, 512, 4096, 8192, whole.len() / 2] {
        refused_and_untouched(&folder, &whole[..part]);
    }
}

#[test]
fn the_data_of_another_program_in_the_same_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shardman.redb");
    drop(redb::Database::create(&path).unwrap());
    let bytes = fs::read(&path).unwrap();
    assert!(matches!(
        refused_and_untouched(&folder, &bytes),
        StoreError::Foreign(_)
    ));
}

#[test]
fn a_file_left_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shardman.redb.new"), b"half").unwrap();
    DiskStore::open(folder.path()).unwrap();
}
