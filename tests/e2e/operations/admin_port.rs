//! The admin port: whether the process lives, whether it is ready and if not why, and the metrics.

use bus::Priority;

use crate::harness::outbound::{Outbound, text};
use crate::harness::{Installation, Program, Webhook, eventually};

const REPORT: &str =
    r#"{"results":[{"messageId":"m-1","to":"39123456789","status":{"groupName":"DELIVERED"}}]}"#;

async fn get(admin: &str, path: &str) -> Option<(u16, String)> {
    service::process::install_crypto_provider();
    let response = reqwest::get(format!("http://{admin}{path}")).await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

/// Waits until a sample of the metrics is at least this value.
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
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
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
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
    let ingress_admin = ingress.address_after("probes and metrics on ").await;
    let listen = ingress.address_after("accepts webhooks on ").await;
    let variables = [("IMCHANNEL_LAG_INTERVAL", "100ms")];
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
        (r#"imchannel_normalizer_unrecognized_total{bsp="infobip",field="status.groupName"}"#, 1.0),
        (r#"imchannel_normalizer_dead_letters_total{bsp="infobip",reason="no_json"}"#, 1.0),
        ("imchannel_normalizer_webhook_age_seconds_count", 3.0),
        ("imchannel_worker_processed_total", 3.0),
        (r#"imchannel_stream_size_bytes{stream="WEBHOOKS"}"#, 1.0),
        (r#"imchannel_consumer_pending_messages{stream="EVENTS",durable="aicc"}"#, 2.0),
        // No reader reads the events here, so the oldest one ages.
        (r#"imchannel_consumer_oldest_unprocessed_age_seconds{stream="EVENTS",durable="aicc"}"#, 1.0),
    ] {
        until_metric(&normalizer_admin, name, least).await;
    }
    assert!(normalizer.stop().await && ingress.stop().await);
}

/// The type and the text of `/metrics`.
async fn metrics(admin: &str, accept: Option<&str>) -> (String, String) {
    let mut request = reqwest::Client::new().get(format!("http://{admin}/metrics"));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let answer = request.send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_come_in_the_form_that_is_asked_for_and_with_the_process() {
    let installation = Installation::start().await;
    let mut normalizer = Program::start("imchannel-normalizer", &installation, &[]);
    let admin = normalizer.address_after("probes and metrics on ").await;
    service::process::install_crypto_provider();
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let (kind, open) = metrics(&admin, Some(prometheus)).await;
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(
        open.ends_with("# EOF\n") && open.contains("# TYPE imchannel_worker_processed counter\n"),
        "{open}"
    );
    for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4")] {
        let (kind, classic) = metrics(&admin, accept).await;
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{accept:?}: {kind}");
        assert!(!classic.contains("# EOF") && !classic.contains(" info\n"), "{classic}");
        for line in [
            "# TYPE imchannel_worker_processed_total counter\nimchannel_worker_processed_total 0",
            "# TYPE imchannel_build_info gauge\nimchannel_build_info{program=",
            "# TYPE imchannel_normalizer_webhook_age_seconds histogram\n",
            "imchannel_normalizer_webhook_age_seconds_bucket{le=\"3600\"} 0",
            "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ",
        ] {
            assert!(classic.contains(line), "no {line:?} in\n{classic}");
        }
        let (resident, _) = normalizer.resident_bytes();
        let now = jiff::Timestamp::now().as_second() as f64;
        for (name, least, most) in [
            ("process_resident_memory_bytes", resident as f64 / 2.0, resident as f64 * 2.0),
            ("process_virtual_memory_bytes", resident as f64, f64::MAX),
            ("process_open_fds", 5.0, 500.0),
            ("process_max_fds", 100.0, f64::MAX),
            ("process_start_time_seconds", now - 300.0, now + 5.0),
        ] {
            let line = classic.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap();
            assert!((least..=most).contains(&value), "{name} is {value}");
        }
    }
    assert!(normalizer.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_and_calls_are_told_by_channel_and_acceptance_up_to_an_hour() {
    let outbound = Outbound::start(&[50, 50]).await;
    let sender = outbound.sender().await;
    for number in [0, 1] {
        let command = text(number, &format!("c-{number}"), "4915112345", "Hello");
        outbound.publish(Priority::Interactive, &command).await;
    }
    eventually("all are counted", || async {
        let metrics = sender.metrics();
        let counts = |name: &str, count: u64| metrics.contains(&format!("{name} {count}\n"));
        let of_channel = |number: usize| {
            let of = format!("bsp=\"infobip\",channel=\"channel-{number}\"");
            let result = format!("sender_results_total{{{of},content=\"text\",outcome=\"accepted\"}}");
            counts(&result, 1) && counts(&format!("sender_calls_total{{{of},outcome=\"accepted\"}}"), 1)
        };
        let is_told = of_channel(0)
            && of_channel(1)
            && counts("sender_time_to_accept_seconds_bucket{le=\"3600.0\"}", 2);
        is_told.then_some(())
    })
    .await;
    sender.stop().await;
}
