//! Normalizer turns stored webhooks into protobuf events. It pulls a webhook, calls its BSP's pure parser,
//! publishes one event for every item and a dead letter for every item that cannot be parsed, and
//! acknowledges the webhook when all of them are stored.
//!
//! Ids are computed from the data of the BSP, so any replica may process a webhook any number of times and
//! produces the same events.

pub mod settings;
mod handle;
pub mod event;
mod dead_letter;
mod waiting;
mod webhook_log;
mod metrics;

use std::sync::Arc;

use bus::lag::LagMetrics;
use bus::needs::{Needs, StreamUse};
use bus::purger::PurgeMetrics;
use bus::sequence_guard::Watch;
use bus::streams::{DEADLETTERS, EVENTS, NORMALIZER, WEBHOOKS};
use bus::worker::{WorkerMetrics, WorkerOptions};
use prometheus_client::registry::Registry;
use service::process::Service;
use service::{ProcessContext, ServiceContext};

pub use crate::handle::{Normalizer, parse, received_at};
pub use crate::settings::Settings;

/// The service as a separate process: it connects to NATS.
pub fn service(settings: Settings, process: ProcessContext, registry: &mut Registry) -> Service {
    let metrics = Metrics::register(registry);
    let connecting = process.connect("imchannel-normalizer", registry);
    Service::new(async move {
        let context = connecting.await?;
        require(&context);
        work(settings, context, metrics).await;
        Ok(())
    })
}

/// Runs the service on an existing connection, until the context's stop.
pub fn run(
    settings: Settings,
    context: ServiceContext,
    registry: &mut Registry,
) -> impl Future<Output = ()> + Send + use<> {
    let metrics = Metrics::register(registry);
    Box::pin(work(settings, context, metrics))
}

struct Metrics {
    normalizer: metrics::NormalizerMetrics,
    worker: WorkerMetrics,
    purger: PurgeMetrics,
    lag: LagMetrics,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        Self {
            normalizer: metrics::NormalizerMetrics::register(registry),
            worker: WorkerMetrics::register(registry),
            purger: PurgeMetrics::register(registry.sub_registry_with_prefix("normalizer")),
            lag: LagMetrics::register(registry),
        }
    }
}

async fn work(settings: Settings, context: ServiceContext, metrics: Metrics) {
    let ServiceContext { bus, stop, tracer, payloads, grace, .. } = context;
    let normalizer =
        Arc::new(Normalizer::new_with_metrics(bus.clone(), metrics.normalizer, payloads, tracer));
    let options = WorkerOptions { durable: &NORMALIZER, concurrency: settings.concurrency, grace };
    let giving_up = Arc::clone(&normalizer);
    let handler = move |delivery| {
        let normalizer = Arc::clone(&normalizer);
        async move { normalizer.handle(delivery).await }
    };
    let give_up = move |delivery| {
        let normalizer = Arc::clone(&giving_up);
        async move { normalizer.give_up(delivery).await }
    };
    bus::sequence_guard::watch(&bus, &[Watch::Stream(&EVENTS), Watch::Stream(&DEADLETTERS)], stop.clone());
    let kept = [&WEBHOOKS, &EVENTS, &DEADLETTERS];
    tokio::join!(
        bus::worker::run(&bus, &options, &metrics.worker, stop.clone(), handler, give_up),
        bus::purger::run(&bus, &kept, settings.purge_interval, &metrics.purger, stop.clone()),
        bus::lag::run(&bus, settings.lag_interval, &metrics.lag, stop),
    );
}

/// Streams, durable consumers and buckets that the normalizer needs.
static NEEDS: Needs = Needs {
    streams: &[
        StreamUse { stream: &WEBHOOKS, subjects: &["imchannel.webhook.*.*"] },
        StreamUse {
            stream: &EVENTS,
            subjects: &[
                "imchannel.event.report.*.*",
                "imchannel.event.message.*.*",
                "imchannel.event.account.*.*",
                "imchannel.event.customer.*.*",
            ],
        },
        StreamUse { stream: &DEADLETTERS, subjects: &["imchannel.deadletter.webhook.*"] },
    ],
    durables: &[&NORMALIZER],
    buckets: &[],
};

/// The conditions under which the normalizer processes webhooks.
fn require(context: &ServiceContext) {
    let bus = &context.bus;
    let connection = bus.clone();
    context.readiness.require("nats", move || connection.connection());
    let streams = bus::readiness::follow(bus, &NEEDS, context.stop.clone());
    context.readiness.require("streams", move || streams.borrow().condition());
    let sequences = bus.clone();
    context.readiness.require("sequences", move || sequences.sequences());
    context.readiness.mark_started();
}
