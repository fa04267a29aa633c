//! Events about the account and about customers, as far as every BSP fills them alike: ids, times, and the BSP's own
//! object. What a BSP's words mean stays in its folder.
//!
//! Such events have no id of the BSP's. Theirs is made of what they are about, what they say and when: a template that is
//! paused twice gives two events, and a repeat of a webhook, which has the same bytes, gives one.

use proto::v1::{AccountEvent, CustomerEvent};

use crate::event_id::EventKey;
use crate::parsed::{Collector, Outcome};
use crate::{time, unread};

/// Most bytes of the BSP's object that an event carries.
pub(crate) const RAW_JSON_BYTES_MAX: usize = 64 * 1024;

/// What makes an event's id, all as it stood in the body.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Notice<'a> {
    /// What it is about: the field that it stood in, the id of a message.
    pub(crate) about: &'a str,
    /// What it says.
    pub(crate) word: &'a str,
    /// When it happened; empty where the BSP does not say.
    pub(crate) time: &'a str,
    /// Whose it is: the customer, the account.
    pub(crate) of: &'a str,
    /// The object that it was read from; empty where the body is no JSON.
    pub(crate) raw: &'a str,
}

impl Notice<'_> {
    /// What goes out whole is read.
    fn take(&self) {
        if self.raw.len() <= RAW_JSON_BYTES_MAX {
            unread::take(self.raw);
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
    /// Adds an event about the account, of which `event` has what is its own.
    pub(crate) fn account(&mut self, notice: &Notice<'_>, event: AccountEvent) {
        notice.take();
        self.check_id(&notice.parts());
        let event = AccountEvent {
            event_id: notice.key("account").id(self.bsp, self.webhook.channel),
            bsp: self.bsp.as_str().to_owned(),
            channel_id: self.webhook.channel.as_str().to_owned(),
            occurred_at: self.time_of(notice),
            received_at: Some(time::to_proto(self.webhook.received_at)),
            source: Some(self.next_source()),
            raw_json: bounded(notice.raw).to_owned(),
            ..event
        };
        self.push(Outcome::Account(Box::new(event)));
    }

    /// Adds an event about a customer, of which `event` has what is its own.
    pub(crate) fn customer(&mut self, notice: &Notice<'_>, event: CustomerEvent) {
        notice.take();
        self.check_id(&notice.parts());
        let event = CustomerEvent {
            event_id: notice.key("customer").id(self.bsp, self.webhook.channel),
            bsp: self.bsp.as_str().to_owned(),
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
            self.unrecognised("time", notice.time, "");
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
