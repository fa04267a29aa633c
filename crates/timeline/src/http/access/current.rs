//! The user of the request that is being answered, for the parts that every page has.

use crate::http::access::User;

tokio::task_local! {
    static SIGNED_IN: Option<SignedIn>;
}

/// Who asks for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct SignedIn {
    /// The user.
    pub(in crate::http) user: User,
    /// Whether the user has a session, which can be signed out.
    pub(in crate::http) has_session: bool,
}

/// Runs what answers a request of a user; `None` for one who is not known.
pub(in crate::http) async fn answering<T>(who: Option<SignedIn>, answer: impl Future<Output = T>) -> T {
    SIGNED_IN.scope(who, answer).await
}

/// The user of the request that is being answered; `None` for one who is not known.
pub(in crate::http) fn signed_in() -> Option<SignedIn> {
    SIGNED_IN.try_with(Clone::clone).ok().flatten()
}
