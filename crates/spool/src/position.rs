//! The position: the sequence below which everything is acknowledged. It is written without an fsync, because an old one only
//! has entries read again. One that cannot be read counts as none.

use std::path::Path;
use std::{fs, io};

use xxhash_rust::xxh3::xxh3_64;

/// Name of its file.
const FILE: &str = "position";
/// Name under which it is written.
const NEW_FILE: &str = "position.new";

/// Reads the position of a sub-folder; 0 if it is missing or damaged.
pub(crate) fn read(folder: &Path) -> u64 {
    let Ok(bytes) = fs::read(folder.join(FILE)) else { return 0 };
    let Ok(bytes) = <[u8; 16]>::try_from(bytes) else { return 0 };
    let (number, check) = bytes.split_at(8);
    if xxh3_64(number).to_le_bytes() != *check {
        return 0;
    }
    u64::from_le_bytes(number.try_into().expect("eight bytes"))
}

/// Replaces the position of a sub-folder.
pub(crate) fn write(folder: &Path, position: u64) -> io::Result<()> {
    let number = position.to_le_bytes();
    let new = folder.join(NEW_FILE);
    fs::write(&new, [number, xxh3_64(&number).to_le_bytes()].concat())?;
    fs::rename(new, folder.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_position_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), 0);
        write(folder.path(), 7).unwrap();
        write(folder.path(), 8).unwrap();
        assert_eq!(read(folder.path()), 8);
        let file = folder.path().join(FILE);
        let mut bytes = fs::read(&file).unwrap();
        bytes[0] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(read(folder.path()), 0);
        fs::write(&file, &bytes[..5]).unwrap();
        assert_eq!(read(folder.path()), 0);
    }
}
