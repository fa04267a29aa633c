//! The example secrets that come with imchannel. They are public. They are for tests on one machine, and
//! rejected if the installation is reachable at any address except a loopback address.

use std::net::{IpAddr, SocketAddr};

use bus::NkeySeed;

use crate::settings::{ConfigReader, Setting};

/// Public IP address of the process, if it differs from its listen address.
pub static PUBLIC_ADDRESS: Setting = Setting::new(
    "public-address",
    "",
    "Public IP address, if it differs from the listen address. Example secrets are rejected unless it is a loopback address",
);

/// Prefix of every example secret without a fixed form.
pub const PREFIX: &str = "example-";
/// Public keys of the example nkeys, which have a fixed form.
const NKEYS: &str = include_str!("../../../deploy/compose/example/nats/users.env");

/// The error of an example secret.
pub const RULE: &str = "is a published example secret; generate your own with `imchannel secrets`. It is accepted only for a loopback address \
     (IMCHANNEL_PUBLIC_ADDRESS, or else the listen address)";

/// Whether a secret is one of the example secrets.
pub fn is_example(secret: &str) -> bool {
    secret.starts_with(PREFIX)
}

pub(crate) fn is_example_nkey(seed: &NkeySeed) -> bool {
    NKEYS.lines().any(|line| line.split_once('=').is_some_and(|(_, key)| key == seed.public_key()))
}

/// Whether example secrets may be used: the process is reachable only at a loopback address, as far as is
/// known. `listen` is the setting of its public port.
pub fn is_loopback_only(reader: &ConfigReader, listen: Option<&Setting>) -> bool {
    if let Some(public_address) = reader.optional_text(&PUBLIC_ADDRESS) {
        return public_address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    }
    let listen = listen.and_then(|setting| reader.optional_text(setting));
    listen.and_then(|text| text.parse::<SocketAddr>().ok()).is_some_and(|address| address.ip().is_loopback())
}

/// Adds an error for each example secret if the process is reachable from other machines. `listen` is the setting of
/// its public port, if it has one.
pub fn reject_on_public_address(
    reader: &mut ConfigReader,
    listen: Option<&'static Setting>,
    secrets: &[&'static Setting],
) {
    if is_loopback_only(reader, listen) {
        return;
    }
    for secret in secrets {
        if reader.optional_text(secret).is_some_and(|text| is_example(&text)) {
            reader.error(secret, RULE);
        }
    }
}

/// As [`reject_on_public_address`], for the nkey of a process.
pub(crate) fn refuse_nkey(reader: &mut ConfigReader, seed: &NkeySeed, setting: &'static Setting) {
    if is_example_nkey(seed) && !is_loopback_only(reader, None) {
        reader.error(setting, RULE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LISTEN: Setting = Setting::new("listen", "0.0.0.0:8080", "where");
    static TOKEN: Setting = Setting::new("token", "", "a token").secret();

    fn faults(values: &[(&'static str, &str)]) -> usize {
        let mut reader = ConfigReader::from_values(values.iter().copied());
        reject_on_public_address(&mut reader, Some(&LISTEN), &[&TOKEN]);
        reader.finish(|| Some(())).map_or_else(|faults| faults.0.len(), |()| 0)
    }

    #[test]
    fn examples_are_for_loopback_only() {
        let example = ("token", "example-0123456789");
        assert_eq!(faults(&[example]), 1);
        assert_eq!(faults(&[example, ("listen", "127.0.0.1:1")]), 0);
        assert_eq!(faults(&[example, ("public-address", "127.0.0.1")]), 0);
        assert_eq!(faults(&[example, ("listen", "127.0.0.1:1"), ("public-address", "192.0.2.1")]), 1);
        assert_eq!(faults(&[("token", "0123456789")]), 0);
    }
}
