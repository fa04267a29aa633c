//! The readers and publishers of `examples/`, from which an AICC back end can start, work with the gateway.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use bus::streams::StreamSettings;

use crate::harness::outbound::Outbound;
use crate::harness::{Installation, TIMEOUT, Webhook};

/// Runs a Python example to its end; returns whether it succeeded, and its output.
async fn run_python(example: &str, args: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "the Python environment is missing: run `./dev test`, which prepares it");
    let mut command = Command::new(python);
    command.arg(root.join("examples/python").join(example)).args(args);
    let output = command.stderr(Stdio::inherit()).kill_on_drop(true).output();
    let output = tokio::time::timeout(TIMEOUT, output).await.unwrap().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_publisher_sends_a_message_and_sees_it_read() {
    let installation = Installation::start_bare().await;
    bus::provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let outbound = Outbound::on(installation, &[50], Some(&format!("http://{}", ingress.address))).await;
    let _sender = outbound.sender().await;
    let url = outbound.installation.nats.url();
    let args = ["--nats-url", &url, "--channel", "channel-0", "--command-id", "py-1"];
    let args: Vec<&str> = args.iter().copied().chain(["--to", "4915112345", "--text", "Hello"]).collect();
    let (is_well, text) = run_python("send_message.py", &args).await;
    assert!(is_well, "{text}");
    for line in ["result py-1 is ACCEPTED", "report imc-py-1 is READ"] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let (is_well, text) = run_python(
        "send_message.py",
        &["--nats-url", &url, "--channel", "channel-0", "--to", "x", "--text", "Hello"],
    )
    .await;
    assert!(!is_well && text.contains("REJECTED"), "{text}");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_reader_reads_reports_and_messages_once() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let report = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"PENDING"}},{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;
    let message = r#"{"results":[{"from":"49151","to":"4930","messageId":"in-1","message":{"type":"TEXT","text":"hello"}}]}"#;
    Webhook::infobip(report).post(ingress.address).await;
    let opt_out = r#"{"from":"49151","content":{"type":"MARKETING_SUBSCRIPTION_UPDATE","value":"stop"}}"#;
    let template = r#"{"content":{"type":"TEMPLATE_UPDATE","templateName":"promo","status":"PAUSED"}}"#;
    for body in [message, opt_out, template] {
        Webhook::infobip(body).post(ingress.address).await;
    }
    installation.until_processed().await;
    let args = ["--nats-url", &installation.nats.url(), "--count", "5"];
    let (is_well, text) = run_python("read_events.py", &args).await;
    assert!(is_well, "{text}");
    for line in [
        "report m-1 is DELIVERED",
        "message in-1 from 49151: hello",
        "customer 49151 OPTED_OUT",
        "account TEMPLATE_STATUS promo PAUSED",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let backlog = bus::lag::backlog(&installation.bus, &bus::streams::AICC).await.unwrap();
    assert_eq!(backlog, 0, "the reader acknowledges what it has read");
    normalizer.stop().await;
    ingress.stop().await;
}
