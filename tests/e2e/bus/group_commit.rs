//! Messages that come together are stored in batches by servers that sync a batch once. With an older nats-server the same tests prove that
//! each is stored alone, and that all else is the same.

use std::collections::BTreeSet;
use std::time::Duration;

use bsp::{ChannelId, CommandId};
use bus::ledger::{LedgerError, LedgerKey, Revision};
use bus::versions::ServerVersion;
use bus::{Bus, BusOptions, GroupCommit, Headers, PublishError, Stored, StreamId, Subject, headers};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::harness::{Installation, Posting, Webhook, eventually};

/// First version that syncs a batch once.
const ONE_SYNC_A_BATCH: ServerVersion = ServerVersion::new(2, 15, 0);
/// Stream behind the ledger.
const LEDGER: &str = "KV_imchannel_sends";

fn server_takes_batches(installation: &Installation) -> bool {
    ServerVersion::parse(&installation.bus.server_version()).unwrap() >= ONE_SYNC_A_BATCH
}

/// A connection that knows how the streams are.
async fn connect(installation: &Installation, group_commit: GroupCommit) -> Bus {
    let options = BusOptions { group_commit, ..BusOptions::new("writer", installation.nats.url()) };
    let bus = Bus::connect_now(&options).await.unwrap();
    // A look before the client's event counts for no connection.
    eventually("the client knows of its connection", || async {
        (bus.connection_number() > 0).then_some(())
    })
    .await;
    for stream in [StreamId::Webhooks, StreamId::Sends] {
        bus::fill::refresh(&bus, stream).await.unwrap();
    }
    bus
}

fn subject() -> Subject {
    Subject::Webhook(bsp::registry::REGISTRY[0].profile().id, ChannelId::parse("c-1").unwrap())
}

async fn store(bus: &Bus, id: &str, payload: Bytes) -> Result<Stored, PublishError> {
    let headers = || Headers::new().with(headers::MESSAGE_ID, id);
    bus.store(&subject(), headers, &payload, Instant::now() + Duration::from_secs(10)).await
}

/// Number of messages of a stream that were stored in a batch: the server keeps the headers of batches.
async fn batched(installation: &Installation, stream: &str) -> usize {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream(stream).await.unwrap();
    let total = stream.cached_info().state.messages;
    if total == 0 {
        return 0;
    }
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(total as usize);
    let has_batch = messages.filter(|message| {
        let headers = message.as_ref().unwrap().headers.clone().unwrap_or_default();
        std::future::ready(headers.get("Nats-Batch-Id").is_some())
    });
    has_batch.count().await
}

#[tokio::test]
async fn messages_that_come_together_are_stored_once_each_with_their_own_sequences() {
    let installation = Installation::start().await;
    let bus = connect(&installation, GroupCommit::WherePossible).await;
    // Each id twice, and one message that is too large to wait.
    let ids: Vec<String> =
        (0..1000).flat_map(|number| [format!("id-{number}"), format!("id-{number}")]).collect();
    let storing = ids.iter().map(|id| store(&bus, id, Bytes::from(id.clone())));
    let large = store(&bus, "large", Bytes::from(vec![b'x'; 100 * 1024]));
    let (stored, large) = tokio::join!(join_all(storing), large);
    let stored: Vec<u64> = stored.into_iter().map(|stored| stored.unwrap().sequence()).collect();
    for (pair, id) in stored.chunks(2).zip(ids.chunks(2)) {
        assert_eq!(pair[0], pair[1], "both of {} have the sequence of the one that was stored", id[0]);
    }
    let webhooks = installation.webhooks().await;
    assert_eq!(webhooks.len(), 1001);
    for (sequence, id) in stored.iter().zip(&ids) {
        let webhook = webhooks.iter().find(|webhook| webhook.sequence == *sequence).unwrap();
        assert_eq!(webhook.payload, id.as_bytes(), "the sequence is that of the message");
    }
    assert!(!stored.contains(&large.unwrap().sequence()));
    let batched = batched(&installation, "WEBHOOKS").await;
    assert_eq!(batched > 100, server_takes_batches(&installation), "{batched} in batches");
}

#[tokio::test]
async fn a_duplicate_of_an_earlier_message_delays_a_batch_and_harms_no_other() {
    let installation = Installation::start().await;
    // By another process, so that this one does not know the ids.
    let before = connect(&installation, GroupCommit::Off).await;
    for number in [3, 77, 150] {
        store(&before, &format!("id-{number}"), Bytes::new()).await.unwrap();
    }
    assert_eq!(batched(&installation, "WEBHOOKS").await, 0, "it is off");
    let bus = connect(&installation, GroupCommit::WherePossible).await;
    let ids: Vec<String> = (0..250).map(|number| format!("id-{number}")).collect();
    let stored = join_all(ids.iter().map(|id| store(&bus, id, Bytes::new()))).await;
    let duplicates: Vec<usize> = stored
        .iter()
        .enumerate()
        .filter_map(|(number, stored)| stored.as_ref().unwrap().is_duplicate().then_some(number))
        .collect();
    assert_eq!(duplicates, [3, 77, 150]);
    assert_eq!(installation.webhooks().await.len(), 250);
    let batched = batched(&installation, "WEBHOOKS").await;
    assert_eq!(batched > 100, server_takes_batches(&installation), "{batched} in batches");
}

#[tokio::test]
async fn ledger_entries_that_are_written_together_keep_their_conditions_and_revisions() {
    let installation = Installation::start().await;
    let bus = connect(&installation, GroupCommit::WherePossible).await;
    let channel = ChannelId::parse("c-1").unwrap();
    let key = |number: usize| LedgerKey::new(&channel, &CommandId::parse(&format!("c-{number}")).unwrap());
    let deadline = || Instant::now() + Duration::from_secs(10);
    let value = || Bytes::from_static(b"intent");
    for number in [5, 120] {
        bus.ledger_write(&key(number), Revision::NONE, value(), deadline()).await.unwrap();
    }
    // Two writers for each key, as two replicas that both act as its owner.
    let keys: Vec<LedgerKey> = (0..400).map(|number| key(number / 2)).collect();
    let writes = keys.iter().map(|key| bus.ledger_write(key, Revision::NONE, value(), deadline()));
    let written = join_all(writes).await;
    let mut revisions = BTreeSet::new();
    for (number, pair) in written.chunks(2).enumerate() {
        let won: Vec<_> = pair.iter().filter_map(|write| write.as_ref().ok()).collect();
        assert_eq!(won.len(), usize::from(![5, 120].contains(&number)), "{number}: {pair:?}");
        assert!(pair.iter().all(|write| matches!(write, Ok(_) | Err(LedgerError::Conflict))), "{pair:?}");
        revisions.extend(won.iter().map(|revision| revision.sequence()));
        if let [revision] = won[..] {
            let entry = bus.ledger_read(&key(number)).await.unwrap().unwrap();
            assert_eq!(entry.revision, *revision, "the revision is that of the entry");
        }
    }
    assert_eq!(revisions.len(), 198);
    let batched = batched(&installation, LEDGER).await;
    assert_eq!(batched > 50, server_takes_batches(&installation), "{batched} in batches");
}

#[tokio::test]
async fn webhooks_that_were_answered_survive_a_killed_server_and_become_one_event_each() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let posting = Posting::start(ingress.address, 200, |number| {
        Webhook::infobip(format!(
            r#"{{"results":[{{"messageId":"m-{number}","to":"49170000000","status":{{"groupName":"DELIVERED","groupId":3,"description":"delivered"}}}}]}}"#
        ))
    });
    eventually("some are stored", || async { (installation.webhooks().await.len() > 50).then_some(()) })
        .await;
    installation.nats.kill().await;
    installation.nats.start_again().await.unwrap();
    let posted = posting.end().await;
    installation.until_processed().await;
    let reports = installation.reports().await;
    let messages: BTreeSet<String> = reports.iter().map(|report| report.message_id.clone()).collect();
    assert_eq!((reports.len(), messages.len()), (posted, posted));
    ingress.stop().await;
    normalizer.stop().await;
}
