//! Clients that do not read responses, or send invalid HTTP, use little memory and do not affect others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::outbound::{Outbound, UPLOAD_TOKEN};
use crate::harness::{Installation, Program, TIMEOUT, Webhook, eventually, exclusive};

const MIB: u64 = 1024 * 1024;
const BODY: &str = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;
/// Connections that send and do not read.
const LAZY: usize = 5;
/// More than the kernel buffers of both directions.
const WRITTEN_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A write that takes longer than this is blocked.
const STALL: Duration = Duration::from_secs(2);
/// Memory that such connections may use in a program, in bytes; in a debug build, with its allocator's reserves.
const GROWTH_BYTES_MAX: u64 = 12 * MIB;

/// A program, the address of one of its ports, and a request that any client may send there.
struct Port {
    program: Program,
    address: String,
    request: Vec<u8>,
}

/// Ingress, and the request of a stranger.
async fn ingress(installation: &Installation) -> Port {
    let variables = [
        ("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_IDLE_TIMEOUT", "4s"),
        ("IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX", "1000"),
    ];
    let mut program = Program::start("imchannel-ingress", installation, &variables);
    let address = program.address_after("accepts webhooks on ").await;
    let webhook = Webhook::infobip("");
    eventually("ingress takes webhooks", || async {
        (webhook.try_post(address.parse().unwrap()).await.ok()?.status == 200).then_some(())
    })
    .await;
    let request = webhook.to("/of/a/stranger").head("content-length: 0\r\n");
    Port { program, address, request }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n").into_bytes()
}

async fn media(outbound: &Outbound) -> Port {
    let redis_url = outbound.redis.url();
    let variables = [
        ("IMCHANNEL_MEDIA_LISTEN", "127.0.0.1:0"),
        ("IMCHANNEL_REDIS_URL", redis_url.as_str()),
        ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
        ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", UPLOAD_TOKEN),
    ];
    let mut program = Program::start("imchannel-media", &outbound.installation, &variables);
    let address = program.address_after("accepts and serves files on ").await;
    Port { program, address, request: get("/nothing") }
}

async fn admin(installation: &Installation) -> Port {
    let mut program = Program::start("imchannel-normalizer", installation, &[]);
    let address = program.address_after("probes and metrics on ").await;
    Port { program, address, request: get("/metrics") }
}

/// Writes requests one after the other without reading, until a write blocks.
async fn write_until_it_stalls(address: String, request: Vec<u8>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let many = request.repeat(64 * 1024 / request.len());
    let mut written = 0;
    while written < WRITTEN_BYTES_MAX {
        match timeout(STALL, stream.write(&many[written % many.len()..])).await {
            Ok(count) => written += count.expect("cut off before it had stalled"),
            Err(_) => return stream,
        }
    }
    panic!("requests are taken without end");
}

/// Runs clients that write without reading, and checks the memory of the program.
async fn flood(port: &Port) -> Vec<TcpStream> {
    let (before, _) = port.program.resident_bytes();
    let mut writing = JoinSet::new();
    for _ in 0..LAZY {
        writing.spawn(write_until_it_stalls(port.address.clone(), port.request.clone()));
    }
    let streams = timeout(TIMEOUT, writing.join_all()).await.expect("requests are taken without end");
    let (_, most) = port.program.resident_bytes();
    let growth = most.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{LAZY} connections took {} KiB", growth / 1024);
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_reads_no_answers_holds_little_memory_and_is_cut_off() {
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    let port = ingress(&installation).await;
    let streams = flood(&port).await;
    // Others are served during that time.
    assert_eq!(Webhook::infobip(BODY).post(port.address.parse().unwrap()).await.status, 200);
    for mut stream in streams {
        let cut_off = eventually("the stranger is cut off", || async {
            stream
                .try_write(&[b'x'; 1024])
                .err()
                .filter(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        });
        timeout(TIMEOUT, cut_off).await.unwrap();
        let _ = stream.shutdown().await;
    }
    assert_eq!(Webhook::infobip(BODY).post(port.address.parse().unwrap()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_media_and_of_the_admin_port_are_bounded_too() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[10]).await;
    flood(&media(&outbound).await).await;
    flood(&admin(&outbound.installation).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_never_end_hold_little_memory() {
    const CONNECTIONS: usize = 1000;
    const HEAD_BYTES_MAX: u64 = 16 * 1024;
    /// Beside its head: buffers, the task, the socket.
    const CONNECTION_BYTES_MAX: u64 = 40 * 1024;
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    let port = ingress(&installation).await;
    let (before, _) = port.program.resident_bytes();
    let head =
        [b"POST / HTTP/1.1\r\n".to_vec(), format!("x: {}\r\n", "y".repeat(1000)).repeat(60).into_bytes()];
    let head = head.concat();
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&port.address).await.unwrap();
        stream.write_all(&head).await.unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut answer = [0; 12];
        timeout(TIMEOUT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
    let (_, most) = port.program.resident_bytes();
    let each = most.saturating_sub(before) / CONNECTIONS as u64;
    assert!(each < HEAD_BYTES_MAX + CONNECTION_BYTES_MAX, "{each} bytes a connection");
}

/// Sends bytes and reads to the end of the connection, which must be closed properly.
async fn say(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    timeout(TIMEOUT, stream.read_to_string(&mut answer)).await.unwrap().expect("an end in order");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_answered_400_on_every_port() {
    let installation = Installation::start().await;
    let outbound = Outbound::start(&[10]).await;
    let ports = [ingress(&installation).await, media(&outbound).await, admin(&installation).await];
    for port in ports {
        for junk in ["NONSENSE\r\n\r\n", "POST / HTTP/1.1\r\nno colon\r\n\r\n", "\u{1}\u{2}\u{3}\r\n\r\n"] {
            let answer = say(&port.address, junk.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{junk:?} was answered {answer:?}");
        }
        // The requests before it get their responses first.
        let answers =
            say(&port.address, &[&port.request[..], &port.request, b"NONSENSE\r\n\r\n"].concat()).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 3, "{answers}");
        assert!(answers.rsplit("HTTP/1.1 ").next().unwrap().starts_with("400 "), "{answers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_stored_webhook_is_not_lost_when_junk_follows() {
    let installation = Installation::start().await;
    let port = ingress(&installation).await;
    let stored_before = installation.webhooks().await.len();
    // Also with more invalid bytes than are read: unread bytes in a socket would reset the connection when it is
    // closed.
    for (round, junk) in
        [b"\r\nNONSENSE\r\n\r\n".to_vec(), b"NONSENSE\r\n\r\n".repeat(20_000)].iter().enumerate()
    {
        let body = format!("{BODY}{}", " ".repeat(round));
        let webhook = Webhook::infobip(body.clone());
        let head = webhook.head(&format!("content-length: {}\r\n", body.len()));
        let answers = say(&port.address, &[&head, body.as_bytes(), junk].concat()).await;
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "400"], "{answers}");
        assert_eq!(installation.webhooks().await.len(), stored_before + round + 1);
    }
}
