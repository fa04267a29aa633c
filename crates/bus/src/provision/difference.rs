//! A setting on the server that differs from its definition: for people as text, and for code as types.

use std::fmt;

use crate::schema::stream_id::StreamId;

/// What a difference is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A stream, or a bucket by the stream behind it.
    Stream(StreamId),
    /// A durable consumer of a whole stream, by its name.
    Durable(&'static str),
    /// The durable consumer of a lane, by its name.
    LaneConsumer(String),
}

impl Object {
    /// Its name: for a bucket the bucket's own, not that of the stream behind it.
    pub fn name(&self) -> &str {
        match self {
            Self::Stream(id) => id.bucket_name().unwrap_or(id.name()),
            Self::Durable(name) => name,
            Self::LaneConsumer(name) => name,
        }
    }

    /// Whether it is a durable consumer, of a stream or of a lane.
    pub fn is_durable(&self) -> bool {
        !matches!(self, Self::Stream(_))
    }
}

/// Kind and name, such as `stream WEBHOOKS`, `bucket imchannel_sends` or `durable send-sales`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Stream(id) if id.bucket_name().is_some() => "bucket",
            Self::Stream(_) => "stream",
            Self::Durable(_) | Self::LaneConsumer(_) => "durable",
        };
        write!(f, "{kind} {}", self.name())
    }
}

/// A setting of a stream, bucket or durable consumer. Its text is the field of JetStream's configuration, with `replicas`
/// for `num_replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant is the field of the same name in the configuration of JetStream")]
pub enum Setting {
    /// Whether the object exists at all.
    Existence,
    Subjects,
    Retention,
    Discard,
    Storage,
    MaxAge,
    MaxMessages,
    MaxMessagesPerSubject,
    MaxMessageSize,
    MaxBytes,
    NoAck,
    Replicas,
    DuplicateWindow,
    DenyDelete,
    DenyPurge,
    Description,
    AckPolicy,
    AckWait,
    DeliverPolicy,
    MaxDeliver,
    MaxAckPending,
    MaxConsumers,
    FilterSubject,
    FilterSubjects,
}

impl Setting {
    /// Its text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Existence => "existence",
            Self::Subjects => "subjects",
            Self::Retention => "retention",
            Self::Discard => "discard",
            Self::Storage => "storage",
            Self::MaxAge => "max_age",
            Self::MaxMessages => "max_messages",
            Self::MaxMessagesPerSubject => "max_messages_per_subject",
            Self::MaxMessageSize => "max_message_size",
            Self::MaxBytes => "max_bytes",
            Self::NoAck => "no_ack",
            Self::Replicas => "replicas",
            Self::DuplicateWindow => "duplicate_window",
            Self::DenyDelete => "deny_delete",
            Self::DenyPurge => "deny_purge",
            Self::Description => "description",
            Self::AckPolicy => "ack_policy",
            Self::AckWait => "ack_wait",
            Self::DeliverPolicy => "deliver_policy",
            Self::MaxDeliver => "max_deliver",
            Self::MaxAckPending => "max_ack_pending",
            Self::MaxConsumers => "max_consumers",
            Self::FilterSubject => "filter_subject",
            Self::FilterSubjects => "filter_subjects",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A setting that differs from its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub object: Object,
    /// Its setting.
    pub setting: Setting,
    /// The value on the server.
    pub found: String,
    /// The value of the definition.
    pub wanted: String,
}

impl Difference {
    /// The object does not exist.
    pub fn missing(object: Object) -> Self {
        let (found, wanted) = ("missing".to_owned(), "present".to_owned());
        Self { object, setting: Setting::Existence, found, wanted }
    }

    /// Whether the object does not exist.
    pub fn is_missing(&self) -> bool {
        self.setting == Setting::Existence
    }
}

/// Differences of one object, while it is compared.
#[derive(Debug)]
pub(crate) struct Differences {
    object: Object,
    found: Vec<Difference>,
}

impl Differences {
    pub(crate) const fn of(object: Object) -> Self {
        Self { object, found: Vec::new() }
    }

    /// Adds a difference.
    pub(crate) fn add(&mut self, setting: Setting, found: String, wanted: String) {
        self.found.push(Difference { object: self.object.clone(), setting, found, wanted });
    }

    /// Adds a difference unless both values are the same.
    pub(crate) fn compare(&mut self, setting: Setting, found: String, wanted: String) {
        if found != wanted {
            self.add(setting, found, wanted);
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Difference> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_the_text_that_commands_print() {
        for (object, text) in [
            (Object::Stream(StreamId::DeadLetters), "stream DEADLETTERS"),
            (Object::Stream(StreamId::Marks), "bucket imchannel_marks"),
            (Object::Durable("normalizer"), "durable normalizer"),
            (Object::LaneConsumer("bulk-c-1".to_owned()), "durable bulk-c-1"),
        ] {
            assert_eq!(object.to_string(), text);
        }
    }
}
