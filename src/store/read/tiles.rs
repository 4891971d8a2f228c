//! Hash tiles out of the tables.

use crate::ledger::tile::TileName;
use sqlx::{PgConnection, Row as _};
use std::collections::HashMap;

/// Tiles by level and index, each with all of its hashes that are stored.
#[derive(Debug, Default)]
pub(crate) struct Tiles(HashMap<(u8, u64), Vec<u8>>);

impl Tiles {
    /// The hashes of a tile of that name, which may be the beginning of a wider one; `None` where they are not there.
    pub(crate) fn hashes(&self, name: &TileName) -> Option<&[u8]> {
        self.0.get(&(name.level, name.index))?.get(..name.hashes() * 32)
    }
}

/// These tiles of a partition, as far as they are there, in one query.
pub(crate) async fn get(
    connection: &mut PgConnection,
    partition: u32,
    names: &[TileName],
) -> Result<Tiles, sqlx::Error> {
    let levels: Vec<i16> = names.iter().map(|name| i16::from(name.level)).collect();
    let indexes: Vec<i64> = names.iter().map(|name| name.index as i64).collect();
    let rows = sqlx::query(
        "SELECT level, tile_index, hashes FROM tiles WHERE partition = $1 \
         AND (level, tile_index) IN (SELECT * FROM UNNEST($2::smallint[], $3::bigint[]))",
    )
    .bind(partition as i32)
    .bind(levels)
    .bind(indexes)
    .fetch_all(connection)
    .await?;
    let tiles = rows.iter().map(|row| {
        let (level, index): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(((level as u8, index as u64), row.try_get(2)?))
    });
    tiles.collect::<Result<_, _>>().map(Tiles)
}
