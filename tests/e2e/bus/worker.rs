//! The worker loop with any handler: slow work is not delivered twice, a panic ends one attempt, and a stop finishes
//! the messages in flight and naks the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::streams::{DurableDefinition, WEBHOOKS};
use bus::worker::{self, WorkerMetrics, WorkerOptions};
use bus::{Delivery, Disposition};
use tokio_util::sync::CancellationToken;

use crate::harness::{Installation, Webhook, eventually};

static QUICK: DurableDefinition = DurableDefinition {
    stream: &WEBHOOKS,
    name: "quick",
    ack_wait: Duration::from_secs(1),
    max_ack_pending: 100,
    is_ours: false,
};

/// How often each webhook was handled, by its sequence.
type Handled = Arc<Mutex<HashMap<u64, u64>>>;

async fn with_webhooks(count: usize) -> Installation {
    let installation = Installation::start().await;
    bus::provision::apply_durable(&installation.bus, &QUICK).await.unwrap();
    let ingress = installation.ingress().await;
    for number in 0..count {
        assert_eq!(Webhook::infobip(format!("{number}")).post(ingress.address).await.status.as_u16(), 200);
    }
    ingress.stop().await;
    installation
}

/// Runs a worker until `stop`.
fn start<F: Future<Output = Disposition> + Send + 'static>(
    installation: &Installation,
    concurrency: usize,
    stop: &CancellationToken,
    handler: impl Fn(Delivery) -> F + Send + Sync + 'static,
) -> tokio::task::JoinHandle<()> {
    let (bus, stop) = (installation.bus.clone(), stop.clone());
    tokio::spawn(async move {
        let options = WorkerOptions { durable: &QUICK, concurrency, grace: Duration::from_secs(5) };
        let metrics = WorkerMetrics::default();
        let give_up = |_| std::future::ready(Disposition::retry("no test here panics so often"));
        worker::run(&bus, &options, &metrics, stop, handler, give_up).await;
    })
}

async fn until_done(installation: &Installation) {
    eventually("everything is acknowledged", || async {
        (bus::lag::backlog(&installation.bus, &QUICK).await.ok()? == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_work_is_not_delivered_twice() {
    let installation = with_webhooks(2).await;
    let (handled, stop) = (Handled::default(), CancellationToken::new());
    let seen = Arc::clone(&handled);
    let worker = start(&installation, 10, &stop, move |delivery| {
        *seen.lock().unwrap().entry(delivery.sequence).or_default() += 1;
        async {
            // Three times the ack wait.
            tokio::time::sleep(Duration::from_secs(3)).await;
            Disposition::Done
        }
    });
    until_done(&installation).await;
    assert_eq!(*handled.lock().unwrap(), HashMap::from([(1, 1), (2, 1)]));
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_or_a_failure_costs_an_attempt_and_no_message() {
    let installation = with_webhooks(3).await;
    let (handled, stop) = (Handled::default(), CancellationToken::new());
    let seen = Arc::clone(&handled);
    let worker = start(&installation, 10, &stop, move |delivery| {
        *seen.lock().unwrap().entry(delivery.sequence).or_default() += 1;
        async move {
            match (delivery.sequence, delivery.attempt) {
                (1, 1) => panic!("on purpose"),
                (2, 1) => Disposition::retry("on purpose"),
                _ => Disposition::Done,
            }
        }
    });
    until_done(&installation).await;
    {
        // At least: the backtrace of the panic may take longer than the ack wait on a busy machine.
        let handled = handled.lock().unwrap();
        assert!(handled[&1] >= 2 && handled[&2] >= 2 && handled[&3] >= 1, "{handled:?}");
    }
    stop.cancel();
    worker.await.unwrap();
}

/// A message that makes the normalizer's handler panic becomes a dead letter, and delays no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_which_the_handler_panics_ten_times_becomes_a_dead_letter() {
    let installation = with_webhooks(3).await;
    deliver(&installation, 1, worker::PANICS_MAX - 2).await;
    let (handled, stop) = (Handled::default(), CancellationToken::new());
    let seen = Arc::clone(&handled);
    let mut registry = prometheus_client::registry::Registry::default();
    let (payloads, tracing) = (service::LogPayloads::Masked, service::SpanTracer::default());
    let normalizer =
        Arc::new(normalizer::Normalizer::new(installation.bus.clone(), &mut registry, payloads, tracing));
    let (bus, stopped) = (installation.bus.clone(), stop.clone());
    let worker = tokio::spawn(async move {
        let options = WorkerOptions { durable: &QUICK, concurrency: 10, grace: Duration::from_secs(5) };
        let handler = move |delivery: Delivery| {
            *seen.lock().unwrap().entry(delivery.sequence).or_default() += 1;
            async move {
                assert!(delivery.sequence != 1, "on purpose");
                Disposition::Done
            }
        };
        let give_up = move |delivery| {
            let normalizer = Arc::clone(&normalizer);
            async move { normalizer.give_up(delivery).await }
        };
        worker::run(&bus, &options, &WorkerMetrics::default(), stopped, handler, give_up).await;
    });
    eventually("the others are acknowledged", || async {
        (bus::lag::backlog(&installation.bus, &QUICK).await.ok()? <= 1).then_some(())
    })
    .await;
    // The ninth attempt panicked too, and the tenth follows 40 s later.
    crate::harness::within(Duration::from_secs(90), "everything is acknowledged", || async {
        (bus::lag::backlog(&installation.bus, &QUICK).await.ok()? == 0).then_some(())
    })
    .await;
    assert_eq!(*handled.lock().unwrap(), HashMap::from([(1, 2), (2, 1), (3, 1)]));
    let letters = installation.dead_letters().await;
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(letter.payload, "0");
    for (name, value) in [
        (bus::headers::REASON_KIND, "panicked"),
        (bus::headers::ORIGIN, "WEBHOOKS/1/0"),
        (bus::headers::PART, "body"),
    ] {
        assert_eq!(letter.headers.get(name), Some(value));
    }
    stop.cancel();
    worker.await.unwrap();
}

/// Has a message delivered this number of times, and naks it each time.
async fn deliver(installation: &Installation, sequence: u64, times: u64) {
    use async_nats::jetstream::AckKind;
    use futures_util::StreamExt;
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let consumer: async_nats::jetstream::consumer::PullConsumer =
        jetstream.get_consumer_from_stream(QUICK.name, WEBHOOKS.name).await.unwrap();
    let mut delivered = 0;
    while delivered < times {
        let mut batch = consumer.fetch().max_messages(1).messages().await.unwrap();
        while let Some(message) = batch.next().await {
            let message = message.unwrap();
            if message.info().unwrap().stream_sequence == sequence {
                delivered += 1;
            }
            message.ack_with(AckKind::Nak(None)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_messages_in_flight_and_naks_the_rest() {
    let installation = with_webhooks(10).await;
    let (handled, stop) = (Handled::default(), CancellationToken::new());
    let (begun, finish) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Notify::new()));
    let (seen, beginning, finishing) = (Arc::clone(&handled), Arc::clone(&begun), Arc::clone(&finish));
    let worker = start(&installation, 3, &stop, move |delivery| {
        let (seen, begun, finish) = (Arc::clone(&seen), Arc::clone(&beginning), Arc::clone(&finishing));
        async move {
            begun.add_permits(1);
            finish.notified().await;
            *seen.lock().unwrap().entry(delivery.sequence).or_default() += 1;
            Disposition::Done
        }
    });
    let _three = begun.acquire_many(3).await.unwrap();
    stop.cancel();
    eventually("what is held is finished", || async {
        finish.notify_waiters();
        worker.is_finished().then_some(())
    })
    .await;
    assert_eq!(handled.lock().unwrap().len(), 3, "a stopped worker began something new");
    // The rest goes to the next worker, without any finished message.
    let stop = CancellationToken::new();
    let seen = Arc::clone(&handled);
    let worker = start(&installation, 10, &stop, move |delivery| {
        *seen.lock().unwrap().entry(delivery.sequence).or_default() += 1;
        async { Disposition::Done }
    });
    until_done(&installation).await;
    let all: HashMap<u64, u64> = (1..=10).map(|sequence| (sequence, 1)).collect();
    assert_eq!(*handled.lock().unwrap(), all);
    stop.cancel();
    worker.await.unwrap();
}
