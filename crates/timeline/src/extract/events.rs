//! The rows of an event, decoded by the kind in its subject.

use bsp::ids::COMMAND_MESSAGE_PREFIX;
use bsp::mask;
use bus::{Delivery, EventKind, headers};
use prost::Message;
use proto::v1::{
    AccountEvent, Customer, CustomerEvent, EventSource, InboundMessage, MediaFetched, ReportEvent,
    ReportStatus, SendOutcome, SendResult,
};

use crate::extract::{Extractor, UNDECODABLE, account, attempts, body, content, personal, text, time};
use crate::row::{FROM_LOG, IdKind, Row, Status, StreamNumber, shown};

/// `blank` has what the subject says.
pub(super) fn rows(extractor: &Extractor, kind: EventKind, delivery: &Delivery, blank: Row) -> Vec<Row> {
    let making = Making { extractor, row: blank };
    match kind {
        EventKind::Report => making.of(delivery, Making::report),
        EventKind::Message => making.of(delivery, Making::message),
        EventKind::SendResult => making.of(delivery, Making::result),
        EventKind::Media => making.of(delivery, Making::fetch),
        EventKind::Account => making.of(delivery, Making::account),
        EventKind::Customer => making.of(delivery, Making::customer),
    }
}

/// A row that is being filled.
struct Making<'e> {
    extractor: &'e Extractor,
    row: Row,
}

impl Making<'_> {
    fn of<T: Message + Default>(mut self, delivery: &Delivery, fill: fn(Self, T) -> Vec<Row>) -> Vec<Row> {
        match T::decode(delivery.payload.clone()) {
            Ok(event) => fill(self, event),
            Err(_) => {
                self.link(IdKind::Event, delivery.headers.get(headers::CE_ID).unwrap_or_default());
                UNDECODABLE.clone_into(&mut self.row.summary);
                vec![self.row]
            }
        }
    }

    fn report(mut self, mut event: ReportEvent) -> Vec<Row> {
        self.link(IdKind::Message, &event.message_id);
        self.link(IdKind::ProviderMessage, &event.provider_message_id);
        self.link(IdKind::Command, &event.command_id);
        self.link(IdKind::Event, &event.event_id);
        self.link_source(event.source);
        // In a group, the participant is the customer and the recipient is the group.
        let (recipient, participant) = (event.recipient.clone(), event.participant.clone());
        let customer = if participant.is_empty() { &recipient } else { &participant };
        self.row.recipient = self.extractor.recipient(customer);
        self.row.happened_at = time(event.occurred_at.as_ref());
        self.row.status = ReportStatus::try_from(event.status).ok().map(Status::Report);
        self.row.error = text::error_of(event.error.as_ref());
        self.row.summary = report_summary(&event);
        if event.source.is_some_and(|source| source.reconciled) {
            self.row.summary.insert_str(0, FROM_LOG);
        }
        self.row.body = body::of(self.extractor, &mut event, |event| {
            mask::events::report(event);
            event.message_id = shown::id(&event.message_id);
            event.provider_message_id = shown::id(&event.provider_message_id);
        });
        self.about(&[&recipient, &participant])
    }

    fn message(mut self, mut event: InboundMessage) -> Vec<Row> {
        self.link(IdKind::Message, &event.message_id);
        self.link(IdKind::Event, &event.event_id);
        self.link_source(event.source);
        let sender = event.sender.clone();
        let customer = event.customer.clone().unwrap_or_default();
        self.row.recipient = self.extractor.recipient(&sender);
        self.row.happened_at = time(event.sent_at.as_ref());
        self.row.summary = content::summary(&event);
        self.row.body = body::of(self.extractor, &mut event, |event| {
            mask::events::message(event);
            event.message_id = shown::id(&event.message_id);
        });
        self.about(&[&sender, &customer.number, &customer.user_id, &customer.parent_user_id])
    }

    fn result(mut self, mut event: SendResult) -> Vec<Row> {
        self.link_chosen(IdKind::Command, &event.command_id);
        let is_of_command = event.message_id.starts_with(COMMAND_MESSAGE_PREFIX);
        if is_of_command {
            self.link_chosen(IdKind::Message, &event.message_id);
        } else {
            self.link(IdKind::Message, &event.message_id);
        }
        self.link(IdKind::Event, &event.event_id);
        self.extractor.link_stored(&mut self.row, StreamNumber::Commands, event.command_sequence);
        self.row.happened_at = time(event.decided_at.as_ref());
        self.row.status = SendOutcome::try_from(event.outcome).ok().map(Status::Outcome);
        self.row.error = text::error_of(event.error.as_ref());
        self.row.summary = match event.attempts {
            1 => "after 1 call".to_owned(),
            calls => format!("after {calls} calls"),
        };
        let mut rows = attempts::rows(self.extractor.bodies, &self.row, &mut event);
        self.row.body = body::of(self.extractor, &mut event, |event| {
            mask::events::result(event);
            event.command_id = shown::chosen_id(&event.command_id);
            let is_of_command = event.message_id.starts_with(COMMAND_MESSAGE_PREFIX);
            let shown = if is_of_command { shown::chosen_id } else { shown::id };
            event.message_id = shown(&event.message_id);
        });
        rows.insert(0, self.row);
        rows
    }

    fn fetch(mut self, mut event: MediaFetched) -> Vec<Row> {
        self.link(IdKind::Media, &event.media_id);
        self.link_chosen(IdKind::Command, &event.command_id);
        self.link(IdKind::Event, &event.event_id);
        self.row.happened_at = time(event.fetched_at.as_ref());
        let mut summary = text::words(&event.method);
        if event.bytes > 0 {
            summary.push_str(&format!(" {} bytes", event.bytes));
        }
        if !event.range.is_empty() {
            summary.push_str(&format!(" of range {}", text::words(&event.range)));
        }
        self.row.summary = summary;
        self.row.body = body::of(self.extractor, &mut event, |event| {
            event.command_id = shown::chosen_id(&event.command_id);
        });
        vec![self.row]
    }

    fn account(mut self, mut event: AccountEvent) -> Vec<Row> {
        self.link(IdKind::Event, &event.event_id);
        self.link_source(event.source);
        self.row.happened_at = time(event.occurred_at.as_ref());
        self.row.error = text::error_of(event.errors.first());
        self.row.summary = account::account(&event);
        self.row.body = body::of(self.extractor, &mut event, mask::events::account);
        vec![self.row]
    }

    fn customer(mut self, mut event: CustomerEvent) -> Vec<Row> {
        self.link(IdKind::Event, &event.event_id);
        self.link_source(event.source);
        let Customer { number, user_id, parent_user_id, .. } = event.customer.clone().unwrap_or_default();
        let ids = [&number, &user_id, &parent_user_id];
        let id = ids.into_iter().find(|id| !id.is_empty());
        self.row.recipient = id.and_then(|id| self.extractor.recipient(id));
        self.row.happened_at = time(event.occurred_at.as_ref());
        self.row.error = text::error_of(event.payment.as_ref().and_then(|payment| payment.error.as_ref()));
        self.row.summary = account::customer(&event);
        let before = [&event.old_number, &event.old_user_id, &event.old_parent_user_id].map(String::clone);
        self.row.body = body::of(self.extractor, &mut event, mask::events::customer);
        let [old_number, old_user_id, old_parent_user_id] = &before;
        self.about(&[&number, &user_id, &parent_user_id, old_number, old_user_id, old_parent_user_id])
    }

    fn link(&mut self, kind: IdKind, id: &str) {
        self.extractor.link(&mut self.row, kind, id);
    }

    /// Adds an id that a back end has chosen, or one that is made of it. A result and a fetch do not say which number is the
    /// customer's.
    fn link_chosen(&mut self, kind: IdKind, id: &str) {
        self.extractor.link_chosen(&mut self.row, kind, id);
    }

    fn link_source(&mut self, source: Option<EventSource>) {
        let sequence = source.map_or(0, |source| source.stream_sequence);
        self.extractor.link_stored(&mut self.row, StreamNumber::Webhooks, sequence);
    }

    /// The row, in which nothing shows these customers.
    fn about(mut self, customers: &[&str]) -> Vec<Row> {
        personal::remove(&mut self.row, customers, self.extractor.bodies.are_masked());
        vec![self.row]
    }
}

/// Such as `PENDING_ENROUTE`, with the channel if it is not WhatsApp.
fn report_summary(event: &ReportEvent) -> String {
    let mut summary = text::words(event.provider_status.as_ref().map_or("", |status| &status.raw));
    if !event.provider_channel.is_empty() && !event.provider_channel.eq_ignore_ascii_case(WHATSAPP) {
        summary.push_str(&format!(" by {}", text::words(&event.provider_channel)));
    }
    if !event.group_id.is_empty() {
        summary.push_str(" in a group");
    }
    summary.trim_start().to_owned()
}

/// Infobip's name of the channel whose reports are about the message itself.
const WHATSAPP: &str = "WHATSAPP";
