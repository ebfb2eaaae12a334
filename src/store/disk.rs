//! The embedded store: one redb file in a locked folder.
//!
//! A file is made complete under another name and then renamed, so that there
//! is never half a store. A file that is not ours, or not whole, is refused
//! and never written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use redb::{
    Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    TableHandle, WriteTransaction,
};
use rustix::fs::{FlockOperation, flock};
use shardman_core::{Epoch, PoolId, ShardId, WorkerId};

use super::{LeaseStore, Saved, StoreError, Write};
use tables::{Json, Rows, Tables, parse, put, remove};

mod tables;

/// The one file, in `DATA_DIR`.
const FILE: &str = "shardman.redb";
const FORMAT: u64 = 1;

/// `format`, `next_epoch`.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("shardman");
/// `plan`, `rescale`, `chosen`, `discord`, `halt`, `rolling`, as JSON.
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
const LEASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("leases");
const RESUME: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("resume");
const WORKERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("workers");
/// Session starts by hour since 1970. Made when the first is written: a store
/// of an earlier shardman has no such table.
const STARTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("starts");
/// Places that have done their work. Made like the one before.
const RESTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rests");
/// Places that an operator stopped. Made like the one before.
const STOPPED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("stopped");

#[derive(Debug)]
pub struct DiskStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `None` after a failure: redb refuses to go on, so it is opened anew.
    database: Option<Database>,
    /// Held as long as the store lives.
    _lock: File,
}

impl DiskStore {
    /// Opens the store in `folder`, or makes both.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        if !path.try_exists().map_err(|error| io_error(&path, &error))? {
            create(folder, &path)?;
        }
        let database = open(&path)?;
        Ok(Self {
            inner: Arc::new(Mutex::new(Inner {
                path,
                database: Some(database),
                _lock: lock,
            })),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            let mut inner = inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            work(&mut inner)
        });
        task.await.expect("store work neither panics nor is cancelled")
    }
}

impl LeaseStore for DiskStore {
    async fn load(&mut self) -> Result<Saved, StoreError> {
        self.run(|inner| inner.with(read)).await
    }

    async fn commit(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.run(move |inner| {
            inner.with(|database| {
                let transaction = database.begin_write()?;
                for write in &writes {
                    apply(&Tables::of_discord(&transaction), write)?;
                }
                transaction.commit()?;
                Ok(())
            })
        })
        .await
    }
}

impl Inner {
    fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        let done = work(&database).map_err(|error| database_error(&self.path, error));
        if done.is_ok() {
            self.database = Some(database);
        }
        done
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|error| io_error(&path, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(folder.to_owned())),
        Err(error) => Err(io_error(&path, &error.into())),
    }
}

fn create(folder: &Path, path: &Path) -> Result<(), StoreError> {
    let unfinished = folder.join(format!("{FILE}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&unfinished, &error)),
        Ok(()) | Err(_) => {}
    }
    let made = Database::create(&unfinished)
        .map_err(redb::Error::from)
        .and_then(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(NUMBERS)?.insert("format", FORMAT)?;
            for table in [FACTS, LEASES, RESUME, WORKERS] {
                transaction.open_table(table)?;
            }
            transaction.commit()?;
            Ok(())
        });
    made.map_err(|error| database_error(&unfinished, error))?;
    let renamed = fs::rename(&unfinished, path).and_then(|()| File::open(folder)?.sync_all());
    renamed.map_err(|error| io_error(path, &error))
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let corrupt = |reason: &str| StoreError::Corrupt {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    // A damaged file can make the engine panic; that is a refusal like others.
    let opened = std::panic::catch_unwind(|| {
        // A look that writes nothing. After a crash only the second one, which
        // repairs, can read.
        if let Ok(database) = ReadOnlyDatabase::open(path) {
            check_format(path, format(&database))?;
        }
        let mut database = Database::open(path).map_err(|error| database_error(path, error.into()))?;
        let whole = database
            .check_integrity()
            .map_err(|error| database_error(path, error.into()))?;
        check_format(path, format(&database))?;
        if whole {
            Ok(database)
        } else {
            Err(corrupt("a checksum does not match"))
        }
    });
    opened.unwrap_or_else(|_| Err(corrupt("its pages do not fit together")))
}

fn format(database: &impl ReadableDatabase) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(NUMBERS) {
        Ok(table) => Ok(table.get("format")?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn check_format(path: &Path, format: Result<Option<u64>, redb::Error>) -> Result<(), StoreError> {
    match format.map_err(|error| database_error(path, error))? {
        None => Err(StoreError::Foreign(path.to_owned())),
        Some(found) if found > FORMAT => Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        }),
        Some(_) => Ok(()),
    }
}

fn apply(transaction: &Tables<'_, WriteTransaction>, write: &Write) -> Result<(), redb::Error> {
    match write {
        Write::Lease(record) => {
            let numbers = transaction.name(&NUMBERS);
            let mut numbers = transaction
                .of
                .open_table(TableDefinition::<&str, u64>::new(&numbers))?;
            let next = record.epoch.next().0;
            let stored = numbers.get("next_epoch")?.map_or(0, |value| value.value());
            numbers.insert("next_epoch", next.max(stored))?;
            put(transaction, LEASES, &record.shard.to_string(), record)
        }
        Write::LeaseEnded(shard) => remove(transaction, LEASES, &shard.to_string()),
        Write::Plan(plan) => put(transaction, FACTS, "plan", plan),
        Write::Discord(facts) => put(transaction, FACTS, "discord", facts),
        Write::Rescale(Some(rescale)) => put(transaction, FACTS, "rescale", rescale),
        Write::Rescale(None) => remove(transaction, FACTS, "rescale"),
        Write::Chosen(Some(chosen)) => put(transaction, FACTS, "chosen", chosen),
        Write::Chosen(None) => remove(transaction, FACTS, "chosen"),
        Write::Starts(hour, counters) if counters.is_empty() => {
            remove(transaction, STARTS, &hour.to_string())
        }
        Write::Starts(hour, counters) => put(transaction, STARTS, &hour.to_string(), counters),
        Write::Halt(Some(halt)) => put(transaction, FACTS, "halt", halt),
        Write::Halt(None) => remove(transaction, FACTS, "halt"),
        Write::Rolling(rolling) => put(transaction, FACTS, "rolling", rolling),
        Write::Resume(shard, Some(point)) => put(transaction, RESUME, &shard.to_string(), point),
        Write::Resume(shard, None) => remove(transaction, RESUME, &shard.to_string()),
        Write::Worker(record) => put(transaction, WORKERS, record.worker.as_str(), record),
        Write::WorkerGone(worker) => remove(transaction, WORKERS, worker.as_str()),
        Write::Rest(worker, Some(rest)) => put(transaction, RESTS, worker.as_str(), rest),
        Write::Rest(worker, None) => remove(transaction, RESTS, worker.as_str()),
        Write::Stopped(worker, Some(stopped)) => put(transaction, STOPPED, worker.as_str(), stopped),
        Write::Stopped(worker, None) => remove(transaction, STOPPED, worker.as_str()),
        Write::Pool(pool, write) => apply(&Tables::of_pool(transaction.of, pool), write),
    }
}

fn read(database: &Database) -> Result<Saved, redb::Error> {
    let reading = database.begin_read()?;
    let mut saved = read_pool(&Tables::of_discord(&reading))?;
    let tables = reading.list_tables()?;
    let pools: BTreeSet<_> = tables
        .filter_map(|table| Some(table.name().split_once('/')?.0.to_owned()))
        .collect();
    for pool in pools {
        let pool: PoolId = pool
            .parse()
            .map_err(|_| redb::Error::Corrupted(format!("records of the pool '{pool}'")))?;
        let of_pool = read_pool(&Tables::of_pool(&reading, &pool))?;
        saved.pools.insert(pool, of_pool);
    }
    Ok(saved)
}

fn read_pool(reading: &Tables<'_, ReadTransaction>) -> Result<Saved, redb::Error> {
    let numbers = reading.name(&NUMBERS);
    let next_epoch = match reading.of.open_table(TableDefinition::<&str, u64>::new(&numbers)) {
        Ok(numbers) => numbers.get("next_epoch")?.map_or(1, |value| value.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => 1,
        Err(error) => return Err(error.into()),
    };
    let rows = |table: Json| -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = reading.name(&table);
        let table = match reading.of.open_table(Rows::new(&table)) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        table
            .iter()?
            .map(|row| row.map(|(key, value)| (key.value().to_owned(), value.value().to_owned())))
            .collect::<Result<_, _>>()
            .map_err(redb::Error::from)
    };
    let mut facts: BTreeMap<_, _> = rows(FACTS)?.into_iter().collect();
    let mut fact = |name: &str| facts.remove(name);
    let mut saved = Saved {
        next_epoch: Epoch(next_epoch),
        ..Saved::default()
    };
    saved.plan = fact("plan").map(|json| parse(&json)).transpose()?;
    saved.rescale = fact("rescale").map(|json| parse(&json)).transpose()?;
    saved.chosen = fact("chosen").map(|json| parse(&json)).transpose()?;
    saved.discord = fact("discord").map(|json| parse(&json)).transpose()?;
    saved.halt = fact("halt").map(|json| parse(&json)).transpose()?;
    saved.rolling = fact("rolling").map(|json| parse(&json)).transpose()?;
    for (_, json) in rows(LEASES)? {
        saved.leases.push(parse(&json)?);
    }
    saved
        .leases
        .sort_by_key(|lease: &shardman_core::lease::LeaseRecord| lease.shard);
    for (key, json) in rows(RESUME)? {
        let shard: ShardId = key
            .parse()
            .map_err(|_| redb::Error::Corrupted(format!("resume point '{key}'")))?;
        saved.resume.insert(shard, parse(&json)?);
    }
    for (key, json) in rows(STARTS)? {
        let hour = key
            .parse()
            .map_err(|_| redb::Error::Corrupted(format!("session starts of the hour '{key}'")))?;
        saved.starts.insert(hour, parse(&json)?);
    }
    for (_, json) in rows(WORKERS)? {
        saved.workers.push(parse(&json)?);
    }
    for (key, json) in rows(RESTS)? {
        saved.rests.insert(WorkerId::from(&*key), parse(&json)?);
    }
    for (key, json) in rows(STOPPED)? {
        saved.stopped.insert(WorkerId::from(&*key), parse(&json)?);
    }
    Ok(saved)
}

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's list of errors is open and long"
)]
fn database_error(path: &Path, error: redb::Error) -> StoreError {
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked(path.to_owned()),
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => StoreError::Corrupt {
            path: path.to_owned(),
            reason: "it does not start like a store".to_owned(),
        },
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => StoreError::Corrupt {
            path: path.to_owned(),
            reason: "it is cut short".to_owned(),
        },
        redb::Error::Io(error) => io_error(path, &error),
        redb::Error::PreviousIo => io_error(path, &io::Error::other("an earlier write failed")),
        other => StoreError::Corrupt {
            path: path.to_owned(),
            reason: other.to_string(),
        },
    }
}
