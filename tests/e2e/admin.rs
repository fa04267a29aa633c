//! What the admin port tells: that the process lives, whether it is ready and if not why, and the numbers.

use crate::harness::{Installation, Program, Webhook, eventually};

const REPORT: &str =
    r#"{"results":[{"messageId":"m-1","to":"39123456789","status":{"groupName":"DELIVERED"}}]}"#;

async fn get(admin: &str, path: &str) -> Option<(u16, String)> {
    service::process::install_tls();
    let response = reqwest::get(format!("http://{admin}{path}")).await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

/// Waits until a sample of the metrics is at least so much.
async fn until_metric(admin: &str, name: &str, least: f64) {
    eventually(name, || async {
        let (_, text) = get(admin, "/metrics").await?;
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        let value: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (value >= least).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_only_with_its_streams_and_channels() {
    let installation = Installation::start_bare().await;
    let mut ingress =
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_LISTEN", "127.0.0.1:0")]);
    let mut normalizer = Program::start("imchannel-normalizer", &installation, &[]);
    let ingress_admin = ingress.address_after("probes and metrics on ").await;
    let normalizer_admin = normalizer.address_after("probes and metrics on ").await;
    for admin in [&ingress_admin, &normalizer_admin] {
        eventually("it lives", || async { (get(admin, "/live").await?.0 == 200).then_some(()) }).await;
        eventually("it says what is missing", || async {
            let (status, text) = get(admin, "/ready").await?;
            (status == 503 && text.contains("stream WEBHOOKS: existence is missing")).then_some(())
        })
        .await;
    }
    bus::provision::apply(&installation.bus, &bus::streams::StreamSettings::default()).await.unwrap();
    for admin in [&ingress_admin, &normalizer_admin] {
        eventually("it is ready", || async { (get(admin, "/ready").await?.0 == 200).then_some(()) }).await;
    }
    assert!(normalizer.stop().await && ingress.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_tell_what_happened() {
    let installation = Installation::start().await;
    let mut ingress =
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_LISTEN", "127.0.0.1:0")]);
    let ingress_admin = ingress.address_after("probes and metrics on ").await;
    let listen = ingress.address_after("takes webhooks on ").await;
    let variables = [("IMCHANNEL_LAG_INTERVAL_MS", "100")];
    let mut normalizer = Program::start("imchannel-normalizer", &installation, &variables);
    let normalizer_admin = normalizer.address_after("probes and metrics on ").await;
    eventually("ingress is ready", || async {
        (get(&ingress_admin, "/ready").await?.0 == 200).then_some(())
    })
    .await;
    let address = listen.parse().unwrap();
    for webhook in [
        Webhook::infobip(REPORT),
        Webhook::infobip(REPORT).header("accountkey", "wrong"),
        Webhook::twilio("a=b").without("authorization"),
        Webhook::infobip(REPORT.replace("DELIVERED", "TELEPORTED")).header("accountkey", "infobip-previous"),
        Webhook::infobip("no JSON"),
    ] {
        webhook.post(address).await;
    }
    for (name, least) in [
        (r#"imchannel_ingress_requests_total{bsp="infobip",outcome="stored"}"#, 3.0),
        (r#"imchannel_ingress_requests_total{bsp="infobip",outcome="unauthorized"}"#, 1.0),
        (r#"imchannel_ingress_requests_total{bsp="twilio",outcome="challenged"}"#, 1.0),
        (r#"imchannel_ingress_store_seconds_count{bsp="infobip"}"#, 3.0),
        (r#"imchannel_ingress_credential_used_total{channel="202105102694809992",credential="2"}"#, 1.0),
        ("imchannel_ingress_channels ", 4.0),
    ] {
        until_metric(&ingress_admin, name, least).await;
    }
    for (name, least) in [
        (
            r#"imchannel_normalizer_items_total{bsp="infobip",kind="report",detail="REPORT_STATUS_DELIVERED"}"#,
            1.0,
        ),
        (r#"imchannel_normalizer_unrecognised_total{bsp="infobip",field="status.groupName"}"#, 1.0),
        (r#"imchannel_normalizer_dead_letters_total{bsp="infobip",reason="no_json"}"#, 1.0),
        ("imchannel_normalizer_webhook_age_seconds_count", 3.0),
        ("imchannel_worker_done_total", 3.0),
        (r#"imchannel_stream_size_bytes{stream="WEBHOOKS"}"#, 1.0),
        (r#"imchannel_consumer_pending_messages{stream="EVENTS",durable="aicc"}"#, 2.0),
        // Nobody reads the events here, so the oldest grows old.
        (r#"imchannel_consumer_oldest_unprocessed_age_seconds{stream="EVENTS",durable="aicc"}"#, 1.0),
    ] {
        until_metric(&normalizer_admin, name, least).await;
    }
    assert!(normalizer.stop().await && ingress.stop().await);
}
