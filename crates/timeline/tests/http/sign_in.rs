//! Browsers that sign in with a token.

use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use timeline::http::access::{Access, TokenFile};
use tokio::time::{Duration, Instant};
use tower::ServiceExt as _;

use crate::stage::{Got, Stage};

const TOKEN: &str = "token-of-the-viewers";
const OTHER: &str = "token-of-an-operator";
const OWN: (&str, &str) = ("origin", "http://localhost:8082");

/// A port for two tokens, and their file.
struct Office {
    stage: Stage,
    file: PathBuf,
    _folder: TempDir,
}

impl Office {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, format!("viewer wall {TOKEN}\noperator on-call {OTHER}\n")).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let tokens = TokenFile::open(file.clone(), false).unwrap().follow(stop);
        Self { stage: Stage::with_access(Access::Tokens(tokens)).await, file, _folder: folder }
    }

    /// What a browser sends; `Host` is among the headers, or that of the page on this machine.
    async fn browser(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = Request::builder().method(method).uri(path).header("accept", "text/html");
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", "localhost:8082");
        }
        request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.stage.call(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        self.browser(Method::GET, path, headers, "").await
    }

    async fn sign_in(&self, token: &str, headers: &[(&str, &str)]) -> Got {
        let body = format!("token={token}&next=%2Fmessages%3Fchannel%3Dsales");
        self.browser(Method::POST, "/sign-in", headers, &body).await
    }
}

fn text(got: &Got) -> String {
    String::from_utf8(got.body.clone()).unwrap()
}

/// The cookie as a browser sends it back, and its flags.
fn cookie(headers: &HeaderMap) -> (String, String) {
    let (pair, flags) = headers["set-cookie"].to_str().unwrap().split_once("; ").unwrap();
    (pair.to_owned(), flags.to_owned())
}

#[tokio::test]
async fn a_browser_signs_in_and_reads_until_it_signs_out() {
    let office = Office::open().await;
    let form = office.get("/messages?channel=sales", &[]).await;
    assert_eq!(
        (form.status.as_u16(), form.headers["content-type"].as_bytes()),
        (401, &b"text/html; charset=utf-8"[..])
    );
    assert_eq!(form.headers["www-authenticate"], "Bearer realm=\"imchannel timeline\"");
    assert!(text(&form).contains("value=\"/messages?channel=sales\"") && !text(&form).contains("/live"));
    let wrong = office.sign_in("token-of-no-one-at-all", &[OWN]).await;
    assert!(wrong.status == 401 && text(&wrong).contains("The token is not valid"));
    assert!(!wrong.headers.contains_key("set-cookie") && !text(&wrong).contains("token-of-no-one"));
    let signed_in = office.sign_in(TOKEN, &[OWN]).await;
    assert_eq!(
        (signed_in.status.as_u16(), &signed_in.headers["location"]),
        (303, &"/messages?channel=sales".parse().unwrap())
    );
    let (pair, flags) = cookie(&signed_in.headers);
    assert_eq!(flags, "Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
    assert!(pair.starts_with("imchannel-timeline=") && !pair.contains(TOKEN));
    let own = [("cookie", pair.as_str()), OWN];
    let page = office.get("/messages", &own).await;
    assert!(page.status == 200 && text(&page).contains("Sign out") && text(&page).contains("wall"));
    assert_eq!(office.get("/v1/messages", &own).await.status, 200);
    assert_eq!(office.get("/sign-in?next=//evil.example", &own).await.headers["location"], "/");
    let signed_out = office.browser(Method::POST, "/sign-out", &own, "").await;
    assert_eq!(
        (signed_out.status.as_u16(), &signed_out.headers["location"]),
        (303, &"/sign-in".parse().unwrap())
    );
    let removed: Vec<_> = signed_out.headers.get_all("set-cookie").iter().collect();
    assert!(removed.len() == 2 && removed.iter().all(|value| value.to_str().unwrap().ends_with("Max-Age=0")));
    assert_eq!(office.get("/messages", &own).await.status, 401);
    office.get("/v1/messages", &own).await.problem(401);
}

#[tokio::test]
async fn the_id_that_a_browser_brings_is_not_used() {
    let office = Office::open().await;
    let planted = "imchannel-timeline=0123456789012345678901234567890123456789012";
    let signed_in = office.sign_in(TOKEN, &[OWN, ("cookie", planted)]).await;
    let first = cookie(&signed_in.headers).0;
    assert_ne!(first, planted);
    assert_eq!(office.get("/", &[("cookie", planted)]).await.status, 401);
    // Another sign-in ends the session that the browser had.
    let again = office.sign_in(OTHER, &[OWN, ("cookie", &first)]).await;
    let second = cookie(&again.headers).0;
    assert_eq!(office.get("/", &[("cookie", &first)]).await.status, 401);
    assert!(text(&office.get("/", &[("cookie", &second)]).await).contains("on-call"));
}

#[tokio::test]
async fn another_site_neither_signs_in_nor_uses_the_session() {
    let office = Office::open().await;
    let pair = cookie(&office.sign_in(TOKEN, &[OWN]).await.headers).0;
    let cookie = ("cookie", pair.as_str());
    for foreign in [&[("origin", "https://evil.example")][..], &[("sec-fetch-site", "cross-site")], &[]] {
        assert_eq!(office.sign_in(TOKEN, foreign).await.status, 403, "{foreign:?}");
        for path in ["/search", "/sign-out", "/v1/searches"] {
            let headers = [&[cookie], foreign].concat();
            let refused = office.browser(Method::POST, path, &headers, "q=order-1").await;
            assert_eq!(refused.status, 403, "{path} {foreign:?}");
        }
    }
    assert_eq!(office.get("/", &[cookie, ("host", "evil.example")]).await.status, 403);
    assert_eq!(office.get("/", &[cookie]).await.status, 200);
}

#[tokio::test]
async fn a_browser_elsewhere_signs_in_by_https_and_gets_a_cookie_of_this_host_only() {
    let office = Office::open().await;
    let host = ("host", "timeline.example");
    let http = office.sign_in(TOKEN, &[host, ("origin", "http://timeline.example")]).await;
    assert!(http.status == 403 && text(&http).contains("sign in by https"));
    let https = office.sign_in(TOKEN, &[host, ("origin", "https://timeline.example")]).await;
    let (pair, flags) = cookie(&https.headers);
    assert!(pair.starts_with("__Host-imchannel-timeline="));
    assert_eq!(flags, "Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=43200");
    assert_eq!(office.get("/", &[host, ("cookie", &pair)]).await.status, 200);
    // A page without encryption, or of another host of the domain, could have set this one.
    let plain = pair.replace("__Host-", "");
    assert_eq!(office.get("/", &[host, ("cookie", &plain)]).await.status, 401);
}

#[tokio::test]
async fn a_link_on_another_site_leads_to_the_page_by_way_of_the_form() {
    let office = Office::open().await;
    let form = office.get("/timeline?id=a%26b", &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(form.status, 401);
    assert_eq!(form.headers["refresh"], "0; url=/sign-in?next=%2Ftimeline%3Fid%3Da%2526b");
    let pair = cookie(&office.sign_in(TOKEN, &[OWN]).await.headers).0;
    let led_on = office.get("/sign-in?next=%2Ftimeline%3Fid%3Da%2526b", &[("cookie", &pair)]).await;
    assert_eq!(led_on.headers["location"], "/timeline?id=a%26b");
    // The form itself and its files are for everyone, and lead nowhere by themselves.
    let form = office.get("/sign-in", &[("sec-fetch-site", "cross-site")]).await;
    assert!(form.status == 200 && !form.headers.contains_key("refresh"));
    let style = text(&form).split('"').find(|part| part.ends_with(".css")).unwrap().to_owned();
    let request = Request::get(style).header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(office.stage.router.clone().oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_removed_ends_its_sessions_and_streams() {
    let office = Office::open().await;
    let pair = cookie(&office.sign_in(TOKEN, &[OWN]).await.headers).0;
    let (bearer, other) = (format!("Bearer {TOKEN}"), format!("Bearer {OTHER}"));
    let follow = async |name: &str, value: &str| {
        let request = Request::get("/v1/live").header("host", "localhost").header(name, value);
        let answer = office.stage.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut events = answer.into_body().into_data_stream();
        events.next().await.unwrap().unwrap();
        events
    };
    let mut streams = [follow("authorization", &bearer).await, follow("cookie", &pair).await];
    let mut kept = follow("authorization", &other).await;
    std::fs::write(&office.file, format!("operator on-call {OTHER}\n")).unwrap();
    for stream in &mut streams {
        assert!(stream.next().await.is_none());
    }
    assert_eq!(office.get("/", &[("cookie", &pair)]).await.status, 401);
    // A comment keeps the stream of the other token.
    assert!(kept.next().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_of_an_address_are_delayed_and_right_ones_are_not() {
    let office = Office::open().await;
    let mut closed = 0;
    for attempt in 0..12 {
        let began = Instant::now();
        let refused = match attempt % 2 {
            0 => office.sign_in("token-of-no-one-at-all", &[OWN]).await,
            _ => office.get("/v1/messages", &[("authorization", "Bearer token-of-no-one-at-all")]).await,
        };
        assert_eq!(refused.status, 401);
        let is_closed = refused.headers.get("connection").is_some_and(|value| value == "close");
        assert_eq!(is_closed, attempt >= 10, "{attempt}");
        assert_eq!(began.elapsed() >= Duration::from_secs(2), is_closed, "{attempt}");
        closed += usize::from(is_closed);
    }
    assert_eq!(closed, 2);
    let began = Instant::now();
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(office.get("/v1/messages", &[("authorization", &bearer)]).await.status, 200);
    assert_eq!(office.sign_in(TOKEN, &[OWN]).await.status, 303);
    assert!(began.elapsed() < Duration::from_secs(2));
}
