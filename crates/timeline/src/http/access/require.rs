//! What a route asks of its user. A handler that has one of these as an argument is called only for a user with that role; anyone
//! else gets 403. A handler without one is for every user.
//!
//! ```text
//! async fn create(Operator(actor): Operator, State(shared): State<Arc<Shared>>, body: Body) -> …
//! ```

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use service::Caller;

use crate::http::access::{Role, User};
use crate::http::refusal::Refusal;
use crate::store::audit::{AuditAction, AuditEntry};

/// Who acts, and from where: for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    /// The user.
    pub(crate) user: User,
    /// The address of the caller; behind a listed proxy, the one that the proxy reports.
    pub(crate) address: IpAddr,
}

/// A user who may see numbers and texts.
#[derive(Debug, Clone)]
pub(crate) struct Unmasker(pub(crate) Actor);

/// A user who may erase customers.
#[derive(Debug, Clone)]
pub(crate) struct Operator(pub(crate) Actor);

impl Actor {
    /// An entry of the audit log for what this user is about to do.
    pub(crate) fn entry(&self, action: AuditAction, at: Timestamp) -> AuditEntry {
        AuditEntry {
            at,
            user: self.user.name.clone(),
            role: self.user.role.name().to_owned(),
            address: self.address.to_string(),
            action,
            target: String::new(),
            reason: String::new(),
            details: String::new(),
        }
    }
}

/// The user of a request, if it has at least that role.
fn actor(parts: &Parts, needed: Role) -> Result<Actor, Refusal> {
    // The guard of the router puts it there.
    let user = parts.extensions.get::<User>().cloned();
    let user = user.ok_or(Refusal::Unauthorized("this request has no user"))?;
    if user.role < needed {
        return Err(Refusal::NeedsRole { needed: needed.name(), has: user.role.name() });
    }
    let caller = parts.extensions.get::<Caller>().map(Caller::address);
    Ok(Actor { user, address: caller.unwrap_or(Ipv4Addr::UNSPECIFIED.into()) })
}

impl<S: Sync> FromRequestParts<S> for Unmasker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        actor(parts, Role::Unmask).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        actor(parts, Role::Operator).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_may_do_what_the_roles_before_it_may() {
        for (role, may_unmask, may_operate) in
            [(Role::Viewer, false, false), (Role::Unmask, true, false), (Role::Operator, true, true)]
        {
            let mut request = axum::http::Request::new(());
            request.extensions_mut().insert(User { name: "ann".to_owned(), role });
            request.extensions_mut().insert(Caller::direct([192, 0, 2, 7].into()));
            let mut parts = request.into_parts().0;
            let unmasker = Unmasker::from_request_parts(&mut parts, &()).await;
            let operator = Operator::from_request_parts(&mut parts, &()).await;
            assert_eq!((unmasker.is_ok(), operator.is_ok()), (may_unmask, may_operate), "{role:?}");
            if let Ok(Operator(actor)) = operator {
                let entry = actor.entry(AuditAction::Erasure, Timestamp::UNIX_EPOCH);
                assert_eq!((entry.user.as_str(), entry.address.as_str()), ("ann", "192.0.2.7"));
            }
        }
    }
}
