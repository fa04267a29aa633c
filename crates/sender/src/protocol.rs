//! The send protocol as pure functions and values, in the order of a command's life. The stages of `send` and the check of expired
//! commands call them; `crates/model` calls the same functions in every order of two replicas and their faults.
//!
//! | step | decided by | done by |
//! |---|---|---|
//! | a command is delivered | [`at_delivery`] | [`send::process`](fn@crate::send::process) |
//! | its ledger entry is read | [`after_read`] | `Work::read` |
//! | an attempt begins | [`check_attempt`], [`LedgerView::deadline_passed`], [`LedgerView::fail_before_call`] | `Attempt::prepare` |
//! | the intent is written | [`LedgerView::intent`], [`Writer::may_write`], [`read_back`] | `Attempt::write_intent`, `Work::write` |
//! | the call is made | [`must_read_back`], [`may_call`] | `Attempt::may_call`, `Call::send` |
//! | the call ends | [`LedgerView::after_answer`], [`LedgerView::unsent`] | `Attempt::after_call` |
//! | the message log is queried | [`due`], [`after_queries`], [`after_last_query`] | `Work::resolve` |
//! | the outcome is written | [`LedgerView::decided`], [`LedgerView::outcome_writer`], [`Writer::may_write`], [`read_back`] | `Work::decide` |
//! | the result is stored, and the command acknowledged | [`Completion::is_acknowledged`] | `Work::publish`, `LaneWorker::finish` |
//! | a command expires in the stream | [`owed_result`] | `Backlog::answer` |
//! | its customer is erased | [`ErasedCommand::judge`], [`customer_erased`], [`LedgerView::fail_before_call`], [`Record::answered`] | `lane::erasure::settle` |

pub use crate::bsp_client::log_question::LookupResult;
pub use crate::context::Completion;
pub use crate::context::erased_commands::customer_erased;
pub use crate::lane::erasure::judge::{EntryNeeds, ErasedCommand, StoredContent};
pub use crate::lane::expiry::owed_result;
pub use crate::ledger::command_key::CommandKey;
pub use crate::ledger::compact::CommandIdentity;
pub use crate::ledger::record::{NextStep, Record, State};
pub use crate::moment::Moment;
pub use crate::result::dead_letter_reason::DeadLetterReason;
pub use crate::result::outcome::Outcome;
pub use crate::send::decisions::{
    AttemptCheck, INTENT_AGE_MAX, ReadBack, UnreadableEntry, Writer, after_read, at_delivery, check_attempt,
    may_call, must_read_back, read_back,
};
pub use crate::send::resolve_unknown::{
    AfterQueries, LastQuery, LookedUpCall, ResendRule, after_last_query, after_queries, due,
};
pub use crate::send::stage::{LedgerView, Stage, UnknownCall};
