//! The filter of a day that has ended: whether a key may be in its file, in one read of 64 bytes.
//!
//! It is a Bloom filter of blocks. The first bits of a key choose the block, so that keys in their order fill the file from
//! its beginning to its end, and it is written with constant memory; the key's hash chooses the bits in the block. With
//! [`KEYS_PER_BLOCK`] keys in a block of 480 bits (12 bits a key), less than one answer in a hundred is a wrong "may be".
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | `imTLfil1` |
//! | 8–15 | number of blocks |
//! | 16–23 | number of the day's last row: a filter of other rows is not used |
//! | 24–33 | the day, `2026-11-27` |
//! | 60–63 | checksum of the bytes before |
//! | then, for each block | 60 bytes of bits, and a checksum of them and of the block's number |
//!
//! A block whose checksum is wrong says "may be". So does a file that is missing, cut or of another form.

pub(super) mod build;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::sqlite::day::Day;

/// Bytes of a block and of the head: one read.
const BLOCK_BYTES: usize = 64;
/// Bytes of a block that are bits.
const BITS_BYTES: usize = 60;
/// Bits of a block.
const BITS: u64 = 480;
/// Keys for which there is a block.
const KEYS_PER_BLOCK: u64 = 40;
/// Bits that a key sets.
const BITS_PER_KEY: u32 = 7;
/// Bytes of the day in the head.
const DAY_BYTES: usize = 10;
/// First bytes of the file.
const MAGIC: &[u8; 8] = b"imTLfil1";

type Block = [u8; BLOCK_BYTES];

/// An open filter.
#[derive(Debug)]
pub(super) struct Filter {
    file: File,
    blocks: u64,
}

impl Filter {
    /// The filter of a day whose last row has that number; `None` if it is of other rows, cut, or of another form.
    ///
    /// # Errors
    /// The file is missing or cannot be read.
    pub(super) fn open(path: &Path, day: Day, last_row: i64) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut head = [0; BLOCK_BYTES];
        let length = file.metadata()?.len();
        if length < BLOCK_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0)?;
        let blocks = u64::from_le_bytes(field(&head, 8));
        let is_whole = blocks > 0
            && blocks.checked_add(1).and_then(|all| all.checked_mul(BLOCK_BYTES as u64)) == Some(length);
        let is_ours = head == self::head(blocks, last_row, day);
        Ok((is_ours && is_whole).then_some(Self { file, blocks }))
    }

    /// Whether a key may be in the day. A key is its first 64 bits.
    pub(super) fn may_have(&self, key: u64) -> bool {
        let number = block_of(key, self.blocks);
        let mut block = [0; BLOCK_BYTES];
        if self.file.read_exact_at(&mut block, (number + 1) * BLOCK_BYTES as u64).is_err() {
            return true;
        }
        if block[BITS_BYTES..] != checksum(number, &block[..BITS_BYTES]) {
            return true;
        }
        bits_of(key).all(|bit| block[bit / 8] & (1 << (bit % 8)) != 0)
    }
}

/// The head of a file.
fn head(blocks: u64, last_row: i64, day: Day) -> Block {
    let mut head = [0; BLOCK_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&blocks.to_le_bytes());
    head[16..24].copy_from_slice(&last_row.to_le_bytes());
    let name = day.to_string();
    // A date has ten characters.
    let length = name.len().min(DAY_BYTES);
    head[24..24 + length].copy_from_slice(&name.as_bytes()[..length]);
    let sum = checksum(u64::MAX, &head[..BITS_BYTES]);
    head[BITS_BYTES..].copy_from_slice(&sum);
    head
}

fn field(head: &Block, at: usize) -> [u8; 8] {
    let mut field = [0; 8];
    field.copy_from_slice(&head[at..at + 8]);
    field
}

/// The block of a key: the higher the key, the higher the block.
fn block_of(key: u64, blocks: u64) -> u64 {
    let product = u128::from(key) * u128::from(blocks);
    u64::try_from(product >> 64).expect("the product of two numbers of 64 bits has 128")
}

/// The bits of a key in its block.
fn bits_of(key: u64) -> impl Iterator<Item = usize> {
    let hash = mixed(key);
    let (mut at, step) = (hash & 0xffff_ffff, (hash >> 32) | 1);
    (0..BITS_PER_KEY).map(move |_| {
        let bit = ((at & 0xffff_ffff) * BITS) >> 32;
        at = at.wrapping_add(step.wrapping_mul(0x9e37_79b9));
        usize::try_from(bit).expect("it is below 480")
    })
}

/// The finalizer of SplitMix64: each bit of the result depends on each of the key.
fn mixed(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// FNV-1a of a block's number and bits, so that a block of zeros, which a power failure may leave, is recognized.
fn checksum(number: u64, bits: &[u8]) -> [u8; 4] {
    let mut sum: u32 = 0x811c_9dc5;
    for byte in number.to_le_bytes().iter().chain(bits) {
        sum = (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    sum.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_zeros_has_another_checksum() {
        assert!((0..10_000).all(|number| checksum(number, &[0; BITS_BYTES]) != [0; 4]));
    }

    #[test]
    fn keys_in_order_fill_blocks_in_order() {
        let keys: Vec<u64> = (0..1000u64).map(|number| number << 54).collect();
        let blocks: Vec<u64> = keys.iter().map(|key| block_of(*key, 77)).collect();
        assert!(blocks.is_sorted());
        assert_eq!((blocks[0], block_of(u64::MAX, 77)), (0, 76));
        assert!(keys.iter().flat_map(|key| bits_of(*key)).all(|bit| bit < 480));
    }
}
