//! Tests of the normalizer: what becomes of the items of a webhook, and that nothing is lost.

mod parsing;
mod contents;
mod notices;
mod unread_members;
mod spec_examples;
mod dead_letters;
mod crash;
