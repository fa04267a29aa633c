//! Checks of the secrets that channels name and of the hosts that they send to, looked up like the services do, from
//! this machine. No secret is ever printed.

use std::collections::BTreeMap;
use std::time::Duration;

use bsp::secret_reference::SecretReference;
use channel::{Channel, SecretError, Secrets};
use reqwest::header::HeaderValue;

use super::finding::{Check, Finding, count, names};

const REFERENCES: Check = Check("channels.references");
const HOSTS: Check = Check("channels.hosts");

/// Findings if the channels could not be read.
pub(super) fn unseen(error: &str) -> [Finding; 2] {
    [REFERENCES.unseen(error), HOSTS.unseen(error)]
}

/// Timeout of resolving one host name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Result of looking up a reference or a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Yes,
    /// It was not found, for this reason.
    No(String),
    /// It cannot be determined from this machine, for this reason.
    Unseen(String),
}

/// A reference or host, and the channels that name it.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) channels: Vec<String>,
    pub(super) found: Found,
}

/// Where a reference is used.
struct ReferenceUse {
    reference: SecretReference,
    /// Whether its secret is sent as an HTTP header.
    is_header: bool,
    channels: Vec<String>,
}

/// Looks up the references of all channels.
pub(super) async fn resolve(channels: &[Channel], secrets: &Secrets) -> Vec<Named> {
    let mut uses: BTreeMap<String, ReferenceUse> = BTreeMap::new();
    for channel in channels {
        let account = channel.bsp.sending().and_then(|sending| sending.account(&channel.settings));
        let keys = channel.signature.iter().flat_map(|signature| signature.keys.iter().cloned());
        let all = account.map(|account| (account.key, true)).into_iter().chain(keys.map(|key| (key, false)));
        for (reference, is_header) in all {
            let found = uses.entry(reference.to_string()).or_insert_with(|| ReferenceUse {
                reference,
                is_header: false,
                channels: Vec::new(),
            });
            found.is_header |= is_header;
            found.channels.push(channel.id.to_string());
        }
    }
    let secrets = secrets.clone();
    // Files are read by blocking calls.
    let resolved = tokio::task::spawn_blocking(move || {
        let named = uses.into_iter().map(|(name, used)| Named {
            name,
            found: resolve_one(&secrets, &used.reference, used.is_header),
            channels: used.channels,
        });
        named.collect()
    });
    resolved.await.unwrap_or_default()
}

fn resolve_one(secrets: &Secrets, reference: &SecretReference, is_header: bool) -> Found {
    match secrets.resolve(reference) {
        Ok(secret) if is_header && HeaderValue::from_bytes(secret.expose()).is_err() => Found::No(
            "it contains characters that are not allowed in an HTTP header, such as a line break".to_owned(),
        ),
        Ok(_) => Found::Yes,
        Err(SecretError::NoVariable(_)) => {
            Found::Unseen("it is not set in this environment; the sender's environment may differ".to_owned())
        }
        Err(SecretError::NoFolder(_)) => Found::Unseen("no folder of secrets was given".to_owned()),
        Err(error @ (SecretError::Unreadable { .. } | SecretError::Empty(_))) => {
            Found::No(crate::words::causes(&anyhow::Error::from(error)))
        }
    }
}

/// Resolves the hosts of the channels' accounts. Nothing is sent to them.
pub(super) async fn find_hosts(channels: &[Channel]) -> Vec<Named> {
    let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for channel in channels {
        let account = channel.bsp.sending().and_then(|sending| sending.account(&channel.settings));
        let url = account.and_then(|account| reqwest::Url::parse(&account.base_url).ok());
        let host = url.as_ref().and_then(|url| url.host_str());
        if let Some(host) = host {
            of.entry(host.trim_matches(['[', ']']).to_owned()).or_default().push(channel.id.to_string());
        }
    }
    let looking = of.into_iter().map(|(name, channels)| async {
        let looking = async { tokio::net::lookup_host((&*name, 443)).await.map(|all| all.count()) };
        let found = match tokio::time::timeout(RESOLVE_TIMEOUT, looking).await {
            Ok(Ok(0)) => Found::No("it has no address".to_owned()),
            Ok(Ok(_)) => Found::Yes,
            Ok(Err(error)) => Found::No(error.to_string()),
            Err(_) => Found::Unseen("the name servers timed out".to_owned()),
        };
        Named { name, channels, found }
    });
    futures_util::future::join_all(looking).await
}

pub(super) fn evaluate_references(references: &[Named]) -> Vec<Finding> {
    evaluate(REFERENCES, references, "every secret that a channel names was found", |what, is_missing| {
        let why = "A channel whose key is missing sends nothing, and ingress cannot verify its signatures.";
        if is_missing {
            let remedy = "Store the secret at the place that the reference names: a file under IMCHANNEL_SECRETS_DIR, in every sender (for signatures: in every ingress).";
            REFERENCES.error(what, why, remedy)
        } else {
            let remedy = "Run this on the machine of a sender, with its environment and IMCHANNEL_SECRETS_DIR. lanes.halted shows what the senders report.";
            REFERENCES.unknown(what, why, remedy)
        }
    })
}

pub(super) fn evaluate_hosts(hosts: &[Named]) -> Vec<Finding> {
    evaluate(HOSTS, hosts, "the host of every account has an address", |what, is_missing| {
        let why = "A sender that cannot resolve the host sends nothing, and commands wait until they expire.";
        if is_missing {
            // Senders may use other name servers than this machine.
            HOSTS.warning(what, why, "Check base_url of these channels, and the name servers of the senders.")
        } else {
            HOSTS.unknown(what, why, "Run this on the machine of a sender.")
        }
    })
}

/// Most findings that are listed one by one. More are combined into one.
const EACH_MAX: usize = 5;

/// Returns one finding for each that was not found or is unknown, or one for many, and one if all were found.
fn evaluate(check: Check, all: &[Named], well: &str, make: impl Fn(String, bool) -> Finding) -> Vec<Finding> {
    let mut findings = Vec::new();
    for is_missing in [true, false] {
        let not_found: Vec<(&Named, &str)> = all
            .iter()
            .filter_map(|named| match &named.found {
                Found::No(reason) if is_missing => Some((named, reason.as_str())),
                Found::Unseen(reason) if !is_missing => Some((named, reason.as_str())),
                Found::Yes | Found::No(_) | Found::Unseen(_) => None,
            })
            .collect();
        let verb = if is_missing { "not found" } else { "unknown from this machine" };
        if not_found.len() > EACH_MAX {
            let of: Vec<String> = not_found.iter().map(|(named, _)| named.name.clone()).collect();
            let (number, first) = (of.len(), not_found[0].1);
            let what = format!("{number} are {verb}: {}; the first: {first}", names(&of));
            findings.push(make(what, is_missing).about(of));
            continue;
        }
        for (Named { name, channels, .. }, reason) in not_found {
            let what = format!("{name} of {} is {verb}: {reason}", names(channels));
            findings.push(make(what, is_missing).about([name]));
        }
    }
    if findings.is_empty() {
        findings.push(check.ok(format!("{well} ({})", count(all.len(), "name"))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn missing_references_are_reported_by_name() {
        let named = |name: &str, found| Named {
            name: name.to_owned(),
            channels: vec!["c-1".to_owned(), "c-2".to_owned()],
            found,
        };
        let all = [
            named("file:a", Found::Yes),
            named("file:b", Found::No("empty".to_owned())),
            named("env:INFOBIP_C", Found::Unseen("not set here".to_owned())),
        ];
        let findings = evaluate_references(&all);
        let levels: Vec<_> = findings.iter().map(|found| (&*found.subjects[0], found.level)).collect();
        assert_eq!(levels, [("file:b", Level::Error), ("env:INFOBIP_C", Level::Unknown)]);
        assert_eq!(evaluate_references(&all[..1])[0].level, Level::Ok);
        assert_eq!(evaluate_hosts(&all)[0].level, Level::Warning);
    }

    #[test]
    fn a_file_is_looked_for_in_the_folder() {
        let folder = std::env::temp_dir();
        let reference = SecretReference::File("imchannel-no-such-secret".to_owned());
        let secrets = |folder| Secrets { folder };
        assert!(matches!(resolve_one(&secrets(Some(folder)), &reference, true), Found::No(_)));
        assert!(matches!(resolve_one(&secrets(None), &reference, true), Found::Unseen(_)));
        let variable = SecretReference::Variable("IMCHANNEL_SECRET_NOT_SET".to_owned());
        assert!(matches!(resolve_one(&secrets(None), &variable, true), Found::Unseen(_)));
    }
}
