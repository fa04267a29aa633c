//! The secret of the hashes: read from a file, or made in the store's folder when it is first needed.
//!
//! A store's rows are found only with the secret that they were written with. So the folder holds a check value, and a
//! different secret is refused instead of finding nothing.

use std::fs::{File, OpenOptions};
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
    let stored = match read(folder, CHECK_FILE)? {
        Some(stored) => stored,
        None => create(folder, CHECK_FILE, &check)?,
    };
    if stored.trim() == check {
        return Ok(keys);
    }
    bail!(
        "the rows in {} were written with another secret; give the one that they were written with, or move the folder aside to begin a new store",
        folder.display()
    )
}

/// The keys of a given secret, for a store that checks itself whether it is the one that its rows were written with.
///
/// # Errors
/// The secret has another form.
pub fn given(secret: &Secret) -> anyhow::Result<Keys> {
    let secret = parse(&String::from_utf8_lossy(secret.expose()), "IMCHANNEL_TIMELINE_KEY")?;
    Ok(Keys::of_secret(&secret))
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
    let place = folder.join(KEY_FILE).display().to_string();
    // The check value first: a process that starts at the same time may create both files meanwhile, the secret before it.
    let was_used = read(folder, CHECK_FILE)?.is_some();
    if let Some(text) = read(folder, KEY_FILE)? {
        return parse(&text, &place);
    }
    if was_used {
        bail!(
            "{place} is missing, and the rows in its folder are found only with it; put it back, or move the folder aside to begin a new store"
        );
    }
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).context("cannot get random bytes")?;
    parse(&create(folder, KEY_FILE, &hex::encode(secret))?, &place)
}

/// The text of a file; `None` if it is missing.
fn read(folder: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Creates a file, whole or not at all, and returns its text. If another process has created it first, that is the other's.
fn create(folder: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = folder.join(name);
    let cannot_write = || format!("cannot write {}", path.display());
    let mut number = [0; 8];
    getrandom::fill(&mut number).context("cannot get random bytes")?;
    // A name of its own: another process that starts at the same time writes beside it.
    let temporary = folder.join(format!("{name}.{}.new", hex::encode(number)));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link replaces no file, as a rename would.
        match std::fs::hard_link(&temporary, &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => File::open(folder)?.sync_all(),
        }
    };
    let written = write();
    // A crash leaves it behind, and nothing reads it.
    let _ = std::fs::remove_file(&temporary);
    written.with_context(cannot_write)?;
    read(folder, name)?.with_context(cannot_write)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

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

    #[test]
    fn processes_that_start_first_at_the_same_time_have_one_secret() {
        const PROCESSES: usize = 8;
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let start = Barrier::new(PROCESSES);
            let ids: Vec<_> = std::thread::scope(|scope| {
                let process = || {
                    start.wait();
                    load(folder.path(), None).unwrap().id("a")
                };
                let all: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(process)).collect();
                all.into_iter().map(|process| process.join().unwrap()).collect()
            });
            let stored = load(folder.path(), None).unwrap().id("a");
            assert!(ids.iter().all(|id| *id == stored));
            let mut names: Vec<_> =
                std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
            names.sort_unstable();
            assert_eq!(names, [CHECK_FILE, KEY_FILE]);
        }
    }

    #[test]
    fn a_lost_secret_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path(), None).unwrap();
        let key = folder.path().join(KEY_FILE);
        std::fs::remove_file(&key).unwrap();
        let error = load(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("put it back"), "{error}");
        assert!(!key.exists());
    }
}
