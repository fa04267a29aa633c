//! The environment of the sender's measurements: a simulated account, channels and commands.

use std::time::Duration;

use anyhow::bail;
use blob::RedisOptions;
use blob::inspect::Inspector;
use bsp::{ChannelId, SettingsContext};
use bus::lease::Leases;
use bus::{Headers, Priority, Subject, headers};
use channel::CredentialKey;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lane_state::{LaneState, lane_of_lease};
use prost::Message;
use proto::v1::{OutboundText, SendCommand, send_command};
use servers::RedisServer;
use simulator::infobip_api::{Faults, InfobipApi, Scenario};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::environment::{Environment, Program};

/// Channels of the throughput measurement.
pub(crate) const CHANNELS: usize = 20;
/// Time that the simulated account takes for a response.
pub(crate) const LATENCY: Duration = Duration::from_millis(50);
/// Rate limit of each channel, in calls per second: higher than one channel can reach here, so that the sender is
/// measured and not the limit.
pub(crate) const RATE_PER_S: u32 = 1_000;
/// API key of the simulated account.
const API_KEY: &str = "bench-key";
/// Timeout of storing one command, and of the wait for all messages of a run.
const LIMIT: Duration = Duration::from_secs(120);
/// Most publishes in flight.
const PUBLISHES: usize = 256;

/// An environment with an account, whose channels are created when they are needed.
pub(crate) struct SenderSetup {
    pub(crate) environment: Environment,
    redis: RedisServer,
    account: InfobipApi,
    account_url: String,
    stop: CancellationToken,
}

fn channel_id(number: usize) -> anyhow::Result<ChannelId> {
    Ok(ChannelId::parse(&format!("bench-{number}"))?)
}

impl SenderSetup {
    pub(crate) async fn start(place: Environment) -> anyhow::Result<Self> {
        let redis = place.redis().await?;
        Inspector::connect(&RedisOptions::at(redis.url())).await?.load_functions().await?;
        std::fs::write(place.folder().join("api.key"), API_KEY)?;
        let scenarios = (0..CHANNELS + 2).map(|number| Scenario { key: format!("S-{number}"), target: None });
        let faults = Faults { latency: LATENCY, ..Faults::default() };
        let account = InfobipApi::new(API_KEY, scenarios.collect(), faults)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let account_url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        tokio::spawn(account.clone().serve(listener, stop.clone()));
        Ok(Self { environment: place, redis, account, account_url, stop })
    }

    pub(crate) async fn apply(&self, number: usize, rate_per_s: u32) -> anyhow::Result<()> {
        let file = format!(
            "[[channel]]\nid = \"{}\"\nbsp = \"infobip\"\ntenant = \"bench\"\nwebhook = [{{ password = \"p\" }}]\n\
             [channel.infobip]\nbase_url = \"{}\"\napi_key = \"file:api.key\"\nscenario_key = \"S-{number}\"\n\
             sends_per_second = {rate_per_s}\n",
            channel_id(number)?,
            self.account_url
        );
        let context = SettingsContext { extra_hosts: vec!["127.0.0.1".to_owned()] };
        let key = CredentialKey::new(b"0123456789abcdef0123456789abcdef")?;
        let channels = channel::file::parse(&file, &context);
        for described in channels.map_err(|faults| anyhow::anyhow!("{faults:?}"))? {
            bus::command_consumers::apply(&self.environment.bus, described.id()).await?;
            bus::registry::put(&self.environment.bus, &described.to_record(&key)).await?;
        }
        Ok(())
    }

    pub(crate) fn sender(&self) -> anyhow::Result<Program> {
        self.sender_with(&[])
    }

    /// A sender with other settings.
    pub(crate) fn sender_with(&self, variables: &[(&str, &str)]) -> anyhow::Result<Program> {
        let (redis, secrets) = (self.redis.url(), self.environment.folder().to_string_lossy().into_owned());
        let own: &[(&str, &str)] = &[
            ("IMCHANNEL_REDIS_URL", &redis),
            ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
            ("IMCHANNEL_SECRETS_DIR", &secrets),
            // The channel of the webhooks sends nothing here. Without its key its lane would be halted, with a warning.
            ("INFOBIP_API_KEY", API_KEY),
        ];
        self.environment.program("imchannel-sender", &[own, variables].concat())
    }

    /// Publishes commands to one channel, each to a different customer.
    pub(crate) async fn publish(
        &self,
        number: usize,
        run: &str,
        count: usize,
        queue: Priority,
    ) -> anyhow::Result<()> {
        let channel = channel_id(number)?;
        let subject = Subject::Command(queue, channel.clone());
        let mut publishing = FuturesUnordered::new();
        for command in 0..count {
            let id = format!("{run}-{number}-{command}");
            let text = OutboundText { body: "Your order is on its way.".to_owned(), preview_url: false };
            let message = SendCommand {
                command_id: id.clone(),
                channel_id: channel.to_string(),
                recipient: format!("49{number:02}{command:08}"),
                content: Some(send_command::Content::Text(text)),
                ..SendCommand::default()
            };
            let (subject, bus) = (subject.clone(), self.environment.bus.clone());
            publishing.push(async move {
                let headers = || Headers::new().with(headers::MESSAGE_ID, &id);
                let deadline = Instant::now() + LIMIT;
                bus.store(&subject, headers, &message.encode_to_vec().into(), deadline).await
            });
            if publishing.len() >= PUBLISHES
                && let Some(stored) = publishing.next().await
            {
                stored?;
            }
        }
        while let Some(stored) = publishing.next().await {
            stored?;
        }
        Ok(())
    }

    /// Waits until this number of messages of a run have reached their customers. Returns the times of the first and
    /// the last.
    pub(crate) async fn arrived(&self, prefix: &str, count: usize) -> anyhow::Result<(Instant, Instant)> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let received = self.account.received();
            let of_run = received.iter().filter(|message| message.message_id.starts_with(prefix));
            let times: Vec<Instant> = of_run.map(|message| message.at).collect();
            if let (Some(first), Some(last)) = (times.iter().min(), times.iter().max())
                && times.len() >= count
            {
                return Ok((*first, *last));
            }
            if Instant::now() > deadline {
                bail!("{} of {count} messages arrived", times.len());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until this number of lanes is ready to send, as their leases say.
    pub(crate) async fn until_ready(&self, lanes: usize) -> anyhow::Result<()> {
        let watching = self.stop.child_token();
        let _watching = watching.clone().drop_guard();
        let leases = Leases::watch(&self.environment.bus, watching);
        let deadline = Instant::now() + LIMIT;
        loop {
            let held = leases.held().into_iter().filter(|(name, _)| lane_of_lease(name).is_some());
            let states = held.filter_map(|(_, lease)| LaneState::from_bytes(&lease.value));
            let ready = states.filter(|state| state.halted.is_none()).count();
            if ready >= lanes {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{ready} of {lanes} lanes are ready to send");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops the account.
    pub(crate) fn end(&self) {
        self.stop.cancel();
    }
}
