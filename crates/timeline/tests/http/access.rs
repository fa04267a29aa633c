//! Who may read.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderName, Request};
use service::Caller;
use timeline::http::access::{Access, Role, TokenFile, UserHeader};
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;

const TOKEN: &str = "token-of-the-viewers";

#[tokio::test]
async fn a_token_is_asked_for_on_every_path() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, format!("viewer wall {TOKEN}\n")).unwrap();
    let stop = CancellationToken::new();
    let tokens = TokenFile::open(path, false).unwrap().follow(stop.clone());
    let stage = Stage::with_access(Access::Tokens(tokens)).await;
    for path in ["/v1/messages", "/v1/problems", "/v1/live", "/v1/timeline?id=x", "/unknown"] {
        let refused = stage.get(path).await;
        refused.problem(401);
        assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"imchannel timeline\"");
    }
    let with = |token: &str| Request::get("/v1/messages").header("authorization", format!("Bearer {token}"));
    assert!(stage.send(with(TOKEN)).await.status.is_success());
    stage.send(with("token-of-no-one-at-all")).await.problem(401);
    stop.cancel();
}

#[tokio::test]
async fn only_a_listed_proxy_names_users() {
    let access = Access::Header(UserHeader {
        name: HeaderName::from_static("x-forwarded-user"),
        proxies: "192.0.2.1".parse().unwrap(),
        roles: HashMap::from([("ann".to_owned(), Role::Operator)]),
    });
    let stage = Stage::with_access(access).await;
    let request = |peer: [u8; 4]| {
        let request =
            Request::get("/v1/messages").header("host", "localhost").header("x-forwarded-user", "ann");
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Caller::direct(peer.into()));
        request
    };
    assert!(stage.call(request([192, 0, 2, 1])).await.status.is_success());
    stage.call(request([192, 0, 2, 2])).await.problem(401);
}

#[tokio::test]
async fn a_page_of_another_site_gets_nothing() {
    let stage = Stage::new().await;
    let rebound = Request::get("/v1/messages").header("host", "evil.example").body(Body::empty()).unwrap();
    stage.call(rebound).await.problem(403);
    let post = |headers: &[(&str, &str)]| {
        let request = Request::post("/v1/searches").header("host", "localhost");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Body::from("{\"number\":\"1\"}")).unwrap()
    };
    stage.call(post(&[])).await.problem(403);
    stage.call(post(&[("origin", "https://evil.example")])).await.problem(403);
    stage.call(post(&[("sec-fetch-site", "cross-site")])).await.problem(403);
    assert_eq!(stage.call(post(&[("origin", "http://localhost")])).await.status.as_u16(), 201);
}
