//! Writes the filter of a day, a part of its blocks at a time, so that the memory does not grow with the day.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rusqlite::{Connection, Statement};

use crate::store::error::StoreError;
use crate::store::sqlite::columns::{ordered, unordered};
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault::{self, Sql};
use crate::store::sqlite::filter::{
    BITS_BYTES, BLOCK_BYTES, Block, KEYS_PER_BLOCK, bits_of, block_of, checksum, head,
};
use crate::store::sqlite::schema::SEGMENT_ROWS;

/// Blocks that are in memory at a time: 4 MiB.
const PART_BLOCKS: u64 = 65_536;
/// The tables whose keys are in the filter.
const TABLES: [&str; 2] = ["ids", "recipients"];

/// Writes the filter of a day to a file, and returns the number of the day's last row. `path` is that of the day's file, for
/// errors.
pub(in crate::store::sqlite) fn build(
    file: &Connection,
    path: &Path,
    day: Day,
    target: &Path,
) -> Result<i64, StoreError> {
    let sql = |error| fault::of_sqlite(error, path);
    // One transaction: every part sees the same rows.
    let snapshot = file.unchecked_transaction().map_err(sql)?;
    let last_row = last_row(&snapshot).map_err(sql)?;
    let blocks = count_keys(&snapshot).map_err(sql)?.div_ceil(KEYS_PER_BLOCK).max(1);
    let written =
        write_head(target, &head(blocks, last_row, day)).map_err(|error| fault::of_disk(error, target));
    let mut file = written?;
    let mut readers = Vec::new();
    for table in TABLES {
        let query = format!("SELECT DISTINCT key FROM {table} WHERE segment = ?1 AND key BETWEEN ?2 AND ?3");
        readers.push(snapshot.prepare(&query).map_err(sql)?);
    }
    let mut first = 0;
    while first < blocks {
        let part = Part::new(first, (first + PART_BLOCKS).min(blocks), blocks);
        let filled = part.filled(&mut readers, last_row / SEGMENT_ROWS).map_err(sql)?;
        file.write_all(&filled).map_err(|error| fault::of_disk(error, target))?;
        first += PART_BLOCKS;
    }
    file.sync_all().map_err(|error| fault::of_disk(error, target))?;
    Ok(last_row)
}

/// Number of the last row of a day; -1 for none.
pub(in crate::store::sqlite) fn last_row(day: &Connection) -> Sql<i64> {
    day.query_row("SELECT coalesce(max(number), -1) FROM rows", [], |row| row.get(0))
}

fn count_keys(day: &Connection) -> Sql<u64> {
    let mut keys = 0;
    for table in TABLES {
        let query = format!("SELECT count(*) FROM (SELECT DISTINCT segment, key FROM {table})");
        keys += day.query_row(&query, [], |row| row.get::<_, i64>(0))?.cast_unsigned();
    }
    Ok(keys)
}

fn write_head(target: &Path, head: &Block) -> io::Result<File> {
    let mut file = File::create(target)?;
    file.write_all(head)?;
    Ok(file)
}

/// Some blocks that follow one another.
struct Part {
    first: u64,
    end: u64,
    blocks: u64,
}

impl Part {
    fn new(first: u64, end: u64, blocks: u64) -> Self {
        Self { first, end, blocks }
    }

    /// Its bytes.
    fn filled(&self, readers: &mut [Statement<'_>], last_segment: i64) -> Sql<Vec<u8>> {
        let count = usize::try_from(self.end - self.first).expect("at most PART_BLOCKS");
        let mut part: Vec<Block> = vec![[0; BLOCK_BYTES]; count];
        let (from, to) =
            (ordered(first_key(self.first, self.blocks)), ordered(last_key(self.end, self.blocks)));
        for reader in readers {
            for segment in 0..=last_segment {
                let mut keys = reader.query([segment, from, to])?;
                while let Some(row) = keys.next()? {
                    let key = unordered(row.get(0)?);
                    let number = block_of(key, self.blocks) - self.first;
                    let block = &mut part[usize::try_from(number).expect("it is in the part")];
                    for bit in bits_of(key) {
                        block[bit / 8] |= 1 << (bit % 8);
                    }
                }
            }
        }
        for (number, block) in (self.first..self.end).zip(&mut part) {
            let sum = checksum(number, &block[..BITS_BYTES]);
            block[BITS_BYTES..].copy_from_slice(&sum);
        }
        Ok(part.concat())
    }
}

/// The lowest key of a block.
fn first_key(block: u64, blocks: u64) -> u64 {
    let key = (u128::from(block) << 64).div_ceil(u128::from(blocks));
    u64::try_from(key).unwrap_or(u64::MAX)
}

/// The highest key below a block.
fn last_key(end: u64, blocks: u64) -> u64 {
    if end >= blocks { u64::MAX } else { first_key(end, blocks) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_block_are_those_between_its_first_and_its_last() {
        for blocks in [1, 2, 3, 77, 65_537, 1 << 40] {
            for block in [0, 1, blocks / 2, blocks - 1] {
                let block = block.min(blocks - 1);
                assert_eq!(block_of(first_key(block, blocks), blocks), block);
                assert_eq!(block_of(last_key(block + 1, blocks), blocks), block);
            }
        }
    }
}
