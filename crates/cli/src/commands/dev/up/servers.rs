//! The servers that `up` starts where it was not given others.

use std::path::PathBuf;

use anyhow::Context as _;
use servers::{NatsServer, RedisServer};

use super::Up;
use super::progress::Progress;
use crate::target::{self, Target};

/// Default port of NATS, used when it is free.
const NATS_PORT: u16 = 4222;

/// Limit of its nats-server's storage in bytes, as in deploy/nats/nats.conf: all streams of their default sizes have
/// 11.5 GiB, and the runbook enlarges some of them. A server without a limit takes three quarters of the free disk
/// space, which the streams of the default sizes may exceed.
const FILE_STORE_MAX: u64 = 28 * 1024 * 1024 * 1024;

/// The servers that `up` runs, where it was not given others.
pub(super) struct Servers {
    pub(super) nats_url: String,
    pub(super) redis_url: String,
    url_file: PathBuf,
    pub(super) nats: Option<NatsServer>,
    redis: Option<RedisServer>,
}

impl Servers {
    pub(super) async fn start(command: &Up, target: &Target, progress: &Progress) -> anyhow::Result<Self> {
        let nats = match &target.nats_url {
            Some(_) => None,
            None => {
                let folder = command.data_dir.join("nats");
                let step = progress.step("starting nats-server");
                let server = NatsServer::start_near(folder, NATS_PORT, FILE_STORE_MAX).await?;
                step.done(&server.url());
                Some(server)
            }
        };
        let redis = match &command.redis_url {
            Some(_) => None,
            None => {
                let step = progress.step("starting redis-server");
                let server = RedisServer::start(command.data_dir.join("redis")).await?;
                step.done(&server.url());
                Some(server)
            }
        };
        let nats_url =
            nats.as_ref().map(NatsServer::url).or_else(|| target.nats_url.clone()).unwrap_or_default();
        let url_file = command.data_dir.join(target::NATS_URL_FILE);
        if nats.is_some() {
            std::fs::write(&url_file, &nats_url)
                .with_context(|| format!("cannot write {}", url_file.display()))?;
        }
        let redis_url =
            redis.as_ref().map(RedisServer::url).or_else(|| command.redis_url.clone()).unwrap_or_default();
        Ok(Self { nats_url, redis_url, url_file, nats, redis })
    }

    /// Waits until one of them exits, which neither should do by itself.
    pub(super) async fn ended(&mut self) -> &'static str {
        let nats = async {
            match &mut self.nats {
                Some(server) => server.ended().await,
                None => std::future::pending().await,
            }
        };
        let redis = async {
            match &mut self.redis {
                Some(server) => server.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = nats => "nats-server",
            () = redis => "redis-server",
        }
    }

    pub(super) async fn stop(&mut self) {
        if let Some(server) = &mut self.redis {
            server.stop().await;
        }
        if let Some(server) = &mut self.nats {
            let _ = std::fs::remove_file(&self.url_file);
            server.stop().await;
        }
    }
}
