//! The baseline programs: they do only the necessary work, with the same libraries and the same allocator. They use the
//! streams RAW and OUT.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, StorageType};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt;
use redis::AsyncCommands as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::net::TcpListener;

use crate::bench_channel::{CHANNEL, PASSWORD};

/// Stream of the raw messages.
pub(crate) const RAW: &str = "RAW";
/// Stream of the results.
pub(crate) const OUT: &str = "OUT";
/// Durable consumer of the bare loop.
pub(crate) const DURABLE: &str = "w";

/// Limit of each stream, in bytes.
const MAX_BYTES: i64 = 4 << 30;
/// Most messages of one pull.
const BATCH: usize = 2000;
/// Most messages in progress.
const AT_ONCE: usize = 1024;
/// Timeout of a response of Redis. The client's default of half a second is too short for large files on one connection.
const REDIS_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Receiver {
    jetstream: jetstream::Context,
    passwords: Arc<HashMap<&'static str, &'static [u8]>>,
}

async fn connect(nats_url: &str) -> anyhow::Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(nats_url).await?))
}

async fn stream(
    jetstream: &jetstream::Context,
    name: &str,
    subjects: &str,
) -> anyhow::Result<jetstream::stream::Stream> {
    let config = Config {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        storage: StorageType::File,
        max_bytes: MAX_BYTES,
        ..Config::default()
    };
    Ok(jetstream.get_or_create_stream(config).await?)
}

/// Creates both streams.
pub(crate) async fn make_streams(nats_url: &str) -> anyhow::Result<()> {
    let jetstream = connect(nats_url).await?;
    stream(&jetstream, RAW, "raw.>").await?;
    stream(&jetstream, OUT, "out.>").await?;
    Ok(())
}

/// Receives until the process is killed.
pub(crate) async fn serve(listen: SocketAddr, nats_url: &str) -> anyhow::Result<()> {
    let jetstream = connect(nats_url).await?;
    let passwords = Arc::new(HashMap::from([(CHANNEL, PASSWORD.as_bytes())]));
    let router = Router::new()
        .route("/js/{bsp}/{channel}", post(receive))
        .with_state(Receiver { jetstream, passwords });
    axum::serve(TcpListener::bind(listen).await?, router).await?;
    Ok(())
}

async fn receive(
    State(receiver): State<Receiver>,
    Path((bsp, channel)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let presented = headers.get("accountkey").map(|value| value.as_bytes());
    if presented.is_none() || presented != receiver.passwords.get(channel.as_str()).copied() {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(sent) = receiver.jetstream.publish(format!("raw.{bsp}.{channel}"), body).await else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    if sent.await.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Serves values of Redis until the process is killed.
pub(crate) async fn media(listen: SocketAddr, redis_url: &str) -> anyhow::Result<()> {
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(REDIS_TIMEOUT));
    let client = redis::Client::open(redis_url)?;
    let connection = client.get_connection_manager_with_config(config).await?;
    let router =
        Router::new().route("/{tenant}/imchannel/{route}/{id}", get(serve_file)).with_state(connection);
    axum::serve(TcpListener::bind(listen).await?, router).await?;
    Ok(())
}

async fn serve_file(
    State(mut connection): State<ConnectionManager>,
    Path((_, _, id)): Path<(String, String, String)>,
) -> Result<Vec<u8>, StatusCode> {
    let key = format!("IMChannel:MultimediaMessage:{id}");
    let value: redis::RedisResult<Option<Vec<u8>>> = connection.get(key).await;
    value.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?.ok_or(StatusCode::NOT_FOUND)
}

/// Processes stream RAW until the process is killed.
pub(crate) async fn normalize(nats_url: &str) -> anyhow::Result<()> {
    let jetstream = connect(nats_url).await?;
    let config = pull::Config {
        durable_name: Some(DURABLE.to_owned()),
        max_ack_pending: 20_000,
        ..pull::Config::default()
    };
    let consumer = jetstream.get_stream(RAW).await?.get_or_create_consumer(DURABLE, config).await?;
    let messages = consumer.stream().max_messages_per_batch(BATCH).messages().await?;
    let work = messages.map(|message| {
        let jetstream = jetstream.clone();
        async move {
            let message = message?;
            let parsed: serde_json::Value = serde_json::from_slice(&message.payload)?;
            std::hint::black_box(&parsed);
            jetstream.publish("out.infobip.x", message.payload.clone()).await?.await?;
            message.ack().await.map_err(|error| anyhow::anyhow!(error))
        }
    });
    let mut work = std::pin::pin!(work.buffer_unordered(AT_ONCE));
    while let Some(done) = work.next().await {
        done?;
    }
    Ok(())
}
