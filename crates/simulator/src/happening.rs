//! What happens, in no BSP's language.

use jiff::Timestamp;

/// One thing that a BSP tells.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A message that the contact centre sent has come a step further.
    Report(Report),
    /// A customer wrote.
    Message(Message),
    /// The BSP has a bad moment: an item that makes no sense. It holds the mark.
    Broken(String),
}

/// The two ids of a message.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    /// What the BSP answered when the message was sent, or what an inbound message is called.
    pub(crate) message: String,
    /// WhatsApp's own, for a BSP that tells it.
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
    /// What was given to the BSP with the message and comes back with its reports, where the BSP does so.
    pub(crate) callback_data: String,
    /// When it happened, in whole milliseconds.
    pub(crate) at: Timestamp,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Pending,
    Sent,
    Delivered,
    Read,
    Deleted,
    /// It failed for the reason at this place of the BSP's list, which is as long as needed.
    Failed(usize),
    /// Something that nobody has heard of.
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
    /// A type that nobody has heard of.
    Unknown,
}

/// Something about the account or a customer.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    /// Of the template, the payment or the customer, unique in the run.
    pub(crate) id: String,
    pub(crate) customer: String,
    /// Our number.
    pub(crate) business: String,
    /// When it happened, in whole milliseconds.
    pub(crate) at: Timestamp,
    pub(crate) what: What,
}

/// What happened to the account or a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A template was paused.
    TemplatePaused,
    /// The quality of a template went down.
    TemplateDowngraded,
    /// A template has another category.
    TemplateRecategorised,
    /// The account may do less than before.
    AccountRestricted,
    /// A payment did not go through.
    PaymentFailed,
    /// A message confirmed a payment.
    PaymentConfirmed,
    /// A customer wants no more messages.
    OptedOut,
    /// A customer wants messages again.
    OptedIn,
}

impl What {
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
