//! `imchannel send`, until the customer has read the message: text, a picture, a large document.

use std::path::Path;

use bus::streams::StreamSettings;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::outbound::{Outbound, UPLOAD_TOKEN};
use crate::harness::{Installation, exclusive, run_cli_with};

const MIB: usize = 1024 * 1024;

fn write(path: &Path, head: &[u8], size: usize) -> (String, u64) {
    let mut bytes = head.to_vec();
    bytes.extend((head.len()..size).map(|at| (at * 7 + at / 253) as u8));
    std::fs::write(path, &bytes).unwrap();
    let digest = Sha256::digest(&bytes);
    (digest.iter().map(|byte| format!("{byte:02x}")).collect(), bytes.len() as u64)
}

/// Runs `imchannel send --json` to its end; returns its lines.
async fn send(outbound: &Outbound, args: &[&str]) -> Vec<Value> {
    let media = outbound.media_url.clone();
    let common = ["--json", "send", "--channel", "channel-0", "--to", "+4915112345", "--media-url", &media];
    let args: Vec<&str> = common.iter().chain(args).copied().collect();
    let variables = [("IMCHANNEL_MEDIA_UPLOAD_TOKEN", UPLOAD_TOKEN)];
    let output = run_cli_with(&outbound.installation.nats.url(), "imchannel", &args, &variables).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn text_picture_and_large_document_end_with_read() {
    let _alone = exclusive().await;
    let installation = Installation::start_bare().await;
    bus::provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    let ingress = installation.ingress().await;
    let gateway = format!("http://{}", ingress.address);
    let normalizer = installation.normalizer().await;
    let outbound = Outbound::on(installation, &[50], Some(&gateway)).await;
    let (_sender, _media) = (outbound.sender().await, outbound.media().await);
    let folder = outbound.installation.folder();
    let (image, document) = (folder.join("a.png"), folder.join("b.pdf"));
    let image_digest = write(&image, b"\x89PNG\r\n\x1a\n", 200_000);
    let document_digest = write(&document, b"%PDF-1.7", 90 * MIB);
    let (image, document) = (image.to_string_lossy(), document.to_string_lossy());
    for args in [
        &["--text", "Hello", "--context", "ticket 7"][..],
        &["--image", &image, "--caption", "look"],
        &["--document", &document],
    ] {
        let lines = send(&outbound, args).await;
        let command = lines.iter().find_map(|line| line["command_id"].as_str()).unwrap();
        let last = lines.last().unwrap();
        assert_eq!(last["status"].as_str(), Some("REPORT_STATUS_READ"));
        assert_eq!(last["commandId"].as_str(), Some(command));
        assert!(lines.iter().any(|line| line["outcome"] == "SEND_OUTCOME_ACCEPTED"), "{lines:?}");
        assert!(lines.iter().any(|line| line["status"] == "REPORT_STATUS_DELIVERED"), "{lines:?}");
        let fetches = lines.iter().filter_map(|line| line["method"].as_str()).collect::<Vec<_>>();
        assert_eq!(fetches.is_empty(), args[0] == "--text", "{fetches:?}");
        assert!(fetches.is_empty() || fetches == ["HEAD", "GET"], "{fetches:?}");
    }
    // The BSP returns the context of a command with every report.
    let reports = outbound.installation.reports().await;
    let with_context = reports.iter().filter(|report| report.callback_data == "ticket 7").count();
    assert_eq!(with_context, 2, "the text was delivered and read: {reports:?}");
    let received = outbound.account.received();
    let files: Vec<_> = received.iter().map(|message| message.file.clone()).collect();
    assert!(files[0].is_none() && received.len() == 3);
    for (file, (sha256, bytes)) in files[1..].iter().zip([image_digest, document_digest]) {
        let file = file.as_ref().unwrap();
        assert_eq!(&file.sha256, &sha256);
        assert_eq!(file.bytes, bytes);
    }
    // Phone numbers and texts are masked.
    let masked = send(&outbound, &["--text", "a secret text"]).await;
    let shown = masked.iter().map(Value::to_string).collect::<String>();
    assert!(!shown.contains("secret text") && !shown.contains("4915112345"), "{shown}");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test]
async fn an_operator_pauses_looks_and_resumes() {
    let outbound = Outbound::start(&[50]).await;
    let url = outbound.installation.nats.url();
    let run = async |args: &[&str]| {
        let output = run_cli_with(&url, "imchannel", args, &[]).await;
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run(&["channel", "pause", "channel-0"]).await.0, Some(0));
    let _sender = outbound.sender().await;
    let stored = ["send", "--channel", "channel-0", "--to", "4915112345", "--text", "x", "--until", "stored"];
    assert_eq!(run(&stored).await.0, Some(0));
    let (_, line) = run(&["--json", "lanes", "list"]).await;
    let shown: Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(shown["channel"].as_str(), Some("channel-0"));
    assert_eq!(shown["reason"].as_str(), Some("paused by an operator"));
    assert_eq!(shown["send_waiting"].as_u64().unwrap() + shown["in_progress"].as_u64().unwrap(), 1);
    // A channel with pending commands is not removed without --force.
    let (code, words) = run(&["--json", "channel", "remove", "channel-0", "--yes"]).await;
    assert!(code == Some(1) && words.contains("1 command waits for channel channel-0"), "{words}");
    assert_eq!(run(&["channel", "resume", "channel-0"]).await.0, Some(0));
    crate::harness::eventually("it is sent", || async {
        (outbound.account.received_count() == 1).then_some(())
    })
    .await;
    // The second time nothing is sent, and the result of the first is shown.
    let again = ["--json", "send", "--channel", "channel-0", "--to", "4915112345", "--text", "y"];
    let again = [&again[..], &["--command-id", "again", "--until", "accepted", "--timeout", "30s"]].concat();
    for _ in 0..2 {
        let (code, words) = run(&again).await;
        assert!(code == Some(0) && words.contains("ACCEPTED"), "{words}");
    }
    assert_eq!(outbound.account.received_count(), 2);
    let (code, words) =
        run(&["--json", "send", "--channel", "channel-0", "--to", "no-such", "--text", ""]).await;
    assert!(code == Some(2) && words.contains("recipient") && words.contains("text.body"), "{words}");
    assert_eq!(run(&["channel", "pause", "no-such"]).await.0, Some(1));
}
