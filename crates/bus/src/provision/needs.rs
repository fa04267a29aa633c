//! What a service needs of the bus, and which of it is missing. This is less than [`crate::provision`] compares: a
//! service works with streams that store more, keep messages longer or allow more than its version defines, so that two
//! versions can run at the same time during an upgrade.
//!
//! What each setting must be:
//! - **subjects**: each one that the service publishes or reads is covered by a subject of its stream.
//! - **retention, discard, storage, `no_ack`, a durable's acknowledgements, deliveries and start**: exactly as defined.
//!   Another value loses messages.
//! - **`max_age`, `max_messages`, `max_messages_per_subject`, `max_message_size`, `ack_wait`, `max_ack_pending`**: as
//!   defined or more, where no limit is the highest value.
//! - **a durable's filter**: none, or one that covers the stream.
//! - **sizes, copies, duplicate window**: the operator's choice. No correctness rests on the window.

use std::time::Duration;

use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::Config;

use crate::client::connect::Bus;
use crate::client::jetstream_errors::is_missing;
use crate::provision::config::{bucket_config, durable_config, stream_config};
use crate::provision::difference::{Difference, Differences, Object, Setting};
use crate::provision::error::{ProvisionError, durable_error};
use crate::provision::find::find_stream;
use crate::schema::streams::{BucketDefinition, DurableDefinition, StreamDefinition, StreamSettings};
use crate::schema::subject::covers;

/// A stream that a service publishes to or reads.
#[derive(Debug)]
pub struct StreamUse {
    /// The stream.
    pub stream: &'static StreamDefinition,
    /// The subjects of it that the service publishes or reads.
    pub subjects: &'static [&'static str],
}

/// Streams, durable consumers and buckets that a service needs.
#[derive(Debug)]
pub struct Needs {
    /// Its streams.
    pub streams: &'static [StreamUse],
    /// The durable consumers from which it pulls.
    pub durables: &'static [&'static DurableDefinition],
    /// The buckets that it reads or writes.
    pub buckets: &'static [&'static BucketDefinition],
}

impl Needs {
    /// What is missing, or less than needed.
    ///
    /// # Errors
    /// [`ProvisionError`] when the server does not respond. A missing object is a difference and not an error.
    pub async fn unmet(&self, bus: &Bus) -> Result<Vec<Difference>, ProvisionError> {
        let settings = StreamSettings::default();
        let mut all = Vec::new();
        for used in self.streams {
            let mut unmet = Unmet::of(Object::Stream(used.stream.id));
            let Some(found) = find_stream(bus, used.stream.id).await? else {
                all.push(Difference::missing(Object::Stream(used.stream.id)));
                continue;
            };
            unmet.subjects(&found.cached_info().config.subjects, used.subjects);
            unmet.stream(&found.cached_info().config, &stream_config(used.stream, &settings));
            all.extend(unmet.0.into_vec());
        }
        for definition in self.durables {
            let mut unmet = Unmet::of(Object::Durable(definition.name));
            let Some(found) = find_durable(bus, definition).await? else {
                all.push(Difference::missing(Object::Durable(definition.name)));
                continue;
            };
            unmet.durable(&found, definition);
            all.extend(unmet.0.into_vec());
        }
        for definition in self.buckets {
            let mut unmet = Unmet::of(Object::Stream(definition.id));
            let Some(found) = find_stream(bus, definition.id).await? else {
                all.push(Difference::missing(Object::Stream(definition.id)));
                continue;
            };
            let (found, wanted) = (&found.cached_info().config, bucket_config(definition, &settings));
            let subjects: Vec<&str> = wanted.subjects.iter().map(String::as_str).collect();
            unmet.subjects(&found.subjects, &subjects);
            unmet.stream(found, &wanted);
            all.extend(unmet.0.into_vec());
        }
        Ok(all)
    }
}

/// Returns `None` if its stream is missing too.
async fn find_durable(
    bus: &Bus,
    definition: &DurableDefinition,
) -> Result<Option<consumer::Config>, ProvisionError> {
    let Some(stream) = find_stream(bus, definition.stream.id).await? else { return Ok(None) };
    match stream.consumer_info(definition.name).await {
        Ok(info) => Ok(Some(info.config)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(durable_error(definition.stream.name, definition.name, error)),
    }
}

/// Differences of one object that matter to a service.
struct Unmet(Differences);

impl Unmet {
    const fn of(object: Object) -> Self {
        Self(Differences::of(object))
    }

    fn add(&mut self, setting: Setting, found: String, wanted: String) {
        self.0.add(setting, found, wanted);
    }

    fn exactly(&mut self, setting: Setting, found: String, wanted: String) {
        self.0.compare(setting, found, wanted);
    }

    fn subjects(&mut self, found: &[String], needed: &[&str]) {
        let is_held = |subject: &&&str| !found.iter().any(|wide| covers(wide, subject));
        let absent: Vec<_> = needed.iter().filter(is_held).collect();
        if !absent.is_empty() {
            self.add(Setting::Subjects, format!("{found:?}"), format!("one that holds {absent:?}"));
        }
    }

    /// Zero means no limit.
    fn at_least_for(&mut self, setting: Setting, found: Duration, wanted: Duration) {
        let is_enough = found.is_zero() || (!wanted.is_zero() && found >= wanted);
        if !is_enough {
            let wanted =
                if wanted.is_zero() { "unlimited".to_owned() } else { format!("at least {wanted:?}") };
            self.add(setting, format!("{found:?}"), wanted);
        }
    }

    /// Servers write "no limit" as 0 or -1.
    fn at_least(&mut self, setting: Setting, found: i64, wanted: i64) {
        let is_enough = found <= 0 || (wanted > 0 && found >= wanted);
        if !is_enough {
            let wanted = if wanted <= 0 { "unlimited".to_owned() } else { format!("at least {wanted}") };
            self.add(setting, found.to_string(), wanted);
        }
    }

    fn stream(&mut self, found: &Config, wanted: &Config) {
        self.exactly(Setting::Retention, format!("{:?}", found.retention), format!("{:?}", wanted.retention));
        self.exactly(Setting::Discard, format!("{:?}", found.discard), format!("{:?}", wanted.discard));
        self.exactly(Setting::Storage, format!("{:?}", found.storage), format!("{:?}", wanted.storage));
        self.exactly(Setting::NoAck, found.no_ack.to_string(), wanted.no_ack.to_string());
        self.at_least_for(Setting::MaxAge, found.max_age, wanted.max_age);
        self.at_least(Setting::MaxMessages, found.max_messages, wanted.max_messages);
        let (has, needs) = (found.max_messages_per_subject, wanted.max_messages_per_subject);
        self.at_least(Setting::MaxMessagesPerSubject, has, needs);
        let (has, needs) = (i64::from(found.max_message_size), i64::from(wanted.max_message_size));
        self.at_least(Setting::MaxMessageSize, has, needs);
    }

    fn durable(&mut self, found: &consumer::Config, definition: &DurableDefinition) {
        let wanted = durable_config(definition);
        self.exactly(
            Setting::AckPolicy,
            format!("{:?}", found.ack_policy),
            format!("{:?}", wanted.ack_policy),
        );
        let starts = (format!("{:?}", found.deliver_policy), format!("{:?}", wanted.deliver_policy));
        self.exactly(Setting::DeliverPolicy, starts.0, starts.1);
        self.at_least(Setting::MaxDeliver, found.max_deliver, wanted.max_deliver);
        self.at_least_for(Setting::AckWait, found.ack_wait, wanted.ack_wait);
        self.at_least(Setting::MaxAckPending, found.max_ack_pending, wanted.max_ack_pending);
        let single = Some(&found.filter_subject).filter(|filter| !filter.is_empty());
        let filters: Vec<String> = single.into_iter().chain(&found.filter_subjects).cloned().collect();
        let is_read = |subject: &&str| filters.iter().any(|filter| covers(filter, subject));
        if !filters.is_empty() && !definition.stream.subjects.iter().all(is_read) {
            self.add(Setting::FilterSubject, format!("{filters:?}"), "none".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::stream_id::StreamId;
    use crate::schema::streams::{CHANNELS_BUCKET, COMMANDS, LANES_BUCKET, NORMALIZER, WEBHOOKS};

    fn settings(check: impl FnOnce(&mut Unmet)) -> Vec<&'static str> {
        let mut unmet = Unmet::of(Object::Stream(StreamId::Commands));
        check(&mut unmet);
        unmet.0.into_vec().iter().map(|difference| difference.setting.as_str()).collect()
    }

    fn of_commands(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        let wanted = stream_config(&COMMANDS, &StreamSettings::default());
        let mut found = wanted.clone();
        change(&mut found);
        settings(|unmet| {
            unmet.subjects(&found.subjects, COMMANDS.subjects);
            unmet.stream(&found, &wanted);
        })
    }

    #[test]
    fn a_stream_that_holds_keeps_and_allows_more_is_enough() {
        assert_eq!(of_commands(|_| {}), [""; 0]);
        // The setting of versions before the first release.
        assert_eq!(of_commands(|found| found.subjects = vec!["imchannel.command.>".to_owned()]), [""; 0]);
        assert_eq!(of_commands(|found| found.subjects.push("imchannel.command.next.*".to_owned())), [""; 0]);
        assert_eq!(of_commands(|found| found.max_age *= 2), [""; 0]);
        assert_eq!(of_commands(|found| found.max_age = Duration::ZERO), [""; 0]);
        assert_eq!(of_commands(|found| found.max_bytes /= 2), [""; 0]);
        assert_eq!(of_commands(|found| found.duplicate_window /= 2), [""; 0]);
    }

    #[test]
    fn a_stream_that_holds_keeps_or_allows_less_is_not() {
        assert_eq!(of_commands(|found| drop(found.subjects.pop())), ["subjects"]);
        assert_eq!(of_commands(|found| found.max_age /= 2), ["max_age"]);
        assert_eq!(of_commands(|found| found.max_messages = 1_000_000), ["max_messages"]);
        assert_eq!(of_commands(|found| found.max_message_size = 1_000_000), ["max_message_size"]);
        assert_eq!(of_commands(|found| found.max_messages_per_subject = 5), ["max_messages_per_subject"]);
        assert_eq!(of_commands(|found| found.no_ack = true), ["no_ack"]);
        use async_nats::jetstream::stream::{DiscardPolicy, RetentionPolicy, StorageType};
        assert_eq!(of_commands(|found| found.discard = DiscardPolicy::Old), ["discard"]);
        assert_eq!(of_commands(|found| found.retention = RetentionPolicy::WorkQueue), ["retention"]);
        assert_eq!(of_commands(|found| found.storage = StorageType::Memory), ["storage"]);
    }

    #[test]
    fn a_bucket_may_keep_longer_and_more_of_each_key() {
        let of = |definition, change: &dyn Fn(&mut Config)| {
            let wanted = bucket_config(definition, &StreamSettings::default());
            let mut found = wanted.clone();
            change(&mut found);
            settings(|unmet| unmet.stream(&found, &wanted))
        };
        assert_eq!(of(&LANES_BUCKET, &|found| found.max_age *= 4), [""; 0]);
        assert_eq!(of(&LANES_BUCKET, &|found| found.max_messages_per_subject = 5), [""; 0]);
        assert_eq!(of(&LANES_BUCKET, &|found| found.max_age /= 2), ["max_age"]);
        assert_eq!(of(&LANES_BUCKET, &|found| found.max_message_size = 100), ["max_message_size"]);
        // Channels have no maximum age.
        assert_eq!(of(&CHANNELS_BUCKET, &|found| found.max_age = Duration::from_secs(1 << 30)), ["max_age"]);
    }

    #[test]
    fn a_durable_may_wait_longer_and_hold_more_and_reads_everything() {
        let of = |change: &dyn Fn(&mut consumer::Config)| {
            let mut found = consumer::Config {
                ack_wait: NORMALIZER.ack_wait,
                max_deliver: -1,
                max_ack_pending: NORMALIZER.max_ack_pending,
                ack_policy: consumer::AckPolicy::Explicit,
                deliver_policy: consumer::DeliverPolicy::All,
                ..consumer::Config::default()
            };
            change(&mut found);
            settings(|unmet| unmet.durable(&found, &NORMALIZER))
        };
        assert_eq!(of(&|_| {}), [""; 0]);
        assert_eq!(of(&|found| found.ack_wait *= 2), [""; 0]);
        assert_eq!(of(&|found| found.max_ack_pending *= 2), [""; 0]);
        assert_eq!(of(&|found| found.max_ack_pending = -1), [""; 0]);
        assert_eq!(of(&|found| found.filter_subject = "imchannel.webhook.>".to_owned()), [""; 0]);
        assert_eq!(of(&|found| found.ack_wait /= 2), ["ack_wait"]);
        assert_eq!(of(&|found| found.max_ack_pending = 1), ["max_ack_pending"]);
        assert_eq!(of(&|found| found.max_deliver = 5), ["max_deliver"]);
        assert_eq!(of(&|found| found.ack_policy = consumer::AckPolicy::All), ["ack_policy"]);
        assert_eq!(of(&|found| found.deliver_policy = consumer::DeliverPolicy::New), ["deliver_policy"]);
        assert_eq!(
            of(&|found| found.filter_subject = "imchannel.webhook.twilio.*".to_owned()),
            ["filter_subject"]
        );
        assert_eq!(WEBHOOKS.name, NORMALIZER.stream.name);
    }
}
