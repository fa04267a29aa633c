//! A trace continues from the HTTP request through NATS to the event, and is exported to a collector.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use bus::headers;

use crate::harness::{Installation, Program, Webhook, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const BODY: &str = r#"{"sender":"1","user_number":"2","message_id":"k-1","status":"read"}"#;

type Received = Arc<Mutex<Vec<u8>>>;

/// A collector that keeps what it receives.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let keep = |State(received): State<Received>, body: Bytes| async move {
        received.lock().unwrap().extend_from_slice(&body);
    };
    let router = axum::Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_one_webhook_share_its_trace_and_are_exported() {
    let installation = Installation::start().await;
    let (endpoint, received) = collector().await;
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")];
    let mut ingress = Program::start("imchannel-ingress", &installation, &variables);
    let listen = ingress.address_after("accepts webhooks on ").await;
    let mut normalizer = Program::start("imchannel-normalizer", &installation, &variables);
    let webhook = Webhook::koomessage(BODY).header("traceparent", PARENT);
    eventually("the webhook is taken", || async {
        (webhook.try_post(listen.parse().unwrap()).await.ok()?.status.as_u16() == 200).then_some(())
    })
    .await;
    normalizer.line_with("onReport").await;
    installation.until_processed().await;
    let stored = installation.webhooks().await;
    let events = installation.stored(&bus::streams::EVENTS, "imchannel.event.>").await;
    let (of_webhook, of_event) = (
        stored[0].headers.get(headers::TRACEPARENT).unwrap(),
        events[0].headers.get(headers::TRACEPARENT).unwrap(),
    );
    for traceparent in [of_webhook, of_event] {
        assert!(traceparent.contains(TRACE), "{traceparent}");
    }
    assert!(of_webhook != PARENT && of_event != of_webhook, "each hop has a span of its own");
    // The end of the program exports the pending spans.
    assert!(ingress.stop().await && normalizer.stop().await);
    let received = received.lock().unwrap().clone();
    let trace_id: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&TRACE[2 * at..2 * at + 2], 16).unwrap()).collect();
    for text in [
        &b"receive webhook"[..],
        b"process webhook",
        b"imchannel-ingress",
        b"imchannel-normalizer",
        &trace_id,
    ] {
        assert!(contains(&received, text), "{} was not exported", String::from_utf8_lossy(text));
    }
    assert!(!contains(&received, b"koomessage-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_trace_of_the_sender_is_handed_on() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    Webhook::koomessage(BODY).header("traceparent", PARENT).post(ingress.address).await;
    Webhook::koomessage(BODY.replace("k-1", "k-2")).post(ingress.address).await;
    installation.until_processed().await;
    let events = installation.stored(&bus::streams::EVENTS, "imchannel.event.>").await;
    let of = |id: &str| {
        let event = events.iter().find(|event| contains(&event.payload, id.as_bytes())).unwrap();
        event.headers.get(headers::TRACEPARENT)
    };
    assert_eq!(of("k-1"), Some(PARENT));
    assert_eq!(of("k-2"), None);
    normalizer.stop().await;
    ingress.stop().await;
}
