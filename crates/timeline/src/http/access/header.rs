//! Users that a proxy names in a header, as single sign-on proxies do. Only listed proxies are believed: the proxy must remove the
//! header from what its own callers send.

use std::collections::HashMap;
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};
use service::addresses::Proxies;

use crate::http::access::{NotKnown, Role, User};

/// Longest user name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The header, whose it is believed, and what its users may do.
#[derive(Debug, Clone)]
pub struct UserHeader {
    /// The header's name.
    pub name: HeaderName,
    /// The proxies that are believed.
    pub proxies: Proxies,
    /// The roles of the users who are more than viewers.
    pub roles: HashMap<String, Role>,
}

impl UserHeader {
    /// The user whom a proxy names.
    pub(in crate::http) fn user(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<User, NotKnown> {
        if !peer.is_some_and(|peer| self.proxies.contains(peer)) {
            return Err(NotKnown::Absent(
                "call the timeline through its proxy: this address is not in IMCHANNEL_TIMELINE_USER_PROXIES",
            ));
        }
        let mut values = headers.get_all(&self.name).iter();
        let value = values.next().and_then(|value| value.to_str().ok()).map(str::trim);
        // Two values would mean that the proxy passed on a caller's.
        let (Some(name), None) = (value, values.next()) else {
            return Err(NotKnown::Absent(
                "the proxy names no user, or two, in the header of IMCHANNEL_TIMELINE_USER_HEADER",
            ));
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(NotKnown::Absent(
                "the proxy names a user without a name, or with one that is too long",
            ));
        }
        let role = self.roles.get(name).copied().unwrap_or(Role::Viewer);
        Ok(User { name: name.to_owned(), role })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listed_proxy_names_a_user() {
        let name = HeaderName::from_static("x-forwarded-user");
        let access = UserHeader {
            name: name.clone(),
            proxies: "192.0.2.1".parse().unwrap(),
            roles: HashMap::from([("ann".to_owned(), Role::Operator)]),
        };
        let user = |values: &[&str], peer: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&name, value.parse().unwrap());
            }
            let user = access.user(&headers, peer.map(|peer| peer.parse().unwrap()));
            user.ok().map(|user| (user.name, user.role))
        };
        let proxy = Some("192.0.2.1");
        assert_eq!(user(&["ann"], proxy), Some(("ann".to_owned(), Role::Operator)));
        assert_eq!(user(&["bob"], proxy), Some(("bob".to_owned(), Role::Viewer)));
        assert_eq!(user(&["ann"], Some("192.0.2.2")), None);
        assert_eq!(user(&["ann"], None), None);
        for wrong in [&[][..], &[""], &["bob", "ann"], &[&"x".repeat(300)]] {
            assert_eq!(user(wrong, proxy), None, "{wrong:?}");
        }
    }
}
