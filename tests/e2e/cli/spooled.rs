//! `imchannel doctor` and `imchannel top`: what is spooled and since when, and folders with webhooks and no process.

use std::io;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use spool::{AsideReason, Entry, FaultKind, Observer, Spool, SpoolOptions};

use crate::harness::{Installation, Program, TIMEOUT, Webhook, eventually, exclusive, run_cli_with};

/// Webhooks that are spooled.
const SPOOLED: u64 = 3;

#[derive(Debug)]
struct NoReports;

impl Observer for NoReports {
    fn synced(&self, _entries: usize, _took: Duration) {}
    fn fault(&self, kind: FaultKind, error: &io::Error) {
        panic!("{kind:?}: {error}");
    }
    fn set_aside(&self, reason: AsideReason, _folder: u32, _bytes: u64) {
        panic!("{reason:?}");
    }
}

/// A process that has a sub-folder with webhooks, until it is dropped.
async fn process_with_webhooks(folder: &Path) -> Spool {
    let options = SpoolOptions { folder: folder.to_owned(), max_bytes: 64 << 20 };
    let spool = Spool::start(options, Arc::new(NoReports)).unwrap();
    // It has a sub-folder when there is one to read.
    drop(spool.backlog().await);
    let three_days_ago = jiff::Timestamp::now().as_millisecond() - 3 * 86_400_000;
    for number in 0..SPOOLED {
        let entry = Entry {
            subject: "imchannel.webhook.koomessage.koomessage-demo".to_owned(),
            headers: vec![("Nats-Msg-Id".to_owned(), format!("id-{number}"))],
            arrived_ms: three_days_ago + number as i64,
            body: "{}".into(),
        };
        spool.store(entry).await.unwrap();
    }
    spool
}

async fn doctor(nats_url: &str, args: &[&str]) -> Vec<Value> {
    let args = [&["--json", "doctor", "--watch-for", "100ms"], args].concat();
    let Output { stdout, .. } = run_cli_with(nats_url, "imchannel", &args, &[]).await;
    let text = String::from_utf8(stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn finding<'f>(findings: &'f [Value], check: &str) -> &'f Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} among {findings:#?}"))
}

/// Waits until a look of `top` satisfies the condition.
async fn until(top: &mut Program, wanted: impl Fn(&Value) -> bool) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let look: Value = serde_json::from_str(&top.line_with("\"spool\"").await).unwrap();
        if wanted(&look) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "the last look was {look:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_webhooks_and_no_process_is_named() {
    let installation = Installation::start().await;
    let (url, folder) = (installation.nats.url(), installation.folder().join("spool"));
    let dir = folder.to_str().unwrap();
    let spool = process_with_webhooks(&folder).await;
    let findings = doctor(&url, &["--spool-dir", dir]).await;
    let found = finding(&findings, "ingress.spool_folders");
    assert_eq!(found["level"], "ok", "{found}");

    drop(spool);
    let found = eventually("the folder has no process", || async {
        let findings = doctor(&url, &["--spool-dir", dir]).await;
        let found = finding(&findings, "ingress.spool_folders").clone();
        (found["level"] == "error").then_some(found)
    })
    .await;
    assert_eq!(found["subjects"], serde_json::json!(["0"]));
    let message = found["message"].as_str().unwrap();
    assert!(message.contains("3 webhooks") && message.contains("for 3.0 days"), "{message}");
    let args = ["--json", "top", "--count", "1", "--interval", "100ms", "--spool-dir", dir];
    let mut top = Program::start_with_args("imchannel", &url, &args, &[]);
    let look: Value = serde_json::from_str(&top.line_with("\"spool\"").await).unwrap();
    let spool = &look["spool"];
    assert_eq!((&spool["abandoned_folders"], &spool["abandoned_entries"]), (&1.into(), &SPOOLED.into()));
    assert!(spool["oldest_age_s"].as_u64().unwrap() >= 3 * 86_400, "{spool}");
    // A folder that cannot be read is not taken for an empty one.
    let findings = doctor(&url, &["--spool-dir", "/nowhere"]).await;
    assert_eq!(finding(&findings, "ingress.spool_folders")["level"], "unknown");
    // An installation without a spool has no finding about it.
    let findings = doctor(&url, &[]).await;
    assert!(findings.iter().all(|found| found["check"] != "ingress.spool_folders"), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spooled_is_shown_while_nats_is_away() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let (url, folder) = (installation.nats.url(), installation.folder().join("spool"));
    let dir = folder.to_str().unwrap().to_owned();
    let variables = [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_SPOOL_DIR", &dir)];
    let mut ingress = Program::start("imchannel-ingress", &installation, &variables);
    let admin = format!("http://{}", ingress.address_after("probes and metrics on").await);
    let address = ingress.address_after("accepts webhooks on").await.parse().unwrap();
    let report = |id: &str| {
        Webhook::koomessage(format!(
            r#"{{"message_id":"{id}","sender":"1","user_number":"2","status":"read"}}"#
        ))
    };
    eventually("ingress takes webhooks", || async {
        (report("before").try_post(address).await.ok()?.status.as_u16() == 200).then_some(())
    })
    .await;
    eventually("the spool takes webhooks", || async {
        let findings = doctor(&url, &["--admin", &admin]).await;
        (finding(&findings, "ingress.spool")["level"] == "ok").then_some(())
    })
    .await;
    let args = ["--json", "top", "--interval", "200ms", "--admin", &admin];
    let mut top = Program::start_with_args("imchannel", &url, &args, &[]);
    until(&mut top, |look| look["connected"] == true && look["spool"]["processes"] == 1).await;

    installation.nats.stop().await;
    for number in 0..SPOOLED {
        assert_eq!(report(&format!("m-{number}")).post(address).await.status.as_u16(), 200);
    }
    until(&mut top, |look| look["connected"] == false && look["spool"]["entries"] == SPOOLED).await;
    let findings = doctor(&url, &["--admin", &admin]).await;
    let found = finding(&findings, "ingress.spool");
    assert_eq!(found["level"], "warning", "{found}");
    assert!(found["message"].as_str().unwrap().contains("3 spooled webhooks"), "{found}");
    assert_eq!(finding(&findings, "services.ready")["level"], "ok", "it is ready without NATS");

    // A process that is killed leaves its folder, which doctor names, and the next one drains it.
    ingress.kill().await;
    let findings = doctor(&url, &["--spool-dir", &dir]).await;
    assert_eq!(finding(&findings, "ingress.spool_folders")["level"], "error");
    installation.nats.start_again().await.unwrap();
    let _ingress = Program::start("imchannel-ingress", &installation, &variables);
    eventually("the folder is drained", || async {
        let findings = doctor(&url, &["--spool-dir", &dir]).await;
        (finding(&findings, "ingress.spool_folders")["level"] == "ok"
            && installation.webhooks().await.len() as u64 == SPOOLED + 1)
            .then_some(())
    })
    .await;
}
