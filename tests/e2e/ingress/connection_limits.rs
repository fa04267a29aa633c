//! Connections of strangers: the limit per address, which one is closed when the table is full, and how requests
//! through a proxy are assigned to callers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::outbound::{Outbound, UPLOAD_TOKEN};
use crate::harness::{
    Installation, Program, RunningIngress, TIMEOUT, Webhook, binary, connect_from, eventually,
};

const BODY: &str = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;
/// Much less than the timeout of an idle connection or of a head.
const SOON: Duration = Duration::from_secs(5);

/// `each` connections of each of `addresses` addresses.
async fn connect_from_many(addresses: u8, each: usize, to: SocketAddr) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for last in 1..=addresses {
        for _ in 0..each {
            streams.push(connect_from([127, 0, 1, last], to).await);
        }
    }
    streams
}

/// Whether the other side has closed it.
fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

async fn until_closed(streams: &[TcpStream], count: usize) {
    eventually("the others are closed", || async {
        (streams.iter().filter(|stream| is_closed(stream)).count() == count).then_some(())
    })
    .await;
}

fn limited(ingress: &RunningIngress, limit: &str) -> u64 {
    let metrics = ingress.metrics();
    let start = format!("ingress_limited_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

/// Posts a webhook, which must be stored soon.
async fn expect_stored_soon(webhook: &Webhook, ingress: SocketAddr) {
    let answer = timeout(SOON, webhook.post(ingress)).await.expect("the webhook waits");
    assert_eq!(answer.status, 200);
}

async fn small_ingress(installation: &Installation, more: &[(&'static str, &str)]) -> RunningIngress {
    let ingress = installation.ingress_with(&[&[("connections-max", "100")], more].concat()).await;
    ingress.until_ready().await;
    ingress
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_make_a_webhook_wait() {
    let installation = Installation::start().await;
    let ingress = small_ingress(&installation, &[]).await;
    // A webhook in progress keeps its permit.
    let mut on_its_way = connect_from([127, 0, 0, 9], ingress.address).await;
    let head = Webhook::infobip("").head(&format!("content-length: {}\r\n", BODY.len()));
    on_its_way.write_all(&[&head, &BODY.as_bytes()[..9]].concat()).await.unwrap();
    eventually("it is admitted", || async {
        ingress.metrics().contains("ingress_requests_in_flight 1\n").then_some(())
    })
    .await;
    let idle = connect_from_many(40, 10, ingress.address).await;
    expect_stored_soon(&Webhook::infobip(BODY), ingress.address).await;
    // The oldest were closed first.
    until_closed(&idle[..200], 200).await;
    assert!(limited(&ingress, "longest_idle") >= 300, "{}", ingress.metrics());
    assert!(ingress.context.readiness.is_ready());
    on_its_way.write_all(&BODY.as_bytes()[9..]).await.unwrap();
    let mut answer = [0; 12];
    timeout(TIMEOUT, on_its_way.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    ingress.stop().await;
}

/// The body of a refused request is drained for two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_keep_no_place() {
    let installation = Installation::start().await;
    let ingress = small_ingress(&installation, &[]).await;
    let refused = Webhook::infobip("").header("accountkey", "wrong").head("content-length: 1000\r\n");
    eventually("a place is taken from a refused request", || async {
        let mut streams = connect_from_many(10, 10, ingress.address).await;
        for stream in &mut streams {
            let _ = stream.write_all(&refused).await;
        }
        expect_stored_soon(&Webhook::infobip(BODY), ingress.address).await;
        (limited(&ingress, "longest_idle") > 0).then_some(())
    })
    .await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_a_tenth_of_the_connections() {
    let installation = Installation::start().await;
    let ingress = small_ingress(&installation, &[]).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(connect_from([127, 0, 0, 2], ingress.address).await);
    }
    until_closed(&streams, 40).await;
    assert_eq!(limited(&ingress, "connections_of_address"), 40);
    assert!(ingress.metrics().contains("ingress_connections 10\n"), "{}", ingress.metrics());
    let other = connect_from([127, 0, 0, 3], ingress.address).await;
    expect_stored_soon(&Webhook::infobip(BODY), ingress.address).await;
    assert!(!is_closed(&other) && limited(&ingress, "connections_of_address") == 40);
    // An address that closes connections may open others.
    drop(streams);
    eventually("the address may connect again", || async {
        ingress.metrics().contains("ingress_connections 1\n").then_some(())
    })
    .await;
    let mut again = connect_from([127, 0, 0, 2], ingress.address).await;
    let head = Webhook::infobip("").head("content-length: 0\r\n");
    again.write_all(&head).await.unwrap();
    let mut answer = [0; 12];
    timeout(TIMEOUT, again.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    ingress.stop().await;
}

/// Webhooks of callers behind a proxy, which may open any number of connections.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_requests_of_each_caller_are_limited() {
    let installation = Installation::start().await;
    let ingress = small_ingress(&installation, &[("trusted-proxies", "127.0.0.1, 10.0.0.0/8")]).await;
    // Begins a webhook whose body does not end.
    let begin = async |forwarded: &str| {
        let mut stream = connect_from([127, 0, 0, 1], ingress.address).await;
        let head = Webhook::infobip("").header("x-forwarded-for", forwarded).head("content-length: 2\r\n");
        stream.write_all(&[&head[..], b" "].concat()).await.unwrap();
        stream
    };
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(begin("203.0.113.5, 10.9.9.9").await);
    }
    eventually("ten are in flight", || async {
        ingress.metrics().contains("ingress_requests_in_flight 10\n").then_some(())
    })
    .await;
    let webhook = |forwarded: &str| Webhook::infobip(BODY).header("x-forwarded-for", forwarded);
    // Entries of the caller before the proxy's own entry are ignored.
    for forwarded in ["203.0.113.5", "198.51.100.1, 203.0.113.5", "127.0.0.1, 203.0.113.5, 10.1.1.1"] {
        let answer = webhook(forwarded).post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), 503, "{forwarded}");
        assert_eq!(answer.body.as_str(), "", "{forwarded}");
        assert_eq!(answer.headers["retry-after"], "5");
    }
    assert_eq!(limited(&ingress, "requests_of_address"), 3);
    for forwarded in ["203.0.113.6", "203.0.113.5, 203.0.113.6"] {
        expect_stored_soon(&webhook(forwarded), ingress.address).await;
    }
    // Other senders of the header are not trusted.
    let mut other = connect_from([127, 0, 0, 2], ingress.address).await;
    other.write_all(&webhook("203.0.113.5").head("content-length: 0\r\n")).await.unwrap();
    let mut answer = [0; 12];
    timeout(TIMEOUT, other.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(held);
    eventually("the caller's requests have ended", || async {
        (webhook("203.0.113.5").post(ingress.address).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(limited(&ingress, "connections_of_address"), 0);
    ingress.stop().await;
}

async fn get(path: &str, address: SocketAddr) -> String {
    let mut stream = connect_from([127, 0, 0, 1], address).await;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    answer
}

/// Neither if the process has used all file descriptors, nor by the connections of the admin port itself.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_does_not_depend_on_strangers() {
    let installation = Installation::start().await;
    let ingress = binary("imchannel-ingress");
    let args = ["--nofile=600:600", ingress.to_str().unwrap()];
    let variables = [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")];
    let url = installation.nats.url();
    let mut program = Program::start_with_args("/usr/bin/prlimit", &url, &args, &variables);
    let admin: SocketAddr = program.address_after("probes and metrics on ").await.parse().unwrap();
    let webhooks: SocketAddr = program.address_after("accepts webhooks on ").await.parse().unwrap();
    eventually("ingress is ready", || async {
        get("/ready", admin).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    let mut idle = connect_from_many(70, 10, webhooks).await;
    idle.extend(connect_from_many(30, 10, admin).await);
    for _ in 0..20 {
        let answer = get("/ready", admin).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        expect_stored_soon(&Webhook::infobip(BODY), webhooks).await;
    }
    let line = program.line_with("closed the connection that was idle for longest").await;
    assert!(
        line.starts_with("[IMCHANNEL] [http] WARN closed the connection")
            && line.contains(": 108 connections are open"),
        "{line}"
    );
    for _ in 0..20 {
        idle.push(connect_from([127, 0, 3, 77], webhooks).await);
    }
    let line = program.line_with("closed a connection of ").await;
    assert!(
        line.contains("closed a connection of 127.0.3.x: the address has 10 open connections ("),
        "{line}"
    );
    assert!(program.stop().await);
}

/// The port of files has the same limits.
#[tokio::test(flavor = "multi_thread")]
async fn media_limits_callers_too() {
    let outbound = Outbound::start(&[10]).await;
    let redis_url = outbound.redis.url();
    let variables = [
        ("IMCHANNEL_MEDIA_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_REDIS_URL", redis_url.as_str()),
        ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
        ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", UPLOAD_TOKEN),
        ("IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX", "5"),
        ("IMCHANNEL_LOG_ADDRESSES", "full"),
    ];
    let mut program = Program::start("imchannel-media", &outbound.installation, &variables);
    let admin: SocketAddr = program.address_after("probes and metrics on ").await.parse().unwrap();
    let files: SocketAddr = program.address_after("accepts and serves files on ").await.parse().unwrap();
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(connect_from([127, 0, 0, 2], files).await);
    }
    until_closed(&streams, 3).await;
    let line = program.line_with("closed a connection of ").await;
    assert!(
        line.contains("closed a connection of 127.0.0.2: the address has 5 open connections ("),
        "{line}"
    );
    let metrics = get("/metrics", admin).await;
    assert!(
        metrics.contains("imchannel_media_limited_total{limit=\"connections_of_address\"} 3\n"),
        "{metrics}"
    );
    let answer = get("/nothing", files).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(program.stop().await);
}
