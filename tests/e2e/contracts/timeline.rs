//! Compares `docs/openapi-timeline.yaml` with the answers of a running timeline.

use bus::Priority;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::openapi::{Contract, call_with_other_methods, client};
use crate::harness::outbound::{Outbound, text};
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Installation, Webhook, eventually};

/// Statuses that these tests do not cause: a slow body, too many searches, a store that is damaged or away. Other tests do.
const NOT_TRIED: [u16; 4] = [408, 429, 500, 503];
const TOKEN: &str = "token-of-a-viewer-of-the-wall";
const HEADERS: [&str; 3] = ["x-content-type-options", "content-security-policy", "referrer-policy"];

fn contract() -> Contract {
    Contract::of(include_str!("../../../docs/openapi-timeline.yaml"), &HEADERS)
}

/// A message of a customer, one of a back end that waits, and the timeline that has read both.
async fn told(installation: Installation) -> (Outbound, RunningTimeline, tempfile::TempDir) {
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let body = r#"{"app":"a","timestamp":1772359199000,"version":2,"type":"message","payload":{"id":"m-1","source":"4915112345678","type":"text","payload":{"text":"hello"},"sender":{"phone":"4915112345678","name":"Jane"}}}"#;
    assert_eq!(Webhook::gupshup(body).post(ingress.address).await.status, 200);
    let outbound = Outbound::on(installation, &[100], None).await;
    outbound.publish(Priority::Interactive, &text(0, "c-waits", "4915112345678", "Hello")).await;
    let store = store_folder();
    let more = [("IMCHANNEL_TIMELINE_RESULT_AFTER", "1s")];
    let timeline = RunningTimeline::start(&outbound.installation, &store, &more).await;
    timeline.life("m-1", &["webhook", "message"]).await;
    eventually("a problem is listed", || async {
        let (_, problems) = timeline.get("/v1/problems").await;
        (!problems["problems"].as_array()?.is_empty()).then_some(())
    })
    .await;
    drop((normalizer, ingress));
    (outbound, timeline, store)
}

/// A path of the document, and one that it stands for.
struct Described<'a> {
    path: &'a str,
    real: String,
}

/// The methods of a path that a body or a query can be sent with.
fn methods<'c>(contract: &'c Contract, path: &str) -> impl Iterator<Item = &'static str> + use<'c> {
    let operations = contract.document.0["paths"][path].clone();
    ["get", "post"].into_iter().filter(move |method| operations[*method].is_object())
}

fn request(method: &str, url: String) -> RequestBuilder {
    if method == "get" { client().get(url) } else { client().post(url).body("{}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_answers_as_described() {
    let contract = contract();
    let (outbound, mut timeline, _store) = Box::pin(told(Installation::start().await)).await;
    let of_search = call_with_good_and_bad_values(&contract, &timeline.url).await;
    let paths = [
        ("/v1/timeline", "/v1/timeline?id=a"),
        ("/v1/timeline/{id}", "/v1/timeline/a"),
        ("/v1/messages", "/v1/messages"),
        ("/v1/searches", "/v1/searches"),
        ("/v1/searches/{id}", &of_search),
        ("/v1/problems", "/v1/problems"),
        ("/v1/live", "/v1/live"),
    ];
    let paths = paths.map(|(path, real)| Described { path, real: real.to_owned() });
    for Described { path, real } in &paths {
        let url = format!("{}{real}", timeline.url);
        call_with_other_methods(&contract, path, &url).await;
        for method in methods(&contract, path) {
            let foreign = request(method, url.clone()).header("host", "evil.example");
            assert_eq!(contract.call(path, foreign).await, 403, "{method} {path}");
        }
    }
    timeline.program.kill().await;
    call_without_a_token(&contract, &outbound.installation, &paths).await;
    for tag in ["timeline", "lists", "problems", "live"] {
        contract.assert_all_came(tag, &NOT_TRIED);
    }
}

/// Returns the path of a search.
async fn call_with_good_and_bad_values(contract: &Contract, url: &str) -> String {
    let get = |path: &str| client().get(format!("{url}{path}"));
    let post = |path: &str, body: Value| {
        client()
            .post(format!("{url}{path}"))
            .header("content-type", "application/json")
            .body(body.to_string())
    };
    let (by_id, by_path) = ("/v1/timeline", "/v1/timeline/{id}");
    let (messages, searches, problems) = ("/v1/messages", "/v1/searches", "/v1/problems");
    let search = post(searches, json!({"number": "+49 151 12345678"})).send().await.unwrap();
    let search: Value = serde_json::from_slice(&search.bytes().await.unwrap()).unwrap();
    let of_search = format!("/v1/searches/{}", search["id"].as_str().unwrap());
    for (path, request, status) in [
        (by_id, get("/v1/timeline?id=c-waits"), 200),
        (by_id, get("/v1/timeline"), 400),
        (by_id, get("/v1/timeline?id=no-such"), 404),
        (by_id, post("/v1/timeline", json!({"id": "m-1"})), 200),
        (by_id, post("/v1/timeline", json!({"ids": []})), 400),
        (by_id, post("/v1/timeline", json!({"id": "no-such"})), 404),
        (by_id, post("/v1/timeline", json!({"id": "x".repeat(5000)})), 413),
        (by_path, get("/v1/timeline/WEBHOOKS/1"), 200),
        (by_path, get("/v1/timeline/COMMANDS/1"), 200),
        (by_path, get("/v1/timeline/c-waits?x=1"), 400),
        (by_path, get("/v1/timeline/no-such"), 404),
        (messages, get("/v1/messages"), 200),
        (messages, get("/v1/messages?limit=1"), 200),
        (messages, get("/v1/messages?limit=0"), 400),
        (searches, post("/v1/searches", json!({"number": "+49 151 12345678"})), 201),
        (searches, post("/v1/searches", json!({"number": ""})), 400),
        (searches, post("/v1/searches", json!({"number": "1".repeat(5000)})), 413),
        ("/v1/searches/{id}", get(&of_search), 200),
        ("/v1/searches/{id}", get(&format!("{of_search}?limit=0")), 400),
        ("/v1/searches/{id}", get("/v1/searches/AAAAAAAAAAAAAAAAAAAAAA"), 404),
        (problems, get("/v1/problems"), 200),
        (problems, get("/v1/problems?rule=lost"), 400),
        ("/v1/live", get("/v1/live"), 200),
        ("/v1/live", get("/v1/live?limit=1"), 400),
    ] {
        assert_eq!(contract.call(path, request).await, status, "{path}");
    }
    of_search
}

/// A timeline that asks for a token answers none without one.
async fn call_without_a_token(contract: &Contract, installation: &Installation, paths: &[Described<'_>]) {
    let tokens = installation.folder().join("timeline.tokens");
    std::fs::write(&tokens, format!("viewer wall {TOKEN}\n")).unwrap();
    let tokens = tokens.to_string_lossy().into_owned();
    let more = [("IMCHANNEL_TIMELINE_ACCESS", "token"), ("IMCHANNEL_TIMELINE_TOKENS_FILE", tokens.as_str())];
    let store = store_folder();
    let closed = RunningTimeline::start(installation, &store, &more).await;
    for Described { path, real } in paths {
        for method in methods(contract, path) {
            let asked = request(method, format!("{}{real}", closed.url));
            assert_eq!(contract.call(path, asked).await, 401, "{method} {path}");
        }
    }
}
