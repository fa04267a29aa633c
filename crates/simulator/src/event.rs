//! What happens, independent of the format of a BSP.

use jiff::Timestamp;

/// One thing that a BSP reports.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A message that the contact center sent has reached another step.
    Report(Report),
    /// A customer wrote.
    Message(Message),
    /// The BSP posts an invalid item, which contains the mark.
    Broken(String),
}

/// The two ids of a message.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    /// The id in the BSP's response when the message was sent, or the id of an inbound message.
    pub(crate) message: String,
    /// WhatsApp's own id, for a BSP that reports it.
    pub(crate) whatsapp: String,
}

/// A step of a message.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) ids: Ids,
    pub(crate) customer: String,
    /// Our number.
    pub(crate) business: String,
    pub(crate) step: Step,
    /// Data that was sent to the BSP with the message and comes back with its reports, if the BSP supports it.
    pub(crate) callback_data: String,
    /// When it happened, in whole milliseconds.
    pub(crate) at: Timestamp,
}

/// Status of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Pending,
    Sent,
    Delivered,
    Read,
    Deleted,
    /// It failed for the reason at this index of the BSP's list, modulo its length.
    Failed(usize),
    /// An unknown status.
    Unknown,
}

/// A customer's message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) ids: Ids,
    pub(crate) customer: String,
    pub(crate) name: String,
    pub(crate) business: String,
    pub(crate) at: Timestamp,
    pub(crate) content: Content,
}

/// What a customer sent.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Text(String),
    Image {
        url: String,
        caption: String,
    },
    Document {
        url: String,
        name: String,
    },
    Place {
        latitude: f64,
        longitude: f64,
        name: String,
    },
    Button {
        id: String,
        title: String,
    },
    /// An unknown type.
    Unknown,
}

/// A change of the account or a customer.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    /// Id of the template, the payment or the customer, unique in the run.
    pub(crate) id: String,
    pub(crate) customer: String,
    /// Our number.
    pub(crate) business: String,
    /// When it happened, in whole milliseconds.
    pub(crate) at: Timestamp,
    pub(crate) what: NoticeKind,
}

/// What happened to the account or a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeKind {
    /// A template was paused.
    TemplatePaused,
    /// The quality of a template went down.
    TemplateDowngraded,
    /// A template has another category.
    TemplateRecategorised,
    /// The limits of the account were reduced.
    AccountRestricted,
    /// A payment failed.
    PaymentFailed,
    /// A message confirmed a payment.
    PaymentConfirmed,
    /// A customer wants no more messages.
    OptedOut,
    /// A customer wants messages again.
    OptedIn,
}

impl NoticeKind {
    pub(crate) const ALL: [Self; 8] = [
        Self::TemplatePaused,
        Self::TemplateDowngraded,
        Self::TemplateRecategorised,
        Self::AccountRestricted,
        Self::PaymentFailed,
        Self::PaymentConfirmed,
        Self::OptedOut,
        Self::OptedIn,
    ];
}
