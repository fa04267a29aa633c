//! What a service gets from its process, before and after the process is connected to NATS.

use std::time::Duration;

use bus::Bus;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::logging::LogPayloads;
use crate::nats::NatsSettings;
use crate::readiness::Readiness;
use crate::trace::SpanTracer;

/// What a service gets from its process.
#[derive(Debug, Clone)]
pub struct ProcessContext {
    /// The settings of the connection to NATS.
    pub nats: NatsSettings,
    /// Canceled when the process must stop.
    pub stop: CancellationToken,
    /// Conditions under which the service is ready.
    pub readiness: Readiness,
    /// Tracer of the service.
    pub tracer: SpanTracer,
    /// How much of message contents is logged.
    pub payloads: LogPayloads,
    /// Time to finish work in progress after a stop.
    pub grace: Duration,
}

impl ProcessContext {
    /// Connects to NATS as a client with that name. The metrics of the connection are registered before.
    ///
    /// # Errors
    /// If the future cannot connect.
    pub fn connect(
        self,
        name: &'static str,
        registry: &mut Registry,
    ) -> impl Future<Output = anyhow::Result<ServiceContext>> + Send + use<> {
        let options = self.nats.named(name);
        options.register(registry);
        async move {
            let bus = Bus::connect(&options).await?;
            let Self { stop, readiness, tracer, payloads, grace, .. } = self;
            Ok(ServiceContext { bus, stop, readiness, tracer, payloads, grace })
        }
    }
}

/// What every part of a running service shares.
#[derive(Debug, Clone)]
pub struct ServiceContext {
    /// The connection to NATS.
    pub bus: Bus,
    /// Canceled when the process must stop.
    pub stop: CancellationToken,
    /// Conditions under which the service is ready.
    pub readiness: Readiness,
    /// Tracer of the service.
    pub tracer: SpanTracer,
    /// How much of message contents is logged.
    pub payloads: LogPayloads,
    /// Time to finish work in progress after a stop.
    pub grace: Duration,
}

impl ServiceContext {
    /// Grace period of [`new`](Self::new).
    const GRACE_DEFAULT: Duration = Duration::from_secs(10);

    /// A context that is stopped by `stop`, without traces, with masked payloads and a grace period of 10 s.
    pub fn new(bus: Bus, stop: CancellationToken) -> Self {
        let (readiness, tracer) = (Readiness::default(), SpanTracer::default());
        Self { bus, stop, readiness, tracer, payloads: LogPayloads::Masked, grace: Self::GRACE_DEFAULT }
    }
}
