//! The expected event of a event: the fields that all BSPs fill alike. The file of a BSP adds the fields that only
//! this BSP fills.

use bytes::Bytes;
use jiff::Timestamp;
use proto::v1::inbound_message::Content as ProtoContent;
use proto::v1::{
    AccountEvent, AccountEventKind, Customer, CustomerEvent, CustomerEventKind, InboundMessage, Location,
    ProviderStatus, Reply, ReportEvent, ReportStatus, Text,
};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::event::{Content, Message, Notice, Report, Step};

/// What one item of a webhook must become. Ids, the time of receipt and the source are set by the gateway and stay
/// empty here.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// An event of type `ReportEvent`.
    Report(Box<ReportEvent>),
    /// An event of type `InboundMessage`.
    Message(Box<InboundMessage>),
    /// An event of type `AccountEvent`.
    Account(Box<AccountEvent>),
    /// An event of type `CustomerEvent`.
    Customer(Box<CustomerEvent>),
    /// A dead letter.
    DeadLetter {
        /// The channel in its subject.
        channel: String,
        /// Exactly its bytes.
        payload: Bytes,
    },
}

pub(crate) fn dead_letter(endpoint: &Endpoint, payload: &str) -> Expected {
    Expected::DeadLetter {
        channel: endpoint.channel.to_string(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

/// An event about the account. The caller adds the fields of its BSP.
pub(crate) fn account(endpoint: &Endpoint, kind: AccountEventKind, raw: &Value) -> AccountEvent {
    AccountEvent {
        bsp: endpoint.bsp.as_str().to_owned(),
        channel_id: endpoint.channel.as_str().to_owned(),
        kind: kind.into(),
        raw_json: raw.to_string(),
        ..AccountEvent::default()
    }
}

/// An event about a customer. The caller adds the fields of its BSP.
pub(crate) fn customer(endpoint: &Endpoint, kind: CustomerEventKind, customer: Customer) -> CustomerEvent {
    CustomerEvent {
        bsp: endpoint.bsp.as_str().to_owned(),
        channel_id: endpoint.channel.as_str().to_owned(),
        kind: kind.into(),
        customer: Some(customer),
        ..CustomerEvent::default()
    }
}

/// Identifies an event about the account: the id of its template, or the id in the BSP's own object. Both contain the
/// run's tag and a number, like message ids.
pub(crate) fn account_id(event: &AccountEvent) -> String {
    if let Some(template) = &event.template {
        return template.id.clone();
    }
    let raw: Value = serde_json::from_str(&event.raw_json).unwrap_or_default();
    raw["content"]["id"].as_str().unwrap_or_default().to_owned()
}

/// Identifies an event about a customer: the payment's reference, or the customer's user id.
pub(crate) fn customer_id(event: &CustomerEvent) -> String {
    let payment = event.payment.as_ref().map(|payment| &payment.reference);
    let user_id = event.customer.as_ref().map(|customer| &customer.user_id);
    payment.or(user_id).cloned().unwrap_or_default()
}

/// The customer of a preference. A new one each time, because only the customer in such an event identifies the run.
pub(crate) fn preference_customer(notice: &Notice) -> Customer {
    let user_id = user_id(&notice.id.replace('-', ""));
    Customer { number: notice.customer.clone(), user_id, ..Customer::default() }
}

pub(crate) fn report(endpoint: &Endpoint, report: &Report, raw: &str) -> ReportEvent {
    let (status, aicc_status) = match report.step {
        Step::Pending => (ReportStatus::Pending, Some(1)),
        Step::Sent => (ReportStatus::Sent, Some(1)),
        Step::Delivered => (ReportStatus::Delivered, Some(0)),
        Step::Read => (ReportStatus::Read, None),
        Step::Deleted => (ReportStatus::Deleted, None),
        Step::Failed(_) => (ReportStatus::Failed, Some(2)),
        Step::Unknown => (ReportStatus::Unrecognized, None),
    };
    ReportEvent {
        bsp: endpoint.bsp.as_str().to_owned(),
        channel_id: endpoint.channel.as_str().to_owned(),
        message_id: report.ids.message.clone(),
        recipient: report.customer.clone(),
        sender: report.business.clone(),
        status: status.into(),
        aicc_status,
        provider_status: Some(ProviderStatus { raw: raw.to_owned(), ..ProviderStatus::default() }),
        ..ReportEvent::default()
    }
}

/// `content`, if it differs from [`content`] for this BSP.
pub(crate) fn message(endpoint: &Endpoint, message: &Message, content: ProtoContent) -> InboundMessage {
    InboundMessage {
        bsp: endpoint.bsp.as_str().to_owned(),
        channel_id: endpoint.channel.as_str().to_owned(),
        message_id: message.ids.message.clone(),
        sender: message.customer.clone(),
        recipient: message.business.clone(),
        profile_name: message.name.clone(),
        customer: Some(Customer { number: message.customer.clone(), ..Customer::default() }),
        content: Some(content),
        ..InboundMessage::default()
    }
}

/// The message of a BSP that also sends the customer's user id.
pub(crate) fn with_user_id(event: InboundMessage, user_id: &str) -> InboundMessage {
    let customer = Customer { user_id: user_id.to_owned(), ..event.customer.clone().unwrap_or_default() };
    InboundMessage { customer: Some(customer), ..event }
}

/// The business-scoped user id of a customer, from the number or another text of letters and digits.
pub(crate) fn user_id(customer: &str) -> String {
    format!("XX.{customer}")
}

/// Contents that are the same for every BSP; `None` for files and unknown contents.
pub(crate) fn content(content: &Content) -> Option<ProtoContent> {
    match content {
        Content::Text(body) => Some(ProtoContent::Text(Text { body: body.clone() })),
        Content::Place { latitude, longitude, name } => Some(ProtoContent::Location(Location {
            latitude: *latitude,
            longitude: *longitude,
            name: name.clone(),
            address: String::new(),
        })),
        Content::Button { id, title } => Some(ProtoContent::ButtonReply(Reply {
            id: id.clone(),
            title: title.clone(),
            description: String::new(),
        })),
        Content::Image { .. } | Content::Document { .. } | Content::Unknown => None,
    }
}

pub(crate) fn time(at: Timestamp) -> Option<proto::Timestamp> {
    Some(proto::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

/// A time of a BSP that reports whole seconds.
pub(crate) fn whole_seconds(at: Timestamp) -> Option<proto::Timestamp> {
    Some(proto::Timestamp { seconds: at.as_second(), nanos: 0 })
}
