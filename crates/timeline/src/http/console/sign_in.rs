//! Signing in with a token, and signing out, where access is by tokens. The token is posted once; a cookie stands for it from then
//! on, so that it is neither in an address nor kept by the browser.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONNECTION, LOCATION, REFRESH, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use maud::html;
use service::Caller;
use service::failures::ResponseDelay;
use tokio::time::Instant;

use crate::http::access::cookie::{self, Transport};
use crate::http::access::{Access, current, origin};
use crate::http::console::form;
use crate::http::console::layout::{self, Section};
use crate::http::console::query::{Query, encoded};
use crate::http::refusal::{BEARER, Refusal};
use crate::http::state::Shared;

/// Path of the form.
pub(in crate::http) const PATH: &str = "/sign-in";
/// What failed tokens are counted as, besides their address.
pub(in crate::http) const FAILED_TARGET: &str = "timeline";

/// A request without a user for which a browser gets the form.
#[derive(Debug, Clone)]
pub(in crate::http) struct Asked {
    /// The page to go to after signing in.
    next: String,
    /// Whether the browser left its cookies out, because a link on another site led here.
    is_from_another_site: bool,
}

impl Asked {
    /// What a request asks for.
    pub(in crate::http) fn of<B>(request: &axum::http::Request<B>) -> Self {
        let is_page = request.method() == axum::http::Method::GET;
        let next = request.uri().path_and_query().filter(|_| is_page).map_or("/", |path| path.as_str());
        let is_from_another_site = is_page && origin::is_from_another_site(request.headers());
        Self { next: local(next), is_from_another_site }
    }

    /// The form, with status 401. A link on another site does not bring the cookie of a session: the browser then goes to the form
    /// by itself, which leads on if there is a session.
    pub(in crate::http) fn page(&self) -> Response {
        let mut response = page_of(&self.next, None, StatusCode::UNAUTHORIZED);
        let refresh = HeaderValue::try_from(format!("0; url={PATH}?next={}", encoded(&self.next)));
        if let (true, Ok(refresh)) = (self.is_from_another_site, refresh) {
            response.headers_mut().insert(REFRESH, refresh);
        }
        response
    }
}

/// `GET /sign-in`
pub(super) async fn page(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    tokens(&shared)?;
    let next = local(Query::of(uri.query()).get("next"));
    if current::signed_in().is_some() {
        return Ok(see_other(&next));
    }
    Ok(page_of(&next, None, StatusCode::OK))
}

/// `POST /sign-in`
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let tokens = tokens(&shared)?;
    let is_loopback = origin::is_loopback(&uri, &headers);
    let transport = match (origin::is_https(&headers), is_loopback) {
        (true, _) => Transport::Encrypted,
        (false, true) => Transport::Loopback,
        (false, false) => {
            return Err(Refusal::Forbidden(
                "browsers sign in by https, or at a loopback address such as 127.0.0.1: without encryption, others on the network \
                 could read the token"
                    .to_owned(),
            ));
        }
    };
    let fields = form::read(body).await?;
    let next = local(fields.get("next"));
    let Some(known) = tokens.find(fields.get("token").trim().as_bytes()) else {
        let delay = shared.api.failed.count(&caller, FAILED_TARGET);
        delay.wait().await;
        let mut page = page_of(&next, Some("The token is not valid."), StatusCode::UNAUTHORIZED);
        if delay == ResponseDelay::Delayed {
            page.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        return Ok(page);
    };
    // The id that the browser had is not used again: someone else may know it.
    if let Some(old) = cookie::session(&headers, is_loopback) {
        shared.sessions.end(old);
    }
    let id = shared.sessions.begin(known.digest, Instant::now());
    let id = id.ok_or_else(|| Refusal::Unavailable("the system gives no random bytes".to_owned()))?;
    let cookie = transport.set(&id.0).expect("base64 is valid in a header");
    let mut response = see_other(&next);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// `POST /sign-out`
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    tokens(&shared)?;
    if let Some(id) = cookie::session(&headers, origin::is_loopback(&uri, &headers)) {
        shared.sessions.end(id);
    }
    let mut response = see_other(PATH);
    for cookie in Transport::remove() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The tokens; where access is not by tokens, there is nothing to sign in to.
fn tokens(shared: &Shared) -> Result<&crate::http::access::Tokens, Refusal> {
    match &shared.api.access {
        Access::Tokens(tokens) => Ok(tokens),
        Access::Open | Access::Header(_) => Err(Refusal::NoPath),
    }
}

fn page_of(next: &str, fault: Option<&str>, status: StatusCode) -> Response {
    let content = html! {
        section class="card sign-in" {
            h1 { "Sign in" }
            @if let Some(fault) = fault { p id="fault" class="bad-text" role="alert" { (fault) } }
            form class="search large" method="post" action=(PATH) {
                input type="hidden" name="next" value=(next);
                label for="token" { "Token" }
                input id="token" name="token" type="password" required maxlength="1000" autocomplete="current-password"
                    aria-describedby=(if fault.is_some() { "fault token-help" } else { "token-help" })
                    aria-invalid=[fault.map(|_| "true")];
                p id="token-help" class="quiet" { "A token of the file IMCHANNEL_TIMELINE_TOKENS_FILE. It is valid here for 12 hours, or until you sign out." }
                p class="actions" { button type="submit" { "Sign in" } }
            }
        }
    };
    let mut page = layout::page("Sign in", Section::Other, &content);
    *page.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        page.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(BEARER));
    }
    page
}

fn see_other(path: &str) -> Response {
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

/// A path of this port with its query; the first page for anything else, which could lead to another site.
fn local(next: &str) -> String {
    let is_path = next.starts_with('/') && !next[1..].starts_with(['/', '\\']);
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let uri = next.parse::<Uri>().ok().filter(|uri| uri.authority().is_none() && uri.path() != PATH);
    if is_path && is_plain && uri.is_some() { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_a_page_of_this_port_only() {
        for path in ["/", "/timeline?id=a%2Fb&id=c", "/messages?cursor=x"] {
            assert_eq!(local(path), path);
        }
        for other in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil",
            "/a\\b",
            "/a b",
            "/a\n",
            PATH,
        ] {
            assert_eq!(local(other), "/", "{other:?}");
        }
    }
}
