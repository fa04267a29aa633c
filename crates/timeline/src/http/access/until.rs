//! Until when a user may go on with an answer that does not end by itself, such as that of new rows.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::http::access::sessions::Session;
use crate::http::access::tokens::{TokenDigest, Tokens};

/// Until when the user of a request may read.
#[derive(Debug, Clone)]
pub(in crate::http) enum Until {
    /// While the service runs.
    Stop,
    /// Until the token is removed from its file.
    Token {
        /// The tokens of the file.
        tokens: Tokens,
        /// The token.
        token: TokenDigest,
    },
    /// Until the session ends or its token is removed.
    Session {
        /// The tokens of the file.
        tokens: Tokens,
        /// The session.
        session: Session,
    },
}

impl Until {
    /// Returns when the user may no longer read.
    pub(in crate::http) async fn ended(self) {
        match self {
            Self::Stop => std::future::pending().await,
            Self::Token { tokens, token } => tokens.removed(token).await,
            Self::Session { tokens, session: Session { token, expires_at, ended } } => tokio::select! {
                () = tokens.removed(token) => {}
                () = tokio::time::sleep_until(expires_at) => {}
                () = ended.cancelled() => {}
            },
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Until {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // The guard of the router puts it there.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self::Stop))
    }
}
