//! Every route of ingress: `POST /social/on/whatsapp/{bsp}/{report|message}/{channel}`.
//!
//! This module splits the path itself. axum's router would copy and decode the segments for every webhook.
//! The names of BSPs and channel ids contain no characters that a URL must encode.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use service::Caller;
use service::http::Handler;

use crate::receive::{Address, Ingress};
use crate::response::Rejection;

/// Prefix of the paths of webhooks.
const PREFIX: &str = "/social/on/whatsapp/";
/// Last segments of the paths. Both accept reports and messages: the parser detects the type from the body.
const ROUTES: [&str; 2] = ["report", "message"];

/// Routes every request to its handler.
#[derive(Debug, Clone)]
pub(crate) struct Routes(pub(crate) Arc<Ingress>);

impl Handler for Routes {
    async fn handle(self, caller: Caller, request: Request) -> Response {
        let ingress = &*self.0;
        let (parts, body) = request.into_parts();
        match address(parts.uri.path()) {
            None => ingress.reject(None, Rejection::NotFound, &caller, &parts, body).await,
            Some(_) if parts.method != Method::POST => {
                ingress.reject(None, Rejection::MethodNotAllowed, &caller, &parts, body).await
            }
            Some(address) => ingress.receive(address, &caller, &parts, body).await,
        }
    }
}

/// The address in a path; `None` for an unknown path.
fn address(path: &str) -> Option<Address<'_>> {
    let (bsp, rest) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let (route, channel) = rest.split_once('/')?;
    let route = ROUTES.into_iter().find(|known| *known == route)?;
    let is_whole = !bsp.is_empty() && !channel.is_empty() && !channel.contains('/');
    is_whole.then_some(Address { bsp, route, channel })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_bsp_a_route_and_a_channel() {
        let found = address("/social/on/whatsapp/infobip/report/c-1").unwrap();
        assert_eq!((found.bsp, found.route, found.channel), ("infobip", "report", "c-1"));
        for path in [
            "/",
            "/social/on/whatsapp/infobip/report",
            "/social/on/whatsapp/infobip/report/",
            "/social/on/whatsapp/infobip/report/c-1/",
            "/social/on/whatsapp/infobip/report/c-1/more",
            "/social/on/whatsapp//report/c-1",
            "/social/on/whatsapp/infobip/reports/c-1",
            "/SOCIAL/on/whatsapp/infobip/report/c-1",
            "/x/social/on/whatsapp/infobip/report/c-1",
        ] {
            assert!(address(path).is_none(), "{path}");
        }
    }
}
