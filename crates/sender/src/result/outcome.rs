//! Results: the event that is published about a decided command. Pure.

use bsp::sending::SendResponse;
use bsp::{BspId, ChannelId, CommandId, event_id};
use bus::Delivery;
use jiff::Timestamp;
use proto::v1::{CommandFault, ProviderStatus, ReportError, SendOutcome, SendResult};

use crate::result::dead_letter_reason::DeadLetterReason;
use crate::result::publish::{self, Owner};

/// Final state of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The BSP has accepted the message.
    Accepted {
        /// The BSP's id of the message.
        message_id: String,
        /// The BSP's status.
        status: ProviderStatus,
    },
    /// The BSP has rejected the message, or it cannot be sent.
    Rejected {
        /// The BSP's status, if it gave one.
        status: Option<ProviderStatus>,
        /// The error.
        error: ReportError,
        /// The fields that the BSP rejects.
        faults: Vec<CommandFault>,
    },
    /// The command is invalid.
    Refused {
        /// Its faults.
        faults: Vec<CommandFault>,
    },
    /// It is a dead letter too.
    Dead {
        /// Why.
        dead: DeadLetterReason,
        /// The faults of the command, if it was decoded.
        faults: Vec<CommandFault>,
    },
    /// Its deadline passed before it was sent.
    Expired {
        /// Why the last call had no effect, if there was one.
        last_error: Option<String>,
    },
    /// It may have been sent.
    Unknown,
}

/// Context of a result.
#[derive(Debug, Clone)]
pub(crate) struct ResultContext<'a> {
    pub(crate) owner: Owner<'a>,
    /// The stored command.
    pub(crate) delivery: &'a Delivery,
    pub(crate) command_id: &'a str,
    pub(crate) context: &'a str,
    pub(crate) attempts: u32,
}

impl Outcome {
    /// Returns what a response decides, or `None` if it decides nothing. If the command has had one attempt, a
    /// duplicate is another sender's message; otherwise an earlier attempt has arrived.
    pub(crate) fn of_answer(answer: SendResponse, message_id: &str, attempts: u32) -> Option<Self> {
        match answer {
            SendResponse::Accepted { message_id, status } => Some(Self::Accepted { message_id, status }),
            SendResponse::Rejected { status, error, faults } => {
                Some(Self::Rejected { status, error, faults })
            }
            SendResponse::Duplicate { status } if attempts <= 1 => {
                let error = ReportError {
                    code: status.id.clone(),
                    name: status.name.clone(),
                    description: status.description.clone(),
                    permanent: Some(true),
                };
                Some(Self::Rejected { status: Some(status), error, faults: Vec::new() })
            }
            SendResponse::Duplicate { status } => {
                Some(Self::Accepted { message_id: message_id.to_owned(), status })
            }
            SendResponse::Limited | SendResponse::NotSent(_) | SendResponse::Indeterminate { .. } => None,
        }
    }

    /// Returns a rejection that names no field.
    pub(crate) fn rejected_for(error: ReportError) -> Self {
        Self::Rejected { status: None, error, faults: Vec::new() }
    }

    pub(crate) fn rejected(code: &str, description: &str) -> Self {
        Self::rejected_for(error(code, description, Some(true)))
    }

    /// Returns the value of a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Rejected { .. } | Self::Refused { .. } | Self::Dead { .. } => "rejected",
            Self::Expired { .. } => "expired",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the result event.
    pub(crate) fn to_result(&self, of: ResultContext<'_>, now: Timestamp) -> SendResult {
        let mut result = SendResult {
            bsp: of.owner.bsp().map(BspId::as_str).unwrap_or_default().to_owned(),
            channel_id: of.owner.channel().map(ChannelId::as_str).unwrap_or_default().to_owned(),
            command_id: of.command_id.to_owned(),
            message_id: CommandId::parse(of.command_id).map(|id| id.message_id()).unwrap_or_default(),
            command_sequence: of.delivery.sequence,
            command_msg_id: publish::msg_id(of.delivery).to_owned(),
            attempts: of.attempts,
            decided_at: Some(bsp::time::to_proto(now)),
            context: of.context.to_owned(),
            ..SendResult::default()
        };
        match self.clone() {
            Self::Accepted { message_id, status } => {
                result.set_outcome(SendOutcome::Accepted);
                result.message_id = message_id;
                result.provider_status = Some(status);
            }
            Self::Rejected { status, error, faults } => {
                result.set_outcome(SendOutcome::Rejected);
                result.faults = faults;
                result.provider_status = status;
                result.error = Some(error);
            }
            Self::Refused { faults } => {
                result.set_outcome(SendOutcome::Rejected);
                result.error = Some(error("INVALID_COMMAND", &in_words(&faults), Some(true)));
                result.faults = faults;
            }
            Self::Dead { dead, faults } => {
                result.set_outcome(SendOutcome::Rejected);
                let words = if faults.is_empty() { dead.reason().to_owned() } else { in_words(&faults) };
                result.error = Some(error(dead.code(), &words, Some(true)));
                result.faults = faults;
            }
            Self::Expired { last_error } => {
                result.set_outcome(SendOutcome::Expired);
                let text = last_error.map_or_else(
                    || "the deadline passed before the message could be sent".to_owned(),
                    |last| {
                        format!(
                            "the deadline passed before the message could be sent; the last attempt: {last}"
                        )
                    },
                );
                result.error = Some(error("DEADLINE_PASSED", &text, Some(true)));
            }
            Self::Unknown => {
                result.set_outcome(SendOutcome::Unknown);
                let text = "the call ended without a conclusive response, and the BSP's message log did not show the message";
                result.error = Some(error("OUTCOME_UNKNOWN", text, None));
            }
        }
        let code = result.error.as_ref().map(|error| error.code.clone()).unwrap_or_default();
        let outcome = result.outcome().as_str_name();
        result.event_id = match of.owner {
            Owner::Channel(bsp, channel) if !matches!(self, Self::Dead { .. }) => {
                event_id::of_result(bsp, channel, of.command_id, outcome, &code)
            }
            Owner::Channel(..) | Owner::NoChannel(_) => {
                event_id::of_stored_command(of.delivery.sequence, of.delivery.stored_at)
            }
        };
        result
    }
}

fn in_words(faults: &[CommandFault]) -> String {
    let list: Vec<_> = faults.iter().map(|fault| format!("{} {}", fault.field, fault.rule)).collect();
    list.join("; ")
}

fn error(code: &str, description: &str, permanent: Option<bool>) -> ReportError {
    ReportError { code: code.to_owned(), name: String::new(), description: description.to_owned(), permanent }
}
