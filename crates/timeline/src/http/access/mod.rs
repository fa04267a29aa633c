//! Who may read: anyone on this machine, clients with a token and browsers that have signed in with one, or the users that a proxy
//! names.
//!
//! From which page of a browser a request may come is checked apart from it ([`origin`]).

pub(in crate::http) mod cookie;
pub(in crate::http) mod current;
pub mod header;
pub mod origin;
pub(crate) mod require;
pub(in crate::http) mod sessions;
pub mod tokens;
pub(in crate::http) mod until;

use axum::http::Request;
use service::Caller;
use tokio::time::Instant;

pub use crate::http::access::header::UserHeader;
use crate::http::access::sessions::Sessions;
pub use crate::http::access::tokens::{TokenFile, Tokens};
use crate::http::access::until::Until;

/// What a user may do. Each role may do what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read what is masked.
    Viewer,
    /// See numbers and texts.
    Unmask,
    /// Erase customers.
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
    /// By a bearer token, or by a session that began with one.
    Tokens(Tokens),
    /// By a header of a proxy.
    Header(UserHeader),
}

/// Who asks is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum NotKnown {
    /// Nothing that names a user: what to do.
    Absent(&'static str),
    /// A token that is not in the file.
    WrongToken,
}

impl NotKnown {
    /// Why, and what to do.
    pub(in crate::http) const fn detail(self) -> &'static str {
        match self {
            Self::Absent(detail) => detail,
            Self::WrongToken => "the token is not valid",
        }
    }
}

/// Who asks, and until when.
#[derive(Debug, Clone)]
pub(in crate::http) struct Identity {
    pub(in crate::http) user: User,
    pub(in crate::http) until: Until,
}

impl Access {
    /// Who asks.
    ///
    /// # Errors
    /// [`NotKnown`] without a valid token or session, or without a user that a listed proxy names.
    pub(in crate::http) fn identify<B>(
        &self,
        sessions: &Sessions,
        request: &Request<B>,
    ) -> Result<Identity, NotKnown> {
        match self {
            Self::Open => {
                let user = User { name: "local".to_owned(), role: Role::Operator };
                Ok(Identity { user, until: Until::Stop })
            }
            Self::Tokens(tokens) => by_token(tokens, sessions, request),
            Self::Header(header) => {
                // The other end of the connection: the proxy itself.
                let peer = request.extensions().get::<Caller>().map(Caller::peer);
                Ok(Identity { user: header.user(request.headers(), peer)?, until: Until::Stop })
            }
        }
    }
}

fn by_token<B>(tokens: &Tokens, sessions: &Sessions, request: &Request<B>) -> Result<Identity, NotKnown> {
    let headers = request.headers();
    if let Some(presented) = tokens::bearer_of(headers) {
        let found = tokens.find(presented).ok_or(NotKnown::WrongToken)?;
        let until = Until::Token { tokens: tokens.clone(), token: found.digest };
        return Ok(Identity { user: found.user, until });
    }
    let id = cookie::session(headers, origin::is_loopback(request.uri(), headers));
    let Some(id) = id else {
        return Err(NotKnown::Absent(
            "send a token: Authorization: Bearer TOKEN; browsers sign in at /sign-in",
        ));
    };
    // The token says what its session may do, also after its line in the file was changed.
    let session = sessions.get(id, Instant::now());
    let known = session.and_then(|session| Some((tokens.of_digest(&session.token)?, session)));
    let Some((user, session)) = known else {
        return Err(NotKnown::Absent("the session has ended: sign in again at /sign-in"));
    };
    Ok(Identity { user, until: Until::Session { tokens: tokens.clone(), session } })
}
