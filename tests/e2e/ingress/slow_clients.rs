//! Slow and broken senders affect only their own connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::{Installation, TIMEOUT, Webhook, eventually};

const BODY: &str = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;

/// Writes one byte at a time until the server stops; returns the response.
async fn trickle(stream: TcpStream, bytes: &[u8]) -> String {
    let (mut reader, mut writer) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    });
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for byte in bytes.iter().cycle() {
        pace.tick().await;
        if reading.is_finished() || writer.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    timeout(TIMEOUT, reading).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_answered_408() {
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("body-timeout", "500ms")]).await;
    ingress.until_ready().await;
    let mut stream = TcpStream::connect(ingress.address).await.unwrap();
    stream.write_all(&Webhook::infobip(BODY).head("content-length: 100000\r\n")).await.unwrap();
    let answer = timeout(TIMEOUT, trickle(stream, b" ")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
    assert_eq!(installation.webhooks().await.len(), 0);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_loses_its_connection_and_an_idle_one_does_not() {
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("header-timeout", "500ms")]).await;
    ingress.until_ready().await;
    let webhook = Webhook::infobip(BODY);
    let head = webhook.head(&format!("content-length: {}\r\n", BODY.len()));

    // Idle before its first request and between two, each time longer than the timeout of a head.
    let mut idle = TcpStream::connect(ingress.address).await.unwrap();
    let began = Instant::now();
    let trickled = TcpStream::connect(ingress.address).await.unwrap();
    let answer = timeout(TIMEOUT, trickle(trickled, b"POST / HTTP/1.1\r\nx: ")).await.unwrap();
    assert!(!answer.contains("200"), "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(500));
    for _ in 0..2 {
        idle.write_all(&[&head, BODY.as_bytes()].concat()).await.unwrap();
        let mut answer = [0; 12];
        timeout(TIMEOUT, idle.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let trickled = TcpStream::connect(ingress.address).await.unwrap();
        timeout(TIMEOUT, trickle(trickled, b"GET /")).await.unwrap();
        let mut rest = [0; 512];
        let _ = idle.try_read(&mut rest);
    }
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_not_stored() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let webhook = Webhook::infobip(BODY);
    let mut stream = TcpStream::connect(ingress.address).await.unwrap();
    let head = webhook.head(&format!("content-length: {}\r\n", BODY.len() + 1));
    stream.write_all(&[&head, BODY.as_bytes()].concat()).await.unwrap();
    // The sender is done sending; once the server has closed too, it has finished the webhook.
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(TIMEOUT, stream.read_to_end(&mut answer)).await.unwrap();
    // The next one is accepted, and it is the only one.
    let next = Webhook::infobip(format!("{BODY}\n"));
    eventually("the next is taken", || async {
        (next.post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    let stored = installation.webhooks().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(&stored[0].payload[..], next.body());
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_webhook_in_progress_have_its_answer() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let address = ingress.address;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The permission to send the body shows that the head has arrived and was admitted.
    let head =
        Webhook::infobip(BODY).head(&format!("expect: 100-continue\r\ncontent-length: {}\r\n", BODY.len()));
    stream.write_all(&head).await.unwrap();
    let mut permission = [0; 25];
    timeout(TIMEOUT, stream.read_exact(&mut permission)).await.unwrap().unwrap();
    assert_eq!(&permission, b"HTTP/1.1 100 Continue\r\n\r\n");
    let stopping = tokio::spawn(ingress.stop());
    eventually("no new connection is taken", || async {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    assert!(!stopping.is_finished(), "ingress did not wait for the webhook in progress");
    stream.write_all(BODY.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(TIMEOUT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    timeout(TIMEOUT, stopping).await.unwrap().unwrap();
    assert_eq!(installation.webhooks().await.len(), 1);
}

/// In any state: also one whose request was still arriving at its timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_left_idle_is_closed() {
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("idle-timeout", "1s")]).await;
    ingress.until_ready().await;
    let webhook = Webhook::infobip(BODY);
    let head = webhook.head(&format!("content-length: {}\r\n", BODY.len()));
    let (first_half, second_half) = BODY.as_bytes().split_at(20);

    let silent = TcpStream::connect(ingress.address).await.unwrap();
    let mut served = TcpStream::connect(ingress.address).await.unwrap();
    served.write_all(&[&head, BODY.as_bytes()].concat()).await.unwrap();
    let mut straddling = TcpStream::connect(ingress.address).await.unwrap();
    straddling.write_all(&[&head, first_half].concat()).await.unwrap();
    // Longer than a connection may be idle; this one is not idle.
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(1300), straddling.read(&mut byte)).await.is_err());
    straddling.write_all(second_half).await.unwrap();

    for (name, mut stream, answers) in
        [("silent", silent, 0), ("served", served, 1), ("straddling", straddling, 1)]
    {
        let mut said = Vec::new();
        let closed = timeout(Duration::from_secs(10), stream.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "{name} is still open");
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(said.matches("HTTP/1.1 200").count(), answers, "{name}: {said}");
    }
    ingress.stop().await;
}
