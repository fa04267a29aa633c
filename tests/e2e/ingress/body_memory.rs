//! Memory for bodies is reserved as their bytes arrive, and one channel cannot use the memory of the others.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Installation, RunningIngress, TIMEOUT, Webhook, eventually};

const BODY: &str = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;
const KOOMESSAGE_BODY: &str = r#"{"sender":"861","user_number":"862","message_id":"m-1","status":"read"}"#;
/// The largest body, in bytes.
const LARGEST: usize = 983_040;
/// With bodies of the largest size: one more than the memory for bodies has room for.
const CONNECTIONS: usize = 69;

/// Begins a webhook of Infobip's channel: its head, and the first `sent` of `announced` bytes.
async fn begin(ingress: SocketAddr, announced: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(ingress).await.unwrap();
    let head = Webhook::infobip("").head(&format!("content-length: {announced}\r\n"));
    stream.write_all(&[head, vec![b' '; sent]].concat()).await.unwrap();
    stream
}

async fn until(ingress: &RunningIngress, line: &str) {
    eventually(line, || async { ingress.metrics().contains(&format!("{line}\n")).then_some(()) }).await;
}

async fn status(ingress: &RunningIngress, webhook: Webhook) -> u16 {
    webhook.post(ingress.address).await.status.as_u16()
}

fn gauge(ingress: &RunningIngress, name: &str) -> usize {
    let metrics = ingress.metrics();
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_only_announced_take_no_memory_from_others() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS {
        slow.push(begin(ingress.address, LARGEST, 1).await);
    }
    until(&ingress, &format!("ingress_requests_in_flight {CONNECTIONS}")).await;
    assert_eq!(status(&ingress, Webhook::koomessage(KOOMESSAGE_BODY)).await, 200, "another channel");
    assert_eq!(status(&ingress, Webhook::infobip(BODY)).await, 200, "the same channel");
    let held = gauge(&ingress, "ingress_body_memory_bytes ");
    assert!(held <= CONNECTIONS * 16 * 1024, "{CONNECTIONS} bytes hold {held}");
    drop(slow);
    until(&ingress, "ingress_body_memory_bytes 0").await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_channel_takes_more_than_its_share_of_the_memory_for_bodies() {
    let installation = Installation::start().await;
    // A quarter is 2,000,000: two bodies of the largest size.
    let ingress = installation.ingress_with(&[("body-memory", "8000000B")]).await;
    ingress.until_ready().await;
    let mut large = Vec::new();
    for _ in 0..2 {
        large.push(begin(ingress.address, LARGEST, LARGEST - 1).await);
    }
    let held = format!("ingress_channel_body_memory_bytes{{channel=\"202105102694809992\"}} {}", 2 * LARGEST);
    until(&ingress, &held).await;
    let more = vec![b' '; 600_000];
    assert_eq!(status(&ingress, Webhook::infobip(more.clone())).await, 503, "beyond the share");
    assert_eq!(status(&ingress, Webhook::koomessage(more.clone())).await, 200, "another channel");
    let refused = "ingress_channel_refused_total{bsp=\"infobip\",channel=\"202105102694809992\",outcome=\"channel_overloaded\",cause=\"channel_overloaded\"} 1\n";
    assert!(ingress.metrics().contains(refused), "{}", ingress.metrics());
    for mut stream in large {
        stream.write_all(b" ").await.unwrap();
        let mut answer = [0; 12];
        timeout(TIMEOUT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert_eq!(status(&ingress, Webhook::infobip(more)).await, 200, "the share is free again");
    ingress.stop().await;
}

/// Many bodies with a very small announced length use connections and permits instead of bytes.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_end_use_up_their_own_channels_share_only() {
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("body-memory", "8000000B")]).await;
    ingress.until_ready().await;
    // A quarter has room for 122 unfinished bodies.
    let mut slow = Vec::new();
    for _ in 0..122 {
        slow.push(begin(ingress.address, 2, 1).await);
    }
    until(&ingress, "ingress_requests_in_flight 122").await;
    assert_eq!(status(&ingress, Webhook::infobip(BODY)).await, 503, "beyond the share");
    assert_eq!(status(&ingress, Webhook::koomessage(KOOMESSAGE_BODY)).await, 200, "another channel");
    drop(slow);
    until(&ingress, "ingress_requests_in_flight 0").await;
    assert_eq!(status(&ingress, Webhook::infobip(BODY)).await, 200, "the share is free again");
    ingress.stop().await;
}
