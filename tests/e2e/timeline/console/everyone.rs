//! The pages are for everyone: no violation of WCAG 2.2 AA that axe-core finds, in light and dark; no horizontal scrolling on a
//! phone; nothing that the pages' own policy forbids.
//!
//! axe-core (axe/axe.min.js, MPL-2.0) is the npm package `axe-core` 4.14.1, unchanged.

use bus::Priority;

use super::super::lives::{CUSTOMER, Gateway, gateway};
use super::cases::open_drawers;
use super::stage::{REFUSED_CUSTOMER, SECRET};
use crate::harness::browser::Browser;
use crate::harness::outbound::text;
use crate::harness::{eventually, run_cli};
use simulator::infobip_api::Faults;

const AXE: &str = include_str!("axe/axe.min.js");
const WCAG: &str = "const done = arguments[arguments.length - 1]; \
    axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }) \
    .then((found) => done(found.violations.map((of) => of.id + ': ' + of.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | '))), \
    (error) => done([String(error)]));";
/// Of a phone, a tablet, a screen, in pixels.
const WIDTHS: [u32; 3] = [360, 768, 1440];

#[tokio::test]
async fn every_page_is_accessible_fits_a_phone_and_keeps_its_policy() {
    let gateway = gateway(&[("IMCHANNEL_TIMELINE_REPORT_AFTER", "1s")]).await;
    let pages = pages(&gateway).await;
    let browser = Browser::start().await;
    for path in &pages {
        browser.size(1280, 900).await;
        browser.open(&format!("{}{path}", gateway.timeline.url)).await;
        if path.starts_with("/timeline") {
            open_drawers(&browser).await;
        }
        browser.run(AXE).await;
        for scheme in ["light", "dark"] {
            browser.colors(scheme).await;
            let found = browser.run_async(WCAG).await;
            assert_eq!(found, serde_json::json!([]), "{path} in {scheme}: {found:#}");
        }
        for width in WIDTHS {
            browser.size(width, 800).await;
            let wide = browser.run("return document.documentElement.scrollWidth - window.innerWidth;").await;
            assert!(wide.as_i64().unwrap() <= 0, "{path} at {width} px is {wide} px too wide");
        }
    }
    let log = browser.log().await;
    // Pages of refusals have the status of their refusal.
    let is_a_fault = |line: &&String| !line.contains("the server responded with a status of 40");
    assert_eq!(log.iter().filter(is_a_fault).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Every page, with a message of each kind on it.
async fn pages(gateway: &Gateway) -> Vec<String> {
    let outbound = &gateway.outbound;
    let normalizer = outbound.installation.normalizer().await;
    let sender = outbound.sender().await;
    outbound.account.set_faults(Faults {
        rejected: 1.0,
        only_recipient: Some(REFUSED_CUSTOMER.to_owned()),
        ..Faults::default()
    });
    outbound.publish(Priority::Interactive, &text(0, "c-one", CUSTOMER, SECRET)).await;
    outbound.publish(Priority::Interactive, &text(0, "c-rejected", REFUSED_CUSTOMER, SECRET)).await;
    gateway.timeline.life("c-one", &["command", "attempt", "result", "report", "webhook"]).await;
    gateway.timeline.life("c-rejected", &["result"]).await;
    outbound.account.set_faults(Faults { without_reports: true, ..Faults::default() });
    outbound.publish(Priority::Interactive, &text(0, "c-silent", CUSTOMER, SECRET)).await;
    let is_missing =
        |answer: &serde_json::Value| answer["lives"][0]["missing"].to_string().contains("no_report");
    gateway.timeline.answer("c-silent", "no report", is_missing).await;
    // An entry of the audit log.
    let replay = ["replay", "webhooks", "--from-sequence", "1", "--publish", "--yes", "--by", "Ann Example"];
    assert!(run_cli(&outbound.installation, &replay).await.status.success());
    eventually("the replay is in the audit log", || async {
        let (_, log) = gateway.timeline.get("/v1/audit").await;
        (!log["entries"].as_array()?.is_empty()).then_some(())
    })
    .await;
    sender.stop().await;
    normalizer.stop().await;
    let search = r#"{"number":"+4915112345678"}"#;
    let url = format!("{}/v1/searches", gateway.timeline.url);
    let request = crate::harness::files::client().post(url).header("sec-fetch-site", "none").body(search);
    let kept = request.send().await.unwrap().bytes().await.unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    let search = format!("/searches/{}", kept["id"].as_str().unwrap());
    let fixed = [
        "/",
        "/messages",
        "/problems",
        "/live",
        "/channels",
        "/channels/channel-0",
        "/audit",
        "/timeline?id=c-one",
        "/timeline?id=c-rejected",
        "/timeline?id=c-silent",
        "/timeline?id=c-one&id=c-silent&id=c-rejected&id=c-one&id=nothing",
        "/stored/COMMANDS/1",
        "/timeline?id=nothing",
        "/messages?status=nonsense",
    ];
    fixed.iter().map(|path| (*path).to_owned()).chain([search]).collect()
}
