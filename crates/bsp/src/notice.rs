//! Events about the account and about customers, in the parts that are the same for every BSP: ids, times,
//! and the BSP's own object. The folder of each BSP interprets its values.
//!
//! These events have no id of the BSP. Their id is computed from their object, their value and their time. So
//! a template that is paused twice gives two events, and a retry of a webhook, which has the same bytes,
//! gives one.

use proto::v1::{AccountEvent, CustomerEvent};

use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::parsed::Outcome;
use crate::{time, unread};

/// Most bytes of the BSP's object that an event carries.
pub(crate) const RAW_JSON_BYTES_MAX: usize = 64 * 1024;

/// The inputs of an event's id, as they appear in the body.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Notice<'a> {
    /// The object of the event: the name of a field, or the id of a message.
    pub(crate) about: &'a str,
    /// The value.
    pub(crate) word: &'a str,
    /// The time of the event; empty if the BSP does not send it.
    pub(crate) time: &'a str,
    /// The owner: the customer or the account.
    pub(crate) of: &'a str,
    /// The object that it was read from; empty if the body is not JSON.
    pub(crate) raw: &'a str,
}

impl Notice<'_> {
    /// Marks the object as read, because the event contains all of it.
    fn mark_read(&self) {
        if self.raw.len() <= RAW_JSON_BYTES_MAX {
            unread::mark_read(self.raw);
        }
    }

    fn parts(&self) -> [&str; 5] {
        [self.about, self.word, self.time, self.of, self.raw]
    }

    fn key(&self, kind: &'static str) -> EventKey<'_> {
        EventKey {
            kind,
            message_id: self.about,
            status: self.word,
            time: self.time,
            error_code: "",
            recipient: self.of,
        }
    }
}

impl Collector<'_> {
    /// Adds an event about the account. `event` has its specific fields.
    pub(crate) fn account(&mut self, notice: &Notice<'_>, event: AccountEvent) {
        notice.mark_read();
        self.check_id(&notice.parts());
        let event = AccountEvent {
            event_id: notice.key("account").id(self.bsp(), self.webhook.channel),
            bsp: self.bsp().as_str().to_owned(),
            channel_id: self.webhook.channel.as_str().to_owned(),
            occurred_at: self.time_of(notice),
            received_at: Some(time::to_proto(self.webhook.received_at)),
            source: Some(self.next_source()),
            raw_json: bounded(notice.raw).to_owned(),
            ..event
        };
        self.push(Outcome::Account(Box::new(event)));
    }

    /// Adds an event about a customer. `event` has its specific fields.
    pub(crate) fn customer(&mut self, notice: &Notice<'_>, event: CustomerEvent) {
        notice.mark_read();
        self.check_id(&notice.parts());
        let event = CustomerEvent {
            event_id: notice.key("customer").id(self.bsp(), self.webhook.channel),
            bsp: self.bsp().as_str().to_owned(),
            channel_id: self.webhook.channel.as_str().to_owned(),
            occurred_at: self.time_of(notice),
            received_at: Some(time::to_proto(self.webhook.received_at)),
            source: Some(self.next_source()),
            raw_json: bounded(notice.raw).to_owned(),
            ..event
        };
        self.push(Outcome::Customer(Box::new(event)));
    }

    fn time_of(&mut self, notice: &Notice<'_>) -> Option<proto::Timestamp> {
        let time = time::parse(notice.time);
        if time.is_none() && !notice.time.is_empty() {
            self.unrecognized("time", notice.time, "");
        }
        time
    }
}

/// At most [`RAW_JSON_BYTES_MAX`] bytes of a text, cut before a character.
fn bounded(raw: &str) -> &str {
    let mut end = raw.len().min(RAW_JSON_BYTES_MAX);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    &raw[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_object_is_cut_before_a_character() {
        assert_eq!(bounded("{}"), "{}");
        let long = format!("{}é", "a".repeat(RAW_JSON_BYTES_MAX - 1));
        assert_eq!(bounded(&long).len(), RAW_JSON_BYTES_MAX - 1);
    }
}
