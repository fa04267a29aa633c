//! Requests that are not served.

use axum::http::Request;

use crate::stage::Stage;

#[tokio::test]
async fn every_fault_of_a_request_is_named() {
    let stage = Stage::new().await;
    let path = "/v1/messages?status=DELIVRED&since=yesterday&limit=0&problem=delivery&chanel=a&outcome=x";
    let problem = stage.get(path).await.problem(400);
    let names: Vec<_> = problem.faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(names, ["status", "outcome", "problem", "since", "limit", "chanel"]);
    for path in [
        "/v1/timeline".to_owned(),
        "/v1/timeline?id=".to_owned(),
        "/v1/timeline?id=a&id=b".to_owned(),
        "/v1/timeline/a?x=1".to_owned(),
        format!("/v1/timeline/{}", "x".repeat(1025)),
        "/v1/messages?since=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z".to_owned(),
        "/v1/problems?rule=delivery".to_owned(),
        "/v1/live?limit=1".to_owned(),
    ] {
        assert!(!stage.get(&path).await.problem(400).faults.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let stage = Stage::new().await;
    for path in ["/v1", "/v1/timeline/", "/v1/message", "/v2/timeline?id=a"] {
        stage.get(path).await.problem(404);
    }
    for (method, path, allowed) in [
        ("DELETE", "/v1/messages", "GET,HEAD"),
        ("PUT", "/v1/searches", "POST"),
        ("GET", "/v1/searches", "POST"),
        ("PUT", "/v1/timeline", "GET,HEAD,POST"),
    ] {
        let request = Request::builder().method(method).uri(path).header("sec-fetch-site", "none");
        let refused = stage.send(request).await;
        refused.problem(405);
        assert_eq!(refused.headers["allow"], allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn an_invalid_search_is_refused_and_not_quoted() {
    let stage = Stage::new().await;
    for body in [
        "",
        "4915112345678",
        "{\"number\":4915112345678}",
        "{\"number\":\"\"}",
        "{\"nummer\":\"+4915112345678\"}",
        "{\"number\":\"+4915112345678\",\"since\":\"+4915112345678\"}",
        "{\"number\":\"1\",\"since\":\"2026-03-02T00:00:00Z\",\"until\":\"2026-03-01T00:00:00Z\"}",
    ] {
        let problem = stage.post("/v1/searches", body).await.problem(400);
        assert_eq!(problem.faults.len(), 1, "{body}");
    }
    stage.post("/v1/searches", "x".repeat(5000)).await.problem(413);
}
