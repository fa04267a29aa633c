//! HTTP calls to a BSP: sends, and queries of its message log.

pub(crate) mod call;
mod call_texts;
pub(crate) mod client;
pub(crate) mod log_question;
mod log_queue;
pub(crate) mod message_log;
mod retry_after;
