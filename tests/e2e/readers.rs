//! The readers of `examples/`, which an AICC back end can start from, read what the gateway writes.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::{Installation, PATIENCE, Webhook};

#[tokio::test(flavor = "multi_thread")]
async fn the_python_reader_reads_reports_and_messages_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "the Python environment is missing: run `./dev test`, which prepares it");
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let report = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"PENDING"}},{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;
    let message = r#"{"results":[{"from":"49151","to":"4930","messageId":"in-1","message":{"type":"TEXT","text":"hello"}}]}"#;
    Webhook::infobip(report).post(ingress.address).await;
    Webhook::infobip(message).post(ingress.address).await;
    installation.until_processed().await;
    let output = Command::new(python)
        .arg(root.join("examples/python/read_events.py"))
        .args(["--nats-url", &installation.nats.url(), "--count", "3"])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for line in ["report m-1 is DELIVERED", "message in-1 from 49151: hello"] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let backlog = bus::lag::backlog(&installation.bus, &bus::streams::AICC).await.unwrap();
    assert_eq!(backlog, 0, "the reader acknowledges what it has read");
    normalizer.stop().await;
    ingress.stop().await;
}
