//! Posts webhooks: like a BSP, and byte by byte for requests that a normal client cannot send.

use std::net::SocketAddr;
use std::sync::OnceLock;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A webhook to post, with the credentials of the example channels.
#[derive(Clone)]
pub(crate) struct Webhook {
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Webhook {
    /// The same webhook with other bytes at its end, so that the stream does not recognize it as a duplicate.
    pub(crate) fn repeated(&self) -> Self {
        let end: &[u8] = if self.body.starts_with(b"{") { b" " } else { b"&Repeat=1" };
        Self { body: [&self.body, end].concat(), path: self.path.clone(), headers: self.headers.clone() }
    }

    pub(crate) fn infobip(body: impl Into<Vec<u8>>) -> Self {
        let webhook = Self::new("/social/on/whatsapp/infobip/report/202105102694809992", body);
        webhook
            .header("accountkey", "infobip-secret")
            .header("content-type", "application/json; charset=utf-8")
    }

    pub(crate) fn koomessage(body: impl Into<Vec<u8>>) -> Self {
        let webhook = Self::new("/social/on/whatsapp/koomessage/report/koomessage-demo", body);
        webhook
            .header("authorization", "koomessage-secret")
            .header("content-type", "application/json; charset=UTF-8")
    }

    pub(crate) fn gupshup(body: impl Into<Vec<u8>>) -> Self {
        let webhook = Self::new("/social/on/whatsapp/gupshup/message/gupshup-demo", body);
        webhook.header("authorization", "gupshup-secret").header("content-type", "application/json")
    }

    pub(crate) fn twilio(body: impl Into<Vec<u8>>) -> Self {
        let webhook = Self::new("/social/on/whatsapp/twilio/report/twilio-demo", body);
        // twilio-user:twilio-secret
        webhook
            .header("authorization", "basic dHdpbGlvLXVzZXI6dHdpbGlvLXNlY3JldA==")
            .header("content-type", "application/x-www-form-urlencoded")
    }

    fn new(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), headers: HeaderMap::new(), body: body.into() }
    }

    pub(crate) fn to(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Posts it.
    pub(crate) async fn post(&self, ingress: SocketAddr) -> Answer {
        self.try_post(ingress).await.unwrap()
    }

    /// Posts it; the connection may be closed.
    pub(crate) async fn try_post(&self, ingress: SocketAddr) -> reqwest::Result<Answer> {
        self.send("POST", ingress).await
    }

    /// Sends it with another method.
    pub(crate) async fn send(&self, method: &str, ingress: SocketAddr) -> reqwest::Result<Answer> {
        let url = format!("http://{ingress}{}", self.path);
        let request = client().request(method.parse().unwrap(), url).headers(self.headers.clone());
        let response = request.body(self.body.clone()).send().await?;
        let (status, mut headers) = (response.status(), response.headers().clone());
        headers.remove("date");
        Ok(Answer { status, headers, body: response.text().await? })
    }

    /// The head as bytes, with these additional lines.
    pub(crate) fn head(&self, more: &str) -> Vec<u8> {
        let mut head = format!("POST {} HTTP/1.1\r\nhost: gateway\r\n", self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        head.push_str(more);
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        service::process::install_crypto_provider();
        // Each test has a separate runtime, and a pooled connection does not survive its end.
        reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().unwrap()
    })
}

/// Writes pieces one after the other, each as a separate packet, and reads the response to its end.
pub(crate) async fn raw_request(ingress: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(ingress).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        // A server that has responded and closed may refuse the rest.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection from an address of this machine's loopback network.
pub(crate) async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    tokio::time::timeout(super::TIMEOUT, socket.connect(to)).await.unwrap().unwrap()
}
