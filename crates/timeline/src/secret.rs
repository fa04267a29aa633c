//! The secret of the hashes: read from a file, or made in the store's folder when it is first needed.
//!
//! A store's rows are found only with the secret that they were written with. So the folder holds a check value, and a
//! different secret is refused instead of finding nothing.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use channel::Secret;

use crate::row::Keys;
use crate::row::keys::SECRET_BYTES;

/// File of the secret in the store's folder: 64 hexadecimal digits.
pub const KEY_FILE: &str = "ids.key";
/// File of the check value.
const CHECK_FILE: &str = "ids.check";
/// What the check value is the hash of.
const CHECKED: &str = "check value of the timeline's secret";

/// The keys of the store in `folder`, from a given secret or from the folder's own.
///
/// # Errors
/// If the secret has another form or cannot be read, or if the rows in the folder were written with another secret.
pub fn load(folder: &Path, given: Option<&Secret>) -> anyhow::Result<Keys> {
    let secret = match given {
        Some(given) => parse(&String::from_utf8_lossy(given.expose()), "IMCHANNEL_TIMELINE_KEY")?,
        None => read_or_create(folder)?,
    };
    let keys = Keys::of_secret(&secret);
    let check = hex::encode(keys.id(CHECKED).0);
    let path = folder.join(CHECK_FILE);
    match std::fs::read_to_string(&path) {
        Ok(stored) if stored.trim() == check => Ok(keys),
        Ok(_) => bail!(
            "the rows in {} were written with another secret; give the one that they were written with, or move the folder aside to begin a new store",
            folder.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::write(&path, check).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(keys)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse(text: &str, place: &str) -> anyhow::Result<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    hex::decode_to_slice(text.trim(), &mut secret).map_err(|_| {
        anyhow::anyhow!(
            "{place} is not a secret of the timeline (expected {} hexadecimal digits); make one with `openssl rand -hex {SECRET_BYTES}`",
            2 * SECRET_BYTES
        )
    })?;
    Ok(secret)
}

fn read_or_create(folder: &Path) -> anyhow::Result<[u8; SECRET_BYTES]> {
    let path = folder.join(KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => return parse(&text, &path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).context("cannot get random bytes")?;
    // Beside its place first: a crash leaves no half secret.
    let temporary = folder.join("ids.key.new");
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(hex::encode(secret).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_secret_and_refuses_another() {
        let folder = tempfile::tempdir().unwrap();
        let keys = load(folder.path(), None).unwrap();
        assert_eq!(load(folder.path(), None).unwrap().id("a"), keys.id("a"));
        let secret = |text: String| Secret::new(text.into_bytes());
        let error = load(folder.path(), Some(&secret("00".repeat(SECRET_BYTES)))).unwrap_err().to_string();
        assert!(error.contains("another secret"), "{error}");
        let error = load(folder.path(), Some(&secret("00".to_owned()))).unwrap_err().to_string();
        assert!(error.contains("expected 64 hexadecimal digits"), "{error}");
    }
}
