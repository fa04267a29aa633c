//! The page of a step with the messages of real streams.

use std::time::Duration;

use bus::{Headers, Subject};
use bytes::Bytes;
use timeline::extract::Bodies;
use timeline::http::access::Access;
use timeline::row::{IdKind, RowKind};
use tokio::time::Instant;

use crate::stage::{Parts, Stage};
use crate::unmask::gateway;

#[tokio::test]
async fn the_webhook_of_a_stream_that_was_created_again_is_not_that_behind_an_older_event() {
    let gateway = gateway().await;
    let subject = Subject::parse("imchannel.webhook.infobip.sales").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let body = Bytes::from_static(b"{\"results\":[{\"messageId\":\"of-another\"}]}");
    gateway.bus.store(&subject, Headers::new, &body, deadline).await.unwrap();
    let bus = Some(gateway.bus.clone());
    let mut stage = Stage::with(Parts { access: Access::Open, bus, bodies: Bodies::Masked }).await;
    let mut report = stage.row(RowKind::Report, 0);
    report.links = vec![stage.link(IdKind::Stored, "WEBHOOKS/1")];
    stage.store(vec![report]).await;
    let page = String::from_utf8(stage.get("/stored/EVENTS/1").await.body).unwrap();
    assert!(page.contains("is no longer in the stream WEBHOOKS"), "{page}");
    assert!(!page.contains("of-another"), "{page}");
}
