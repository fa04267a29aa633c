//! Uploads to media, commands to Redis, and copies of folders.

use std::path::Path;

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use servers::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::outbound::{Outbound, TENANT, UPLOAD_TOKEN};

/// A client that ignores the proxy settings of the machine.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// Bytes that differ at every position.
pub(crate) fn bytes(head: &[u8], count: usize) -> Vec<u8> {
    let mut all = head.to_vec();
    all.extend((head.len()..count).map(|at| (at * 31 + at / 251) as u8));
    all
}

/// An upload to channel-0, not sent yet.
pub(crate) fn upload(
    media: &str,
    kind: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> reqwest::RequestBuilder {
    client()
        .post(format!("{media}/{TENANT}/imchannel/media?channel=channel-0&kind={kind}"))
        .bearer_auth(UPLOAD_TOKEN)
        .header("content-type", content_type)
        .body(body)
}

/// Uploads a file; returns the response.
pub(crate) async fn stored(media: &str, kind: &str, content_type: &str, body: Vec<u8>) -> Value {
    let answer = upload(media, kind, content_type, body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_folder(&file.path(), &to);
        } else {
            std::fs::copy(file.path(), to).unwrap();
        }
    }
}

/// A header of a response; empty if it has none.
pub(crate) fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// Sends one command to Redis; returns the text of the response.
pub(crate) async fn redis(outbound: &Outbound, command: &[&[u8]]) -> String {
    redis_at(&outbound.redis, command).await
}

/// The same to any server.
pub(crate) async fn redis_at(server: &RedisServer, command: &[&[u8]]) -> String {
    let address = server.url().replace("redis://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        request.extend_from_slice(part);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"*1\r\n$4\r\nQUIT\r\n");
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn status(request: reqwest::RequestBuilder) -> u16 {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    if status == 415 {
        assert_eq!(header(&answer, "content-type"), "application/problem+json");
        let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], 415);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    } else if status >= 400 {
        assert!(answer.bytes().await.unwrap().is_empty(), "an answer {status} with a body");
    }
    status
}
