//! Guessing credentials is slowed down: failures are limited per address and channel, and a valid credential is always
//! accepted.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::outbound::{Outbound, UPLOAD_TOKEN};
use crate::harness::{Installation, Program, RunningIngress, TIMEOUT, Webhook, connect_from, eventually};

const BODY: &str = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;
/// Failures of one address for one channel within a minute that are answered without delay.
const AT_ONCE: usize = 10;
/// Failures of one address for all channels within a minute that are answered without delay.
const AT_ONCE_ALL: usize = 100;
/// Delay of the response to a further one.
const DELAY: Duration = Duration::from_secs(2);

/// A client that keeps its connection.
struct Caller(BufReader<TcpStream>);

impl Caller {
    async fn connect(source: [u8; 4], to: SocketAddr) -> Self {
        Self(BufReader::new(connect_from(source, to).await))
    }

    /// Sends a request without a body and reads the head of the response.
    async fn ask(&mut self, request: &[u8]) -> String {
        self.0.write_all(request).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(TIMEOUT, self.0.read_line(&mut head)).await.unwrap().unwrap();
            assert!(read > 0, "the connection ended after {head:?}");
        }
        head
    }

    async fn is_closed(&mut self) -> bool {
        timeout(TIMEOUT, self.0.read(&mut [0])).await.unwrap().unwrap() == 0
    }
}

fn head_of(webhook: Webhook) -> Vec<u8> {
    webhook.head("content-length: 0\r\n")
}

fn wrong() -> Webhook {
    Webhook::infobip("").header("accountkey", "a guess")
}

fn delayed(ingress: &RunningIngress) -> u64 {
    let metrics = ingress.metrics();
    let start = "ingress_limited_total{limit=\"failed_credentials\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(start)).unwrap().parse().unwrap()
}

/// Fails as often as is answered without delay, on one connection, and once more.
async fn fail_until_it_waits(caller: &mut Caller, request: &[u8], unauthorized: &str) {
    for _ in 0..AT_ONCE {
        let answer = caller.ask(request).await;
        assert!(answer.starts_with(unauthorized) && !answer.contains("connection: close"), "{answer}");
    }
    let began = Instant::now();
    let answer = caller.ask(request).await;
    assert!(answer.starts_with(unauthorized) && answer.contains("connection: close"), "{answer}");
    assert!(began.elapsed() >= DELAY, "it waited {:?}", began.elapsed());
    assert!(caller.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_get_slow_and_a_right_credential_never_waits() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let unknown = wrong().to("/social/on/whatsapp/infobip/report/no-such");
    for (number, webhook) in [(5, wrong()), (6, unknown), (7, Webhook::infobip("").without("accountkey"))] {
        let before = delayed(&ingress);
        let mut guesser = Caller::connect([127, 0, 0, number], ingress.address).await;
        fail_until_it_waits(&mut guesser, &head_of(webhook.clone()), "HTTP/1.1 401").await;
        assert_eq!(delayed(&ingress), before + 1);
        // On another connection too.
        let mut guesser = Caller::connect([127, 0, 0, number], ingress.address).await;
        assert!(guesser.ask(&head_of(webhook)).await.contains("connection: close"));
        assert_eq!(delayed(&ingress), before + 2);
        // The valid credential from the same address, for the same channel, is accepted without delay, every time.
        let mut bsp = Caller::connect([127, 0, 0, number], ingress.address).await;
        let began = Instant::now();
        for _ in 0..50 {
            assert!(bsp.ask(&head_of(Webhook::infobip(""))).await.starts_with("HTTP/1.1 200"));
        }
        assert!(began.elapsed() < 10 * DELAY, "it waited {:?}", began.elapsed());
    }
    let before = delayed(&ingress);
    let mut other = Caller::connect([127, 0, 0, 8], ingress.address).await;
    assert!(other.ask(&head_of(wrong())).await.starts_with("HTTP/1.1 401"));
    assert_eq!(delayed(&ingress), before, "another address");
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_channel_every_time_does_not_help() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let mut guesser = Caller::connect([127, 0, 0, 5], ingress.address).await;
    let mut waited = 0;
    for number in 0..=AT_ONCE_ALL {
        let path = format!("/social/on/whatsapp/infobip/report/c-{number}");
        let answer = guesser.ask(&head_of(wrong().to(&path))).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        if answer.contains("connection: close") {
            waited = number;
            break;
        }
    }
    assert_eq!(waited, AT_ONCE_ALL);
    assert_eq!(delayed(&ingress), 1);
    ingress.stop().await;
}

/// Guesses of one caller do not slow another one behind the same proxy.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_callers_address_counts() {
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("trusted-proxies", "127.0.0.1")]).await;
    ingress.until_ready().await;
    let of = |caller: &str| head_of(wrong().header("x-forwarded-for", caller));
    let mut proxy = Caller::connect([127, 0, 0, 1], ingress.address).await;
    fail_until_it_waits(&mut proxy, &of("203.0.113.5"), "HTTP/1.1 401").await;
    let mut proxy = Caller::connect([127, 0, 0, 1], ingress.address).await;
    let answer = proxy.ask(&of("203.0.113.6")).await;
    assert!(!answer.contains("connection: close"), "{answer}");
    assert_eq!(delayed(&ingress), 1);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_where_failed_credentials_come_from() {
    let installation = Installation::start().await;
    for (mode, shown) in [("masked", "127.0.0.x"), ("full", "127.0.0.5"), ("off", "(not shown)")] {
        let variables = [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_LOG_ADDRESSES", mode)];
        let mut program = Program::start("imchannel-ingress", &installation, &variables);
        let address: SocketAddr = program.address_after("accepts webhooks on ").await.parse().unwrap();
        eventually("ingress takes webhooks", || async {
            let answer = Webhook::infobip(BODY).try_post(address).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        let mut guesser = Caller::connect([127, 0, 0, 5], address).await;
        guesser.ask(&head_of(wrong().to("/social/on/whatsapp/infobip/report/no-such"))).await;
        let line = program.line_with("for an unknown channel").await;
        assert!(line.ends_with(&format!("; it came from {shown}")) && !line.contains("no-such"), "{line}");
        guesser.ask(&head_of(wrong())).await;
        let line = program.line_with("the credential does not belong to the channel").await;
        let start = "[IMCHANNEL] [ingress] WARN channel 202105102694809992: rejected a webhook: ";
        assert!(line.starts_with(start) && line.ends_with(&format!("; it came from {shown}")), "{line}");
        for _ in 0..AT_ONCE {
            guesser.ask(&head_of(wrong())).await;
        }
        let line = program.line_with("are delayed by 2 s").await;
        assert!(line.contains(&format!("failed credentials of {shown} are")), "{line}");
        assert!(program.stop().await);
    }
}

/// Tokens of uploads are guessed on media's port.
#[tokio::test(flavor = "multi_thread")]
async fn guessed_tokens_of_uploads_get_slow_too() {
    let outbound = Outbound::start(&[10]).await;
    let redis_url = outbound.redis.url();
    let variables = [
        ("IMCHANNEL_MEDIA_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_REDIS_URL", redis_url.as_str()),
        ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
        ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", UPLOAD_TOKEN),
    ];
    let mut program = Program::start("imchannel-media", &outbound.installation, &variables);
    let files: SocketAddr = program.address_after("accepts and serves files on ").await.parse().unwrap();
    let upload = |token: &str| {
        let head =
            format!("POST /tenant/imchannel/media HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
        format!("{head}content-length: 0\r\n\r\n").into_bytes()
    };
    let mut guesser = Caller::connect([127, 0, 0, 5], files).await;
    fail_until_it_waits(&mut guesser, &upload("a-guess-of-a-stranger"), "HTTP/1.1 401").await;
    let line = program.line_with("missing or wrong token").await;
    assert!(line.contains("; it came from 127.0.0.x"), "{line}");
    let mut back_end = Caller::connect([127, 0, 0, 5], files).await;
    let began = Instant::now();
    for _ in 0..20 {
        // The token is valid; the rest of the request is not.
        let answer = back_end.ask(&upload(UPLOAD_TOKEN)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(began.elapsed() < 5 * DELAY, "it waited {:?}", began.elapsed());
    assert!(program.stop().await);
}
