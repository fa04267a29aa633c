//! Bearer tokens of uploads: one for all tenants, and one file per tenant in a folder, which is reloaded when
//! it changes. This module decides who may upload. The caller checks that the channel belongs to the tenant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use channel::Secret;
use service::example_secrets;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Shortest token, in characters. A shorter one could be guessed.
pub(crate) const LENGTH_MIN: usize = 16;
/// Most tokens of a tenant. Two, so that the old token stays valid while clients switch to the new one.
const PER_TENANT_MAX: usize = 2;
/// Most files in the folder: more than any installation has tenants.
const TENANTS_MAX: usize = 10_000;
/// Largest file, in bytes: two tokens of any sensible length.
const FILE_BYTES_MAX: u64 = 4096;
/// Interval of the checks whether the files have changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// The tokens of each tenant that has a file.
type OfTenants = BTreeMap<String, Vec<Secret>>;

/// The kind of a token, to count which tokens are still in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenScope {
    /// The token of all tenants.
    General,
    /// The first token of the tenant.
    First,
    /// The second token of the tenant.
    Second,
}

impl TokenScope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// A folder with one file per tenant, named like the tenant. Each line is a token.
#[derive(Debug, Clone)]
pub struct TokenFolder {
    path: PathBuf,
    takes_examples: bool,
}

/// The contents of a folder: valid tokens, and the tenants whose file is invalid, with the reason. A reason
/// never quotes a token.
#[derive(Debug, Default)]
struct TokenSnapshot {
    tokens: OfTenants,
    faults: BTreeMap<String, String>,
}

impl TokenFolder {
    /// Reads the folder. `takes_examples`: whether example secrets may be used.
    ///
    /// # Errors
    /// The error of the folder, or of a file in it.
    pub(crate) fn open(path: PathBuf, takes_examples: bool) -> Result<(Self, usize), String> {
        let folder = Self { path, takes_examples };
        let held = folder.read().map_err(|error| format!("cannot be read: {error}"))?;
        match held.faults.iter().next() {
            Some((tenant, fault)) => Err(format!("file {tenant}: {fault}")),
            None => Ok((folder, held.tokens.len())),
        }
    }

    fn read(&self) -> std::io::Result<TokenSnapshot> {
        let mut held = TokenSnapshot::default();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            // Skip hidden entries: a mounted Secret has hidden folders beside its files, and a file that is
            // being written may be hidden.
            let Ok(tenant) = entry.file_name().into_string() else { continue };
            if tenant.starts_with('.') {
                continue;
            }
            if held.tokens.len() + held.faults.len() >= TENANTS_MAX {
                return Err(std::io::Error::other(format!("more than {TENANTS_MAX} files")));
            }
            match self.read_file(&tenant, &entry.path()) {
                Ok(tokens) => drop(held.tokens.insert(tenant, tokens)),
                Err(fault) => drop(held.faults.insert(tenant, fault)),
            }
        }
        Ok(held)
    }

    fn read_file(&self, tenant: &str, path: &Path) -> Result<Vec<Secret>, String> {
        if !channel::file::is_tenant(tenant) {
            return Err("its name is not a valid tenant name".to_owned());
        }
        // Follow links: a mounted Secret consists of links.
        let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(format!("is not a regular file, or is larger than {FILE_BYTES_MAX} bytes"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
        let tokens: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if tokens.is_empty() || tokens.len() > PER_TENANT_MAX {
            return Err(format!("must contain 1 to {PER_TENANT_MAX} lines with one token each"));
        }
        if tokens.iter().any(|token| token.len() < LENGTH_MIN) {
            return Err(format!("contains a token with fewer than {LENGTH_MIN} characters"));
        }
        if !self.takes_examples && tokens.iter().any(|token| example_secrets::is_example(token)) {
            return Err(example_secrets::RULE.to_owned());
        }
        Ok(tokens.into_iter().map(|token| Secret::new(token.as_bytes())).collect())
    }

    /// Reads the folder repeatedly until `stop`, starting immediately.
    fn follow(self, stop: CancellationToken) -> watch::Receiver<Arc<OfTenants>> {
        let mut faults = BTreeMap::new();
        let first = self.read_beside(&OfTenants::new(), &mut faults);
        let (sender, receiver) = watch::channel(Arc::new(first));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RELOAD_INTERVAL) => {}
                }
                let old = Arc::clone(&sender.borrow());
                let new = self.read_beside(&old, &mut faults);
                if !is_same(&old, &new) {
                    let tenants = service::words::pluralize(new.len() as u64, "tenant");
                    tracing::info!(function = "media", "reloaded the upload tokens of {tenants}");
                    let _ = sender.send_replace(Arc::new(new));
                }
            }
        });
        receiver
    }

    /// The current contents of the folder. If a file is invalid, its tenant keeps the old tokens, because the
    /// file may be incomplete. If the folder cannot be read, all tenants keep theirs. Each fault is logged
    /// once.
    fn read_beside(&self, old: &OfTenants, said: &mut BTreeMap<String, String>) -> OfTenants {
        let held = self.read();
        let (mut tokens, faults) = match held {
            Ok(held) => (held.tokens, held.faults),
            Err(error) => {
                (old.clone(), BTreeMap::from([(String::new(), format!("cannot read the folder: {error}"))]))
            }
        };
        for (tenant, fault) in &faults {
            if let Some(kept) = old.get(tenant) {
                tokens.insert(tenant.clone(), kept.clone());
            }
            if said.get(tenant) != Some(fault) {
                let folder = self.path.display();
                tracing::error!(
                    function = "media",
                    "upload tokens in {folder}: {tenant} {fault}; the earlier tokens stay valid"
                );
            }
        }
        *said = faults;
        tokens
    }
}

fn is_same(old: &OfTenants, new: &OfTenants) -> bool {
    let exposed = |tokens: &OfTenants| -> Vec<(String, Vec<Vec<u8>>)> {
        let of = |(tenant, all): (&String, &Vec<Secret>)| {
            (tenant.clone(), all.iter().map(|token| token.expose().to_vec()).collect())
        };
        tokens.iter().map(of).collect()
    };
    exposed(old) == exposed(new)
}

/// The current upload tokens.
pub(crate) struct Tokens {
    general: Option<Secret>,
    of_tenants: Option<watch::Receiver<Arc<OfTenants>>>,
}

impl Tokens {
    /// Follows the folder until `stop`.
    pub(crate) fn follow(
        general: Option<Secret>,
        folder: Option<TokenFolder>,
        stop: &CancellationToken,
    ) -> Self {
        Self { general, of_tenants: folder.map(|folder| folder.follow(stop.clone())) }
    }

    /// The token of this tenant that matches; `None` if none matches. All comparisons take constant time.
    pub(crate) fn find(&self, tenant: &str, presented: &[u8]) -> Option<TokenScope> {
        let of_tenants = self.of_tenants.as_ref().map(|tokens| Arc::clone(&tokens.borrow()));
        let own = of_tenants.as_ref().and_then(|all| all.get(tenant)).map(Vec::as_slice).unwrap_or_default();
        let general = self.general.iter().map(|token| (TokenScope::General, token));
        let own = [TokenScope::First, TokenScope::Second].into_iter().zip(own);
        let mut found = None;
        for (known, token) in general.chain(own) {
            if bool::from(presented.ct_eq(token.expose())) {
                found = found.or(Some(known));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "token-of-tenant-a-1";
    const B: &str = "token-of-tenant-b-1";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::TempDir::new().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn fault(name: &str, text: &str) -> String {
        let folder = folder(&[(name, text)]);
        TokenFolder::open(folder.path().to_owned(), false).map(drop).unwrap_err()
    }

    #[test]
    fn an_invalid_file_is_a_fault_that_does_not_quote_a_token() {
        for (name, text, why) in [
            ("a", "", "1 to 2 lines"),
            ("a", "one-token-of-three\ntwo-tokens-of-three\nthree-tokens-of-three", "1 to 2 lines"),
            ("a", "short", "fewer than 16 characters"),
            ("a b", A, "not a valid tenant name"),
            ("a", "example-0123456789abcdef", "a published example"),
        ] {
            let fault = fault(name, text);
            assert!(fault.starts_with(&format!("file {name}: ")) && fault.contains(why), "{fault}");
            assert!(text.lines().all(|token| !fault.contains(token)), "{fault}");
        }
        let folder =
            folder(&[("a", "example-0123456789abcdef"), (".hidden", "x"), ("b", &format!("\n {B} \r\n"))]);
        assert!(matches!(TokenFolder::open(folder.path().to_owned(), true), Ok((_, 2))));
        let missing = TokenFolder::open(folder.path().join("missing"), true).map(drop).unwrap_err();
        assert!(missing.starts_with("cannot be read"), "{missing}");
    }

    #[test]
    fn an_invalid_file_keeps_the_old_tokens_and_a_removed_file_removes_them() {
        let folder = folder(&[("a", A), ("b", B)]);
        let (tokens, _) = TokenFolder::open(folder.path().to_owned(), false).unwrap();
        let mut said = BTreeMap::new();
        let first = tokens.read_beside(&OfTenants::new(), &mut said);
        assert_eq!(first.keys().collect::<Vec<_>>(), ["a", "b"]);
        std::fs::write(folder.path().join("a"), "short").unwrap();
        std::fs::remove_file(folder.path().join("b")).unwrap();
        let second = tokens.read_beside(&first, &mut said);
        assert_eq!(second.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(second["a"][0].expose(), A.as_bytes());
        assert_eq!(said.len(), 1);
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert!(is_same(&second, &tokens.read_beside(&second, &mut said)));
        assert!(!format!("{tokens:?} {second:?}").contains(A));
    }

    #[test]
    fn each_tenant_has_its_tokens_and_all_have_the_general_one() {
        let own = |token: &str| vec![Secret::new(token.as_bytes())];
        let all = OfTenants::from([
            ("a".to_owned(), vec![Secret::new(A.as_bytes()), Secret::new(*b"the-old-token-of-a")]),
            ("b".to_owned(), own(B)),
        ]);
        let (_sender, receiver) = watch::channel(Arc::new(all));
        let mut tokens =
            Tokens { general: Some(Secret::new(*b"token-of-all-tenants")), of_tenants: Some(receiver) };
        let find = |tokens: &Tokens, tenant, token: &str| tokens.find(tenant, token.as_bytes());
        assert_eq!(find(&tokens, "a", A), Some(TokenScope::First));
        assert_eq!(find(&tokens, "a", "the-old-token-of-a"), Some(TokenScope::Second));
        assert_eq!(find(&tokens, "b", B), Some(TokenScope::First));
        for tenant in ["a", "b", "c"] {
            assert_eq!(find(&tokens, tenant, "token-of-all-tenants"), Some(TokenScope::General));
        }
        tokens.general = None;
        for (tenant, token) in
            [("a", B), ("b", A), ("c", A), ("a", ""), ("c", ""), ("a", "token-of-all-tenants")]
        {
            assert_eq!(find(&tokens, tenant, token), None, "{tenant} {token}");
        }
    }
}
