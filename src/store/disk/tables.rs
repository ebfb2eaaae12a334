//! Where the records of a pool are, and how one is written and read.

use redb::{TableDefinition, TableHandle, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shardman_core::PoolId;

/// The tables of one pool: those of `discord` have plain names, as they always
/// had, and others stand behind the name of their pool.
pub(super) struct Tables<'a, T> {
    pub(super) of: &'a T,
    pool: Option<&'a PoolId>,
}

impl<'a, T> Tables<'a, T> {
    pub(super) fn of_discord(of: &'a T) -> Self {
        Self { of, pool: None }
    }

    pub(super) fn of_pool(of: &'a T, pool: &'a PoolId) -> Self {
        Self { of, pool: Some(pool) }
    }

    pub(super) fn name(&self, table: &impl TableHandle) -> String {
        match self.pool {
            None => table.name().to_owned(),
            Some(pool) => format!("{pool}/{}", table.name()),
        }
    }
}

pub(super) type Rows<'a> = TableDefinition<'a, &'static str, &'static [u8]>;
pub(super) type Json = Rows<'static>;

pub(super) fn put(
    transaction: &Tables<'_, WriteTransaction>,
    table: Json,
    key: &str,
    value: &impl Serialize,
) -> Result<(), redb::Error> {
    let json = serde_json::to_vec(value).expect("stored records are plain data");
    let table = transaction.name(&table);
    let mut table = transaction.of.open_table(Rows::new(&table))?;
    table.insert(key, json.as_slice())?;
    Ok(())
}

pub(super) fn remove(
    transaction: &Tables<'_, WriteTransaction>,
    table: Json,
    key: &str,
) -> Result<(), redb::Error> {
    let table = transaction.name(&table);
    transaction.of.open_table(Rows::new(&table))?.remove(key)?;
    Ok(())
}

pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(json)
        .map_err(|error| redb::Error::Corrupted(format!("a record is unreadable: {error}")))
}
