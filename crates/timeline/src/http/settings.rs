//! The settings of the port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderName;
use service::addresses::Proxies;
use service::{Addresses, ConfigReader, Setting, example_secrets, http};
use tokio_util::sync::CancellationToken;

use crate::http::access::origin::Hosts;
use crate::http::access::{Access, Role, TokenFile, UserHeader};

/// Address and port of the console and its API.
pub static LISTEN: Setting =
    Setting::new("timeline-listen", "127.0.0.1:8082", "Address of the timeline's page and HTTP API");
/// Who may read.
pub static ACCESS: Setting = Setting::new(
    "timeline-access",
    "none",
    "Who may read the timeline: 'none' (anyone who reaches a loopback address; no other address is accepted), 'token' (clients with a token of timeline-tokens-file), or 'header' (users that a proxy of timeline-user-proxies names)",
);
/// The tokens.
pub static TOKENS_FILE: Setting = Setting::new(
    "timeline-tokens-file",
    "",
    "File with a line for each token: its role (viewer, unmask or operator), a name and the token, at least 16 characters; reloaded when it changes",
);
/// The header with the user.
pub static USER_HEADER: Setting = Setting::new(
    "timeline-user-header",
    "x-forwarded-user",
    "Header in which a proxy names the user; the proxy must remove it from what its callers send",
);
/// The proxies that name users.
pub static USER_PROXIES: Setting = Setting::new(
    "timeline-user-proxies",
    "",
    "Addresses and networks of the proxies that name users, separated by commas, such as 192.0.2.1,2001:db8::/48",
);
/// The users who may see numbers and texts.
pub static UNMASK_USERS: Setting = Setting::new(
    "timeline-unmask-users",
    "",
    "Users of the header who may see numbers and texts, separated by commas",
);
/// The users who may publish again and erase.
pub static OPERATOR_USERS: Setting = Setting::new(
    "timeline-operator-users",
    "",
    "Users of the header who may see everything, publish again and erase, separated by commas",
);
/// The hosts by which the port is reached.
pub static HOSTS: Setting = Setting::new(
    "timeline-hosts",
    "localhost,127.0.0.1,::1",
    "Hosts by which browsers and clients reach the timeline, without ports, separated by commas; a request with another Host is answered 403",
);

/// Every setting of the port.
pub static ALL: [&Setting; 12] = [
    &LISTEN,
    &ACCESS,
    &TOKENS_FILE,
    &USER_HEADER,
    &USER_PROXIES,
    &UNMASK_USERS,
    &OPERATOR_USERS,
    &HOSTS,
    Addresses::SETTINGS[0],
    Addresses::SETTINGS[1],
    Addresses::SETTINGS[2],
    &http::DRAIN_DELAY,
];

/// Settings of the port.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// The hosts by which it is reached.
    pub hosts: Hosts,
    /// Who may read.
    pub access: AccessSettings,
    /// The proxies in front, and limits of each address.
    pub addresses: Addresses,
    /// Time for which requests are still accepted after a stop.
    pub drain_delay: Duration,
}

/// Who may read, before the file of tokens is followed.
#[derive(Debug, Clone)]
pub enum AccessSettings {
    /// Anyone who reaches the port.
    Open,
    /// Clients with a token.
    Tokens(TokenFile),
    /// Users that a proxy names.
    Header(UserHeader),
}

impl AccessSettings {
    /// Who may read. A file of tokens is read again when it changes, until `stop`.
    pub fn follow(self, stop: &CancellationToken) -> Access {
        match self {
            Self::Open => Access::Open,
            Self::Tokens(file) => Access::Tokens(file.follow(stop.clone())),
            Self::Header(header) => Access::Header(header),
        }
    }
}

impl HttpSettings {
    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let listen = reader.value::<SocketAddr>(&LISTEN);
        let hosts = reader.value(&HOSTS);
        let addresses = Addresses::read(reader);
        let drain_delay = http::read_drain_delay(reader);
        let access = match reader.text(&ACCESS)?.as_str() {
            "none" => {
                if listen.is_some_and(|listen| !listen.ip().is_loopback()) {
                    let message = format!(
                        "is 'none', and {} is not a loopback address: set 'token' or 'header', or listen on 127.0.0.1",
                        LISTEN.variable()
                    );
                    reader.error(&ACCESS, &message);
                    return None;
                }
                Some(AccessSettings::Open)
            }
            "token" => read_tokens(reader).map(AccessSettings::Tokens),
            "header" => read_header(reader).map(AccessSettings::Header),
            _ => {
                reader.error(&ACCESS, "must be 'none', 'token' or 'header'");
                None
            }
        };
        Some(Self {
            listen: listen?,
            hosts: hosts?,
            access: access?,
            addresses: addresses?,
            drain_delay: drain_delay?,
        })
    }
}

fn read_tokens(reader: &mut ConfigReader) -> Option<TokenFile> {
    let path = reader.text(&TOKENS_FILE)?;
    let takes_examples = example_secrets::is_loopback_only(reader, Some(&LISTEN));
    match TokenFile::open(path.into(), takes_examples) {
        Ok(file) => Some(file),
        Err(fault) => {
            reader.error(&TOKENS_FILE, &fault);
            None
        }
    }
}

fn read_header(reader: &mut ConfigReader) -> Option<UserHeader> {
    let name = reader.value::<HeaderName>(&USER_HEADER);
    let proxies = reader.value::<Proxies>(&USER_PROXIES);
    let mut roles = HashMap::new();
    for (setting, role) in [(&UNMASK_USERS, Role::Unmask), (&OPERATOR_USERS, Role::Operator)] {
        let users = reader.optional_text(setting).unwrap_or_default();
        let users = users.split(',').map(str::trim).filter(|user| !user.is_empty());
        roles.extend(users.map(|user| (user.to_owned(), role)));
    }
    Some(UserHeader { name: name?, proxies: proxies?, roles })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&'static str, &str)]) -> Result<HttpSettings, String> {
        let mut reader = ConfigReader::from_values(values.iter().copied());
        let settings = HttpSettings::read(&mut reader);
        reader.finish(|| settings).map_err(|faults| faults.to_string())
    }

    #[test]
    fn no_access_control_is_for_loopback_addresses_only() {
        assert!(matches!(read(&[]).unwrap().access, AccessSettings::Open));
        assert!(read(&[("timeline-listen", "[::1]:0")]).is_ok());
        for listen in ["0.0.0.0:8082", "[::]:8082", "192.0.2.1:8082"] {
            let fault = read(&[("timeline-listen", listen)]).unwrap_err();
            assert!(fault.contains("is not a loopback address"), "{fault}");
        }
        assert!(
            read(&[("timeline-access", "open")]).unwrap_err().contains("must be 'none', 'token' or 'header'")
        );
    }

    #[test]
    fn tokens_and_headers_are_read_with_every_fault() {
        let listen = ("timeline-listen", "0.0.0.0:8082");
        let fault = read(&[listen, ("timeline-access", "token")]).unwrap_err();
        assert!(fault.contains("IMCHANNEL_TIMELINE_TOKENS_FILE) is not set"), "{fault}");
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "viewer wall 0123456789abcdef\n").unwrap();
        let file = ("timeline-tokens-file", path.to_str().unwrap());
        assert!(matches!(
            read(&[listen, ("timeline-access", "token"), file]).unwrap().access,
            AccessSettings::Tokens(_)
        ));
        let header = ("timeline-access", "header");
        let faults =
            read(&[listen, header, ("timeline-user-header", "a b"), ("timeline-hosts", "a:1")]).unwrap_err();
        assert_eq!(faults.lines().count(), 3, "{faults}");
        let settings = read(&[
            listen,
            header,
            ("timeline-user-proxies", "192.0.2.1"),
            ("timeline-operator-users", "ann, bob"),
        ]);
        let AccessSettings::Header(header) = settings.unwrap().access else { panic!("another access") };
        assert_eq!(header.roles.len(), 2);
        assert_eq!(header.roles["ann"], Role::Operator);
    }
}
