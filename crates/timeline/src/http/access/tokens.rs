//! Tokens. Each line of their file is a role, a name and a token, apart by spaces:
//!
//! ```text
//! # dashboards of the supervisors
//! viewer supervisors 6sZpXq…
//! operator on-call 9xWt0B…
//! ```
//!
//! Empty lines and those that begin with `#` are left out. The name is for logs; two tokens may have one name while clients switch.
//! The file is read again when it changes.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use channel::Secret;
use service::example_secrets;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::access::{Role, User};

/// Shortest token, in characters. A shorter one could be guessed.
const LENGTH_MIN: usize = 16;
/// Most tokens: more than an installation has clients.
const TOKENS_MAX: usize = 1000;
/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Interval of the checks whether the file has changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// A token and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    user: User,
    token: Secret,
    digest: TokenDigest,
}

/// The SHA-256 of a token, by which sessions and live streams refer to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::http) struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token.
    pub(in crate::http) fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(***)")
    }
}

/// A token that is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Known {
    /// Whose it is.
    pub(in crate::http) user: User,
    /// Its digest.
    pub(in crate::http) digest: TokenDigest,
}

/// A file of tokens.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
    takes_examples: bool,
}

/// The tokens of a file, the latest that could be read.
#[derive(Debug, Clone)]
pub struct Tokens(watch::Receiver<Arc<Vec<Entry>>>);

impl TokenFile {
    /// Checks that the file can be read. `takes_examples`: whether example secrets may be used.
    ///
    /// # Errors
    /// What is wrong with it. The text quotes no token.
    pub fn open(path: PathBuf, takes_examples: bool) -> Result<Self, String> {
        let file = Self { path, takes_examples };
        file.read()?;
        Ok(file)
    }

    fn read(&self) -> Result<Vec<Entry>, String> {
        let text = read_text(&self.path)?;
        parse(&text, self.takes_examples)
    }

    /// Reads the file now, and again until `stop`. A file that cannot be read keeps the earlier tokens.
    pub fn follow(self, stop: CancellationToken) -> Tokens {
        let mut fault = None;
        let first = self.read_or_keep(&[], &mut fault);
        let (sender, receiver) = watch::channel(Arc::new(first));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RELOAD_INTERVAL) => {}
                }
                let old = Arc::clone(&sender.borrow());
                let new = self.read_or_keep(&old, &mut fault);
                if *old != new {
                    let count = service::words::pluralize(new.len() as u64, "token");
                    tracing::info!(function = "timeline", "reloaded {count}");
                    let _ = sender.send_replace(Arc::new(new));
                }
            }
        });
        Tokens(receiver)
    }

    /// Each fault is logged once.
    fn read_or_keep(&self, old: &[Entry], said: &mut Option<String>) -> Vec<Entry> {
        let fault = match self.read() {
            Ok(new) => {
                *said = None;
                return new;
            }
            Err(fault) => fault,
        };
        if said.as_ref() != Some(&fault) {
            let path = self.path.display();
            tracing::error!(
                function = "timeline",
                "tokens in {path}: {fault}; the earlier tokens stay valid"
            );
            *said = Some(fault);
        }
        old.to_vec()
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!("is not a regular file, or is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// The first fault of the file. It quotes no token.
fn parse(text: &str, takes_examples: bool) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut seen = HashSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [role, name, token] = words[..] else {
            return Err(format!("line {number}: expected a role, a name and a token"));
        };
        let role = Role::ALL.into_iter().find(|of| of.name() == role);
        let role =
            role.ok_or_else(|| format!("line {number}: the role must be viewer, unmask or operator"))?;
        if token.len() < LENGTH_MIN {
            return Err(format!("line {number}: the token has fewer than {LENGTH_MIN} characters"));
        }
        if !takes_examples && example_secrets::is_example(token) {
            return Err(format!("line {number}: {}", example_secrets::RULE));
        }
        if !seen.insert(token) {
            return Err(format!("line {number}: the token is in an earlier line too"));
        }
        let user = User { name: name.to_owned(), role };
        let digest = TokenDigest::of(token.as_bytes());
        entries.push(Entry { user, token: Secret::new(token.as_bytes()), digest });
    }
    match entries.len() {
        0 => Err("contains no token".to_owned()),
        1..=TOKENS_MAX => Ok(entries),
        _ => Err(format!("contains more than {TOKENS_MAX} tokens")),
    }
}

impl Tokens {
    /// The token that was presented. All comparisons take constant time.
    pub(in crate::http) fn find(&self, presented: &[u8]) -> Option<Known> {
        let entries = Arc::clone(&self.0.borrow());
        let mut found = None;
        for entry in entries.iter() {
            if bool::from(presented.ct_eq(entry.token.expose())) {
                found = Some(Known { user: entry.user.clone(), digest: entry.digest.clone() });
            }
        }
        found
    }

    /// Whose token has this digest; `None` if it is no longer in the file.
    pub(in crate::http) fn of_digest(&self, digest: &TokenDigest) -> Option<User> {
        self.0.borrow().iter().find(|entry| entry.digest == *digest).map(|entry| entry.user.clone())
    }

    /// Returns when a token is no longer in the file.
    pub(in crate::http) async fn removed(self, digest: TokenDigest) {
        let mut changes = self.0;
        let is_removed = |entries: &Arc<Vec<Entry>>| entries.iter().all(|entry| entry.digest != digest);
        if changes.wait_for(is_removed).await.is_err() {
            // The file is no longer followed: the service stops.
            std::future::pending().await
        }
    }
}

/// The token of the header `Authorization`; `None` if there is none.
pub(in crate::http) fn bearer_of(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION).map(axum::http::HeaderValue::as_bytes).and_then(bearer)
}

/// The token of `Bearer TOKEN` (RFC 9110, section 11.1: the scheme in any case).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "token-of-the-viewers";
    const B: &str = "token-of-an-operator";

    #[test]
    fn a_fault_of_the_file_names_the_line_and_no_token() {
        for (text, why) in [
            ("", "contains no token"),
            ("# only a comment\n", "contains no token"),
            ("viewer token-without-a-name", "line 1: expected a role, a name and a token"),
            ("\nadmin a token-of-the-admin", "line 2: the role must be"),
            ("viewer a short", "line 1: the token has fewer than 16"),
            (
                "viewer a token-of-the-viewers\noperator b token-of-the-viewers",
                "line 2: the token is in an earlier",
            ),
            ("viewer a example-0123456789abcdef", "line 1: is a published example"),
        ] {
            let fault = parse(text, false).unwrap_err();
            assert!(fault.starts_with(why), "{fault}");
            assert!(!fault.contains("token-of") && !fault.contains("0123"), "{fault}");
        }
        assert_eq!(parse("viewer a example-0123456789abcdef", true).unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_names_its_user_until_the_file_drops_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, format!("viewer wall {A}\noperator on-call {B}\n")).unwrap();
        let stop = CancellationToken::new();
        let tokens = TokenFile::open(path.clone(), false).unwrap().follow(stop.clone());
        let user = |header: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            let known = tokens.find(bearer_of(&headers)?)?;
            assert_eq!(tokens.of_digest(&known.digest).as_ref(), Some(&known.user));
            Some((known.user.name, known.user.role))
        };
        assert_eq!(user(&format!("Bearer {A}")), Some(("wall".to_owned(), Role::Viewer)));
        assert_eq!(user(&format!("bearer  {B} ")), Some(("on-call".to_owned(), Role::Operator)));
        for wrong in ["", "Bearer", "Bearer ", A, "Bearer token-of-the-viewer", "Basic dG9rZW4="] {
            assert_eq!(user(wrong), None, "{wrong}");
        }
        assert_eq!(bearer_of(&HeaderMap::new()), None);
        assert!(!format!("{tokens:?}").contains(A));
        std::fs::write(&path, format!("operator on-call {B}\n")).unwrap();
        tokens.clone().removed(TokenDigest::of(A.as_bytes())).await;
        assert_eq!(user(&format!("Bearer {A}")), None);
        assert_eq!(user(&format!("Bearer {B}")), Some(("on-call".to_owned(), Role::Operator)));
        stop.cancel();
    }

    #[test]
    fn an_invalid_file_keeps_the_earlier_tokens() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, format!("viewer wall {A}\n")).unwrap();
        let file = TokenFile::open(path.clone(), false).unwrap();
        let first = file.read().unwrap();
        let mut said = None;
        std::fs::write(&path, "viewer wall short\n").unwrap();
        assert_eq!(file.read_or_keep(&first, &mut said), first);
        assert!(said.as_deref().unwrap().starts_with("line 1"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.read_or_keep(&first, &mut said), first);
        assert!(TokenFile::open(path, false).unwrap_err().starts_with("cannot be read"));
    }
}
