//! Who may read: anyone on this machine, clients with a token, or the users that a proxy names.
//!
//! From which page of a browser a request may come is checked apart from it ([`origin`]).

pub mod header;
pub mod origin;
pub(crate) mod require;
pub mod tokens;

use std::net::IpAddr;

use axum::http::HeaderMap;

pub use crate::http::access::header::UserHeader;
pub use crate::http::access::tokens::{TokenFile, Tokens};

/// What a user may do. Each role may do what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read what is masked.
    Viewer,
    /// See numbers and texts.
    Unmask,
    /// Publish again and erase.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Unmask, Self::Operator];

    /// Its name, such as `viewer`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Unmask => "unmask",
            Self::Operator => "operator",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name of the token, or of the user that the proxy names; `local` without access control.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// How who asks is found out.
#[derive(Debug, Clone)]
pub enum Access {
    /// Anyone who reaches the port, which listens on a loopback address only, may do everything.
    Open,
    /// By a bearer token.
    Tokens(Tokens),
    /// By a header of a proxy.
    Header(UserHeader),
}

/// Who asks is not known: why, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotKnown(pub &'static str);

impl Access {
    /// Who asks. `peer` is the address of the other end of the connection.
    ///
    /// # Errors
    /// [`NotKnown`] without a valid token, or without a user that a listed proxy names.
    pub fn user(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<User, NotKnown> {
        match self {
            Self::Open => Ok(User { name: "local".to_owned(), role: Role::Operator }),
            Self::Tokens(tokens) => tokens.user(headers),
            Self::Header(header) => header.user(headers, peer),
        }
    }
}
