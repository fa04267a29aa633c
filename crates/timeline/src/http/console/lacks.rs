//! What a page lacks although it was stored, or was in the streams: parts of the store that cannot be read, and messages that were
//! missed. How far the streams are read is left to [`crate::http::console::parts::read_until`].

use maud::{Markup, html};

use crate::http::answer::{GapAnswer, UnreadableAnswer};
use crate::http::console::parts;
use crate::http::console::words::visible;

/// What an answer says of what it lacks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lacks<'a> {
    /// What is stored and cannot be read.
    pub(super) unreadable: &'a [UnreadableAnswer],
    /// Ranges of messages that were not read.
    pub(super) missed: &'a [GapAnswer],
    /// Number of further ranges.
    pub(super) missed_left_out: u64,
}

/// A notice for each. Nothing if the answer is whole.
pub(super) fn notices(lacks: &Lacks<'_>) -> Markup {
    html! {
        @for of in lacks.unreadable {
            p class="card notice" role="note" {
                strong { "Cannot be read: " (visible(&of.part)) } ". What it holds is absent here: " (visible(&of.text))
            }
        }
        @for gap in lacks.missed { (missed(gap)) }
        @if lacks.missed_left_out > 0 {
            p class="card notice" role="note" { strong { "Not read: " (lacks.missed_left_out) " more ranges" } ", which are not shown here." }
        }
    }
}

/// Instead of saying that nothing is missing, where that cannot be known.
pub(super) fn not_known() -> Markup {
    html! { span class="chip open" { span aria-hidden="true" { "◷" } " not known: not everything can be read" } }
}

fn missed(gap: &GapAnswer) -> Markup {
    html! {
        p class="card notice" role="note" {
            strong { "Not read: " } (gap.stream) " " (gap.first) "–" (gap.last)
            ", because the stream no longer held them. Steps stored before " (parts::time(gap.before))
            @if let Some(after) = gap.after { " and after " (parts::time(after)) }
            " may be absent here."
        }
    }
}
