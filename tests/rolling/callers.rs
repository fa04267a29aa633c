//! Behind haproxy each caller has a separate limit by its address, which the proxy writes into `X-Forwarded-For`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Installation, TIMEOUT, Webhook, connect_from, eventually};
use crate::proxy::{Place, Proxy};

/// Requests of one address that may be in flight at an instance.
const IN_FLIGHT: usize = 5;

/// Begins a webhook without its last byte. The caller's own header is ignored.
async fn begin(source: [u8; 4], proxy: SocketAddr) -> TcpStream {
    let mut stream = connect_from(source, proxy).await;
    let head = Webhook::infobip("").header("x-forwarded-for", "203.0.113.5").head("content-length: 2\r\n");
    stream.write_all(&[&head[..], b" "].concat()).await.unwrap();
    stream
}

async fn status(stream: &mut TcpStream) -> String {
    let mut answer = [0; 12];
    timeout(TIMEOUT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

async fn in_progress(place: &Place) -> Option<String> {
    let metrics = reqwest::get(format!("http://{}/metrics", place.admin)).await.ok()?.text().await.ok()?;
    let start = "imchannel_ingress_requests_in_flight ";
    metrics.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_behind_haproxy_has_its_own_limit() {
    service::process::install_crypto_provider();
    let installation = Installation::start().await;
    let places = [Place::new("a")];
    let proxy = Proxy::start(installation.folder(), &places);
    let limit = IN_FLIGHT.to_string();
    let variables = [("IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX", limit.as_str())];
    let _ingress = places[0].ingress_with("imchannel-ingress", &installation, &variables);
    proxy.until(&places[0], true).await;

    let mut held = Vec::new();
    for _ in 0..IN_FLIGHT {
        held.push(begin([127, 0, 0, 2], proxy.webhooks).await);
    }
    eventually("they are in flight", || async { (in_progress(&places[0]).await? == limit).then_some(()) })
        .await;
    assert_eq!(
        status(&mut begin([127, 0, 0, 2], proxy.webhooks).await).await,
        "503",
        "one more of the caller"
    );
    let mut other = begin([127, 0, 0, 3], proxy.webhooks).await;
    for stream in held.iter_mut().chain([&mut other]) {
        stream.write_all(b" ").await.unwrap();
        assert_eq!(status(stream).await, "200");
    }
}
