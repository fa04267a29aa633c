//! Compares `docs/openapi.yaml` with real responses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bsp::media::MediaKind;
use bsp::{Bsp, CredentialForm, registry};
use prometheus_client::registry::Registry;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use service::Readiness;

use super::{Document, entries, texts};
use crate::harness::outbound::{Outbound, TENANT, UPLOAD_TOKEN};
use crate::harness::{Installation, Webhook};

const BODY_LIMIT: usize = 960 * 1024;
const MIB: usize = 1024 * 1024;
/// Statuses that these tests do not cause: broken and slow bodies, Redis unreachable or full. Other tests do.
const NOT_TRIED: [u16; 4] = [400, 408, 503, 507];

/// The document, and the described responses that have occurred.
pub(super) struct Contract {
    pub(super) document: Document,
    /// Headers of every answer, which only the document's head describes.
    of_every_answer: &'static [&'static str],
    came: Mutex<BTreeSet<(String, String, u16)>>,
}

impl Contract {
    fn read() -> Self {
        Self::of(include_str!("../../../docs/openapi.yaml"), &[])
    }

    /// The contract of a document whose answers all have these headers.
    pub(super) fn of(text: &str, of_every_answer: &'static [&'static str]) -> Self {
        Self { document: Document::read(text), of_every_answer, came: Mutex::default() }
    }

    fn path(&self, path: &str) -> &Value {
        let found = &self.document.0["paths"][path];
        assert!(found.is_object(), "{path} is not described");
        found
    }

    fn operations<'d>(&'d self, path: &str) -> impl Iterator<Item = (&'d str, &'d Value)> {
        entries(self.path(path)).filter(|(name, _)| ["get", "head", "post"].contains(name))
    }

    /// Sends a request and compares the response with the description of the path and the method; for a method that the
    /// path does not have, with the description of its other methods.
    pub(super) async fn call(&self, path: &str, request: RequestBuilder) -> u16 {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let method = request.method().as_str().to_lowercase();
        let answer = client.execute(request).await.unwrap();
        let status = answer.status().as_u16();
        let operations: BTreeMap<_, _> = self.operations(path).collect();
        let operation = operations.get(method.as_str()).or(operations.values().next()).unwrap();
        let described = &operation["responses"][status.to_string()];
        assert!(described.is_object(), "{method} {path}: {status} is not described");
        self.compare(
            &format!("{method} {path}: {status}"),
            self.document.resolve(described),
            answer,
            method == "head",
        )
        .await;
        if status == 405 {
            assert!(!operations.contains_key(method.as_str()), "{method} {path} is described and refused");
        }
        self.came.lock().unwrap().insert((path.to_owned(), method, status));
        status
    }

    async fn compare(&self, at: &str, described: &Value, mut answer: Response, is_head: bool) {
        let headers: BTreeMap<_, _> = self.document.entries(&described["headers"]).collect();
        let headers: BTreeMap<_, _> =
            headers.into_iter().map(|(name, header)| (name.to_lowercase(), header)).collect();
        for (name, header) in &headers {
            let Some(value) = answer.headers().get(name).map(|value| value.to_str().unwrap()) else {
                assert!(header["required"] != true, "{at}: {name} is missing");
                continue;
            };
            let wanted = &header["schema"]["const"];
            assert!(wanted.is_null() || wanted == value, "{at}: {name} is {value}");
            let is_number = header["schema"]["type"] != "integer" || value.parse::<u64>().is_ok();
            assert!(is_number, "{at}: {name} is {value}");
        }
        let of_every_answer = ["date", "connection", "content-type", "content-length", "transfer-encoding"];
        for name in
            answer.headers().keys().map(|name| name.as_str()).filter(|name| !of_every_answer.contains(name))
        {
            if self.of_every_answer.contains(&name) {
                continue;
            }
            assert!(headers.contains_key(name), "{at}: {name} is not described");
        }
        let content_type =
            answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let bare = content_type.map(|value| value.split(';').next().unwrap().to_owned());
        // Events have no end.
        let body = if bare.as_deref() == Some("text/event-stream") {
            answer.chunk().await.unwrap().unwrap_or_default()
        } else {
            answer.bytes().await.unwrap()
        };
        let Some(content) = described["content"].as_object() else {
            return assert!(body.is_empty(), "{at}: a body is not described");
        };
        let bare = bare.unwrap_or_else(|| panic!("{at}: no content type"));
        let media_type = content.get(&bare).unwrap_or_else(|| panic!("{at}: {bare} is not described"));
        assert_eq!(body.is_empty(), is_head, "{at}");
        if is_head {
            return;
        }
        if bare == "application/json" || bare == "application/problem+json" {
            let body: Value = serde_json::from_slice(&body).unwrap();
            self.document.assert_conforms(&media_type["schema"], &body, at);
        }
    }

    /// Checks that every described response has occurred, except those that were not tried.
    pub(super) fn assert_all_came(&self, tag: &str, not_tried: &[u16]) {
        let came = self.came.lock().unwrap();
        for (path, _) in entries(&self.document.0["paths"]) {
            for (method, operation) in
                self.operations(path).filter(|(_, operation)| texts(&operation["tags"]).contains(tag))
            {
                for (status, _) in entries(&operation["responses"]) {
                    let status: u16 = status.parse().unwrap();
                    let is_it = |(at, by, code): &(String, String, u16)| {
                        at == path && *code == status && (by == method || status == 405)
                    };
                    let is_tried = !not_tried.contains(&status);
                    assert!(!is_tried || came.iter().any(is_it), "{method} {path}: {status} never came");
                }
            }
        }
    }

    /// The methods that a path answers, which `Allow` must list.
    fn allowed(&self, path: &str) -> BTreeSet<String> {
        self.operations(path).map(|(method, _)| method.to_uppercase()).collect()
    }
}

/// A client that is no browser, and says so where it may matter.
pub(super) fn client() -> Client {
    service::process::install_crypto_provider();
    let headers =
        HeaderMap::from_iter([(HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static("none"))]);
    Client::builder().no_proxy().pool_max_idle_per_host(0).default_headers(headers).build().unwrap()
}

/// Every method that is not described for a path is refused, and `Allow` lists those that are.
pub(super) async fn call_with_other_methods(contract: &Contract, path: &str, url: &str) {
    let allowed = contract.allowed(path);
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        if allowed.contains(method) || (method == "HEAD" && allowed.contains("GET")) {
            continue;
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(contract.call(path, client().request(method.clone(), url)).await, 405, "{method} {path}");
        let answer = client().request(method, url).send().await.unwrap();
        let listed =
            answer.headers()["allow"].to_str().unwrap().split(',').map(|method| method.trim().to_owned());
        // A path with GET has HEAD too, described or not.
        let mut wanted = allowed.clone();
        if wanted.contains("GET") {
            wanted.insert("HEAD".to_owned());
        }
        assert_eq!(listed.collect::<BTreeSet<_>>(), wanted, "{path}");
    }
}

/// A webhook of each BSP, with the name of its channel.
fn webhook(bsp: &str, body: &[u8]) -> (Webhook, &'static str) {
    match bsp {
        "infobip" => (Webhook::infobip(body), "202105102694809992"),
        "koomessage" => (Webhook::koomessage(body), "koomessage-demo"),
        "gupshup" => (Webhook::gupshup(body), "gupshup-demo"),
        "twilio" => (Webhook::twilio(body), "twilio-demo"),
        other => panic!("add a webhook of {other}"),
    }
}

fn ingress_path(bsp: &dyn Bsp) -> String {
    format!("/social/on/whatsapp/{}/{{route}}/{{channel}}", bsp.profile().id)
}

#[test]
fn every_bsp_has_its_path_as_its_profile_says() {
    let contract = Contract::read();
    let is_ingress = |path: &&str| path.starts_with("/social/");
    let described: BTreeSet<_> =
        entries(&contract.document.0["paths"]).map(|(path, _)| path).filter(is_ingress).collect();
    let known: Vec<_> = registry::REGISTRY.iter().map(|bsp| ingress_path(*bsp)).collect();
    assert_eq!(described, known.iter().map(String::as_str).collect());
    for (bsp, path) in registry::REGISTRY.iter().zip(&known) {
        let profile = bsp.profile();
        let operation = &contract.path(path)["post"];
        let content = contract.document.resolve(&operation["requestBody"]);
        let types: Vec<_> = entries(&content["content"]).map(|(name, _)| name).collect();
        assert_eq!(types, [profile.media_type], "{path}");
        let deadline = format!("for {} s", profile.store_deadline.as_secs());
        assert!(operation["description"].as_str().unwrap().contains(&deadline), "{path}: {deadline}");
        let unauthorized = contract.document.resolve(&operation["responses"]["401"]);
        let challenge = &unauthorized["headers"]["WWW-Authenticate"]["schema"]["const"];
        assert_eq!(challenge.as_str(), profile.challenge, "{path}");
        let first = &operation["security"][0];
        let (scheme, _) = entries(first).next().unwrap();
        let scheme = &contract.document.0["components"]["securitySchemes"][scheme];
        let header = profile.credential_hint.split(':').next().unwrap();
        match profile.credential {
            CredentialForm::Password => {
                assert_eq!((&scheme["type"], &scheme["name"]), (&"apiKey".into(), &header.into()))
            }
            CredentialForm::UserAndPassword => assert_eq!(scheme["scheme"], "basic", "{path}"),
        }
        assert_eq!(operation["security"].to_string().contains("Signature"), profile.signs_requests, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ingress_answers_every_bsp_as_described() {
    let contract = Contract::read();
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    for bsp in registry::REGISTRY {
        let path = ingress_path(*bsp);
        for route in ["report", "message"] {
            call_ingress(&contract, ingress.address, *bsp, &path, route).await;
        }
    }
    contract.assert_all_came("ingress", &NOT_TRIED);
    ingress.stop().await;

    // Without channels no webhook can be accepted.
    let bare = Installation::start_bare().await;
    let ingress = bare.ingress_with(&[]).await;
    for bsp in registry::REGISTRY {
        let id = bsp.profile().id.as_str();
        let (webhook, channel) = webhook(id, b"{}");
        let url = format!("http://{}/social/on/whatsapp/{id}/report/{channel}", ingress.address);
        assert_eq!(contract.call(&ingress_path(*bsp), request(&webhook, &url)).await, 503);
    }
    ingress.stop().await;
}

/// A webhook as a request, so that its whole response is visible.
fn request(webhook: &Webhook, url: &str) -> RequestBuilder {
    let head = String::from_utf8(webhook.head("")).unwrap();
    let fields =
        head.lines().skip(1).filter_map(|line| line.split_once(": ")).filter(|(name, _)| *name != "host");
    fields
        .fold(client().post(url), |made, (name, value)| made.header(name, value))
        .body(webhook.body().to_vec())
}

async fn call_ingress(contract: &Contract, ingress: SocketAddr, bsp: &dyn Bsp, path: &str, route: &str) {
    let id = bsp.profile().id.as_str();
    let (good, channel) = webhook(id, b"{}");
    let credential = if id == "infobip" { "accountkey" } else { "authorization" };
    let other_type = if id == "twilio" { "application/json" } else { "application/x-www-form-urlencoded" };
    let large = webhook(id, &vec![b' '; BODY_LIMIT + 1]).0;
    let at =
        |route: &str, channel: &str| format!("http://{ingress}/social/on/whatsapp/{id}/{route}/{channel}");
    for (what, webhook, url, status) in [
        ("good", good.clone(), at(route, channel), 200),
        (
            "wrong credential",
            good.clone().header(credential, "Basic d3Jvbmc6d3Jvbmc="),
            at(route, channel),
            401,
        ),
        ("no credential", good.clone().without(credential), at(route, channel), 401),
        ("unknown channel", good.clone(), at(route, "no-such"), 401),
        ("another content type", good.clone().header("content-type", other_type), at(route, channel), 415),
        ("no content type", good.clone().without("content-type"), at(route, channel), 415),
        (
            "a long content type",
            good.clone().header("content-type", &"x".repeat(1_000)),
            at(route, channel),
            431,
        ),
        ("compressed", good.clone().header("content-encoding", "gzip"), at(route, channel), 415),
        ("too large", large, at(route, channel), 413),
        ("no channel", good.clone(), at(route, ""), 404),
        ("another route", good.clone(), at("status", channel), 404),
    ] {
        assert_eq!(contract.call(path, request(&webhook, &url)).await, status, "{id} {route}: {what}");
    }
    call_with_other_methods(contract, path, &at(route, channel)).await;
}

fn file_path(kind: MediaKind) -> String {
    format!("/{{tenant}}/imchannel/{}/{{id}}", kind.route())
}

const UPLOAD_PATH: &str = "/{tenant}/imchannel/media";

#[test]
fn every_kind_of_file_has_its_path_and_its_types() {
    let contract = Contract::read();
    let upload = &contract.path(UPLOAD_PATH)["post"];
    let described =
        |content: &Value| -> BTreeSet<String> { entries(content).map(|(name, _)| name.to_owned()).collect() };
    let mut all = BTreeSet::new();
    for kind in MediaKind::ALL {
        let types: BTreeSet<_> = kind.content_types().iter().map(|name| (*name).to_owned()).collect();
        let get = &contract.path(&file_path(kind))["get"];
        for status in ["200", "206"] {
            assert_eq!(described(&get["responses"][status]["content"]), types, "{kind:?} {status}");
        }
        assert_eq!(
            described(&contract.path(&file_path(kind))["head"]["responses"]["200"]["content"]),
            types,
            "{kind:?}"
        );
        all.extend(types);
    }
    assert_eq!(described(&upload["requestBody"]["content"]), all);
    let kinds = texts(&contract.document.0["components"]["schemas"]["Kind"]["enum"]);
    assert_eq!(kinds, MediaKind::ALL.into_iter().map(MediaKind::name).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn media_answers_as_described() {
    let contract = Contract::read();
    let outbound = Outbound::start(&[10]).await;
    let media = outbound.media().await;
    let at = |query: &str| format!("{}/{TENANT}/imchannel/media?{query}", media.url);
    let post = |query: &str, content_type: &str, body: Vec<u8>| {
        client().post(at(query)).bearer_auth(UPLOAD_TOKEN).header("content-type", content_type).body(body)
    };
    let png = || b"\x89PNG\r\n\x1a\n".to_vec();
    let image = "channel=channel-0&kind=image";
    for (what, request, status) in [
        ("good", post(image, "image/png", png()), 201),
        ("no kind", post("channel=channel-0", "image/png", png()), 400),
        ("unknown kind", post("channel=channel-0&kind=smell", "image/png", png()), 400),
        ("no channel", post("kind=image", "image/png", png()), 400),
        ("empty", post(image, "image/png", Vec::new()), 400),
        ("no token", client().post(at(image)).header("content-type", "image/png").body(png()), 401),
        ("unknown channel", post("channel=no-such&kind=image", "image/png", png()), 404),
        ("too large", post(image, "image/png", vec![b' '; 5 * MIB + 1]), 413),
        ("another type", post(image, "text/plain", png()), 415),
        ("no document", post("channel=channel-0&kind=document", "application/pdf", png()), 415),
        ("another picture", post(image, "image/jpeg", png()), 415),
    ] {
        assert_eq!(contract.call(UPLOAD_PATH, request).await, status, "{what}");
    }
    call_with_other_methods(&contract, UPLOAD_PATH, &at(image)).await;

    // First bytes of each kind's first type, except pictures.
    let (aac, mp4) = (b"\xff\xf1\x50\x80", b"\0\0\0\x10ftypmp42");
    for (kind, body) in
        MediaKind::ALL.into_iter().zip([png(), b"%PDF-1.7".to_vec(), aac.to_vec(), mp4.to_vec()])
    {
        let path = file_path(kind);
        let content_type = if kind == MediaKind::Image { "image/png" } else { kind.content_types()[0] };
        let named = "attachment; filename=\"file\"";
        let query = format!("channel=channel-0&kind={}", kind.name());
        let answer =
            post(&query, content_type, body).header("content-disposition", named).send().await.unwrap();
        let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let url = told["url"].as_str().unwrap();
        let etag = format!("\"{}\"", told["sha256"].as_str().unwrap());
        let other = url.replace(TENANT, "another");
        for (what, request, status) in [
            ("whole", client().get(url), 200),
            ("head", client().head(url), 200),
            ("range", client().get(url).header("range", "bytes=0-1"), 206),
            ("known", client().get(url).header("if-none-match", &etag), 304),
            ("known head", client().head(url).header("if-none-match", &etag), 304),
            ("beyond", client().get(url).header("range", "bytes=99-"), 416),
            ("another tenant's", client().get(&other), 404),
            ("another tenant's head", client().head(&other), 404),
        ] {
            assert_eq!(contract.call(&path, request).await, status, "{kind:?}: {what}");
        }
        call_with_other_methods(&contract, &path, url).await;
    }
    let not_tried: Vec<_> = NOT_TRIED.into_iter().filter(|status| *status != 400).collect();
    contract.assert_all_came("media", &not_tried);
    media.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_answers_as_described() {
    let contract = Contract::read();
    let readiness = Readiness::default();
    let router = service::admin::router(readiness.clone(), Arc::new(Registry::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let get = |path: &str| client().get(format!("http://{admin}{path}"));
    assert_eq!(contract.call("/ready", get("/ready")).await, 503);
    readiness.mark_started();
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(contract.call(path, get(path)).await, 200);
        call_with_other_methods(&contract, path, &format!("http://{admin}{path}")).await;
    }
    readiness.spool_if(|| true);
    assert_eq!(contract.call("/ready", get("/ready")).await, 200, "with `spooling`");
    // Metrics that cannot be written are an error that no test can cause.
    contract.assert_all_came("admin", &[500]);
    serving.abort();
}
