//! Bearer tokens of uploads: one for every tenant, and in the files of a folder those of single tenants, read again when they
//! change. Who may upload is decided here; that the channel is the tenant's, by the caller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use channel::Secret;
use service::examples;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A shorter token could be guessed.
pub(crate) const LENGTH_MIN: usize = 16;
/// Two, so that the old one counts while users change over to the new one.
const PER_TENANT_MAX: usize = 2;
/// More files than any installation has tenants.
const TENANTS_MAX: usize = 10_000;
/// Two tokens of any sensible length.
const FILE_BYTES_MAX: u64 = 4096;
/// Between two looks whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The tokens of each tenant that has a file.
type OfTenants = BTreeMap<String, Vec<Secret>>;

/// What a token is: for counting who still uses which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// That of every tenant.
    General,
    /// The first of the tenant's own.
    First,
    /// The second of the tenant's own.
    Second,
}

impl Known {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// A folder with one file a tenant, whose name is the tenant's. Each line is a token.
#[derive(Debug, Clone)]
pub struct TokenFolder {
    path: PathBuf,
    takes_examples: bool,
}

/// What a folder holds: tokens that can be used, and the tenants whose file cannot be, with the reason. No reason quotes a token.
#[derive(Debug, Default)]
struct Held {
    tokens: OfTenants,
    faults: BTreeMap<String, String>,
}

impl TokenFolder {
    /// Reads the folder. `takes_examples`: whether tokens that everybody knows may be used.
    ///
    /// # Errors
    /// What is wrong with it, or with a file in it.
    pub(crate) fn open(path: PathBuf, takes_examples: bool) -> Result<(Self, usize), String> {
        let folder = Self { path, takes_examples };
        let held = folder.read().map_err(|error| format!("cannot be read: {error}"))?;
        match held.faults.iter().next() {
            Some((tenant, fault)) => Err(format!("file {tenant}: {fault}")),
            None => Ok((folder, held.tokens.len())),
        }
    }

    fn read(&self) -> std::io::Result<Held> {
        let mut held = Held::default();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            // A mounted Secret has hidden folders beside its files, and a file that is being written may be hidden.
            let Ok(tenant) = entry.file_name().into_string() else { continue };
            if tenant.starts_with('.') {
                continue;
            }
            if held.tokens.len() + held.faults.len() >= TENANTS_MAX {
                return Err(std::io::Error::other(format!("it has more than {TENANTS_MAX} files")));
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
            return Err("its name is no tenant's".to_owned());
        }
        // Through links, which a mounted Secret is made of.
        let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(format!("is no file of at most {FILE_BYTES_MAX} bytes"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
        let tokens: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if tokens.is_empty() || tokens.len() > PER_TENANT_MAX {
            return Err(format!("must have 1 to {PER_TENANT_MAX} lines, each a token"));
        }
        if tokens.iter().any(|token| token.len() < LENGTH_MIN) {
            return Err(format!("a token must have at least {LENGTH_MIN} characters"));
        }
        if !self.takes_examples && tokens.iter().any(|token| examples::is_example(token)) {
            return Err(examples::RULE.to_owned());
        }
        Ok(tokens.into_iter().map(|token| Secret::new(token.as_bytes())).collect())
    }

    /// Reads it again and again until `stop`, beginning now.
    fn follow(self, stop: CancellationToken) -> watch::Receiver<Arc<OfTenants>> {
        let mut faults = BTreeMap::new();
        let first = self.read_beside(&OfTenants::new(), &mut faults);
        let (sender, receiver) = watch::channel(Arc::new(first));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let old = Arc::clone(&sender.borrow());
                let new = self.read_beside(&old, &mut faults);
                if !is_same(&old, &new) {
                    let tenants = service::words::counted(new.len() as u64, "tenant");
                    tracing::info!(
                        function = "media",
                        "the upload tokens of {tenants} are in use, as their files have them now"
                    );
                    let _ = sender.send_replace(Arc::new(new));
                }
            }
        });
        receiver
    }

    /// What the folder holds now. A file that cannot be used leaves its tenant the old tokens, since it may be written just now, and a
    /// folder that cannot be read leaves all of them. Each fault is logged once.
    fn read_beside(&self, old: &OfTenants, said: &mut BTreeMap<String, String>) -> OfTenants {
        let held = self.read();
        let (mut tokens, faults) = match held {
            Ok(held) => (held.tokens, held.faults),
            Err(error) => (
                old.clone(),
                BTreeMap::from([(String::new(), format!("the folder cannot be read: {error}"))]),
            ),
        };
        for (tenant, fault) in &faults {
            if let Some(kept) = old.get(tenant) {
                tokens.insert(tenant.clone(), kept.clone());
            }
            if said.get(tenant) != Some(fault) {
                let folder = self.path.display();
                tracing::error!(
                    function = "media",
                    "upload tokens in {folder}: {tenant} {fault}; what was read before counts"
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

/// Who may upload, as it is at this moment.
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

    /// Which token of this tenant's it is; `None` for one that may not upload. Each is compared in a time that does not tell how much
    /// of it is right.
    pub(crate) fn find(&self, tenant: &str, presented: &[u8]) -> Option<Known> {
        let of_tenants = self.of_tenants.as_ref().map(|tokens| Arc::clone(&tokens.borrow()));
        let own = of_tenants.as_ref().and_then(|all| all.get(tenant)).map(Vec::as_slice).unwrap_or_default();
        let general = self.general.iter().map(|token| (Known::General, token));
        let own = [Known::First, Known::Second].into_iter().zip(own);
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
    fn a_file_that_cannot_be_used_is_a_fault_that_quotes_no_token() {
        for (name, text, why) in [
            ("a", "", "1 to 2 lines"),
            ("a", "one-token-of-three\ntwo-tokens-of-three\nthree-tokens-of-three", "1 to 2 lines"),
            ("a", "short", "at least 16 characters"),
            ("a b", A, "no tenant's"),
            ("a", "example-0123456789abcdef", "an example"),
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
    fn a_broken_file_leaves_its_tenant_the_old_tokens_and_a_removed_one_takes_them() {
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
    fn each_tenant_has_its_own_and_all_have_the_general_one() {
        let own = |token: &str| vec![Secret::new(token.as_bytes())];
        let all = OfTenants::from([
            ("a".to_owned(), vec![Secret::new(A.as_bytes()), Secret::new(*b"the-old-token-of-a")]),
            ("b".to_owned(), own(B)),
        ]);
        let (_sender, receiver) = watch::channel(Arc::new(all));
        let mut tokens =
            Tokens { general: Some(Secret::new(*b"token-of-everybody")), of_tenants: Some(receiver) };
        let find = |tokens: &Tokens, tenant, token: &str| tokens.find(tenant, token.as_bytes());
        assert_eq!(find(&tokens, "a", A), Some(Known::First));
        assert_eq!(find(&tokens, "a", "the-old-token-of-a"), Some(Known::Second));
        assert_eq!(find(&tokens, "b", B), Some(Known::First));
        for tenant in ["a", "b", "c"] {
            assert_eq!(find(&tokens, tenant, "token-of-everybody"), Some(Known::General));
        }
        tokens.general = None;
        for (tenant, token) in
            [("a", B), ("b", A), ("c", A), ("a", ""), ("c", ""), ("a", "token-of-everybody")]
        {
            assert_eq!(find(&tokens, tenant, token), None, "{tenant} {token}");
        }
    }
}
