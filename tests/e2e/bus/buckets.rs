//! Buckets deny purges, keys can be removed anyway, and buckets of an earlier version are changed while services run.

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use bus::provision::{self, Scope};
use bus::streams::{BUCKETS, CHANNELS_BUCKET, NamedSettings, StreamSettings};
use serde_json::Value;

use crate::harness::Installation;

const ONE: &str =
    "[[channel]]\nid = \"one\"\nbsp = \"infobip\"\ntenant = \"t\"\nwebhook = [{ password = \"p\" }]\n";

async fn call(client: &Client, subject: String, body: &'static str) -> Value {
    let answer = client.request(subject, body.into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// The differences of the buckets.
async fn differences(installation: &Installation, scope: Scope<'_>) -> Vec<&'static str> {
    let found = provision::check(&installation.bus, scope).await.unwrap();
    let of_buckets =
        found.into_iter().filter(|difference| difference.object.to_string().starts_with("bucket"));
    of_buckets.map(|difference| difference.setting.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_before_denies_purges_after_apply_and_services_stay_ready() {
    let installation = Installation::start_bare().await;
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let settings = StreamSettings::default();
    let named = NamedSettings::from(&settings);
    provision::apply(&installation.bus, &settings).await.unwrap();
    let jetstream = jetstream::new(client.clone());
    for bucket in BUCKETS {
        let config = jetstream.get_stream(bucket.stream).await.unwrap().cached_info().config.clone();
        jetstream.delete_stream(bucket.stream).await.unwrap();
        let before = Config { deny_purge: false, allow_rollup: true, ..config };
        jetstream.create_stream(before).await.unwrap();
    }
    installation.apply_channels(ONE).await;
    assert_eq!(differences(&installation, Scope::Contract).await, Vec::<&str>::new());
    assert_eq!(differences(&installation, Scope::Settings(&named)).await, ["deny_purge"; BUCKETS.len()]);
    provision::apply(&installation.bus, &settings).await.unwrap();
    assert_eq!(differences(&installation, Scope::Settings(&named)).await, Vec::<&str>::new());
    assert_eq!(bus::registry::list(&installation.bus).await.unwrap().len(), 1, "what was stored stays");
    for bucket in BUCKETS {
        let purged = call(&client, format!("$JS.API.STREAM.PURGE.{}", bucket.stream), "{}").await;
        assert_eq!(purged["error"]["description"], "stream purge not permitted", "{purged}");
    }
    let one = format!("$JS.API.STREAM.MSG.DELETE.{}", CHANNELS_BUCKET.stream);
    let deleted = call(&client, one, "{\"seq\":1}").await;
    assert!(deleted["error"].is_object(), "{deleted}");
    // Removing a channel needs no purge, and the channel can be created again.
    for _ in 0..2 {
        let found = bus::registry::read(&installation.bus, "one").await.unwrap().unwrap();
        bus::registry::remove(&installation.bus, "one", found.revision).await.unwrap();
        assert_eq!(bus::registry::list(&installation.bus).await.unwrap().len(), 0);
        installation.apply_channels(ONE).await;
        assert_eq!(bus::registry::list(&installation.bus).await.unwrap().len(), 1);
    }
}
