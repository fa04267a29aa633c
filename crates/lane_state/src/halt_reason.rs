//! Why a lane sends nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a lane sends nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HaltReason {
    /// Its owner has just acquired it and has not checked yet whether it may send.
    Starting,
    /// Its channel is paused.
    Paused,
    /// A durable consumer of its commands is missing.
    ConsumerMissing,
    /// The ledger of sends may have lost entries.
    LedgerNotIntact,
    /// The ledger of sends is full.
    LedgerFull,
    /// The account's key cannot be used.
    NoKey {
        /// Why, without the key.
        error: String,
    },
    /// The BSP limits the rate. This passes without an operator.
    RateLimited,
    /// The BSP or the account fails.
    AccountFails {
        /// The last failure, without personal data.
        error: String,
    },
    /// Commands that the former owner held are not redelivered yet.
    AwaitingRedelivery,
    /// A reason that this version does not have, as text of the version that wrote it.
    #[serde(skip)]
    Other {
        /// The text.
        text: String,
    },
}

/// The reason as text for people. It is stored too, and docs/runbook.md explains each.
impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("begins"),
            Self::Paused => f.write_str("paused by an operator"),
            Self::ConsumerMissing => {
                f.write_str("its durables are missing: run `imchannel channel apply` or `streams apply`")
            }
            Self::LedgerNotIntact => f.write_str(
                "the ledger of sends may have lost entries: see /ready, and run `imchannel streams repair`",
            ),
            Self::LedgerFull => f.write_str("the ledger of sends is full"),
            Self::NoKey { error } => write!(f, "no key: {error}"),
            Self::RateLimited => f.write_str("the BSP limits the rate"),
            Self::AccountFails { error } => write!(f, "the account fails ({error})"),
            Self::AwaitingRedelivery => f.write_str("waits for what the last owner held"),
            Self::Other { text } => f.write_str(text),
        }
    }
}
