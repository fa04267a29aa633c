//! How a step's full message is shown. Pure.

use maud::{Markup, html};

use crate::http::answer;
use crate::http::console::parts;
use crate::http::console::stored::difference::{Change, Compared as Item, FIELDS_MAX, Field};
use crate::http::console::stored::{Compared, Step, WebhookBehind, Whole};
use crate::http::console::words::{self, visible};
use crate::row::{RowKind, StreamNumber};

/// The title of the page.
pub(super) fn title(step: &Step) -> String {
    format!("{} {}", words::kind(step.row.kind.name()), answer::pointer(&step.row))
}

/// The page around the content.
pub(super) fn page(step: &Step, content: &Markup) -> Markup {
    let pointer = answer::pointer(&step.row);
    html! {
        div class="page-head" {
            h1 { (title(step)) }
            p class="actions" { a class="button" href=(parts::life_path(&pointer)) { "Timeline of the message" } }
        }
        section class="card drawer-page" aria-labelledby="full" { h2 id="full" class="hidden" { "Full message" } (content) }
    }
}

/// The full message, the webhook behind it, and the difference.
pub(super) fn content(step: &Step) -> Markup {
    html! {
        @if step.row.kind != RowKind::Webhook { (original(step)) }
        @if let Some(webhook) = &step.webhook { (self::webhook(webhook, &label(step))) }
    }
}

/// What a step is, for the names of regions: those of a page differ.
fn label(step: &Step) -> String {
    let pointer = answer::pointer(&step.row);
    match step.row.pointer.part {
        0 => format!("{} {pointer}", heading(step.row.kind)),
        part => format!("{} {pointer}, attempt {part}", heading(step.row.kind)),
    }
}

fn original(step: &Step) -> Markup {
    let kept = parts::parsed(&step.row.body);
    html! {
        @match &step.original {
            Whole::Body(body) if !body.is_empty() => {
                h3 { (heading(step.row.kind)) }
                (parts::body(&parts::parsed(body), &label(step)))
            }
            other => {
                h3 { (heading(step.row.kind)) }
                (why_not(other, step.row.pointer.stream))
                @if !step.row.body.is_empty() {
                    p class="quiet" { "The timeline has kept this of it:" }
                    (parts::body(&kept, &label(step)))
                }
            }
        }
    }
}

/// What a message is called.
const fn heading(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Command => "Command",
        RowKind::Attempt => "Call to the BSP",
        RowKind::Webhook => "Raw webhook",
        RowKind::DeadLetter => "Dead letter",
        RowKind::Result
        | RowKind::Fetch
        | RowKind::Report
        | RowKind::Message
        | RowKind::Account
        | RowKind::Customer => "Event",
    }
}

fn why_not(whole: &Whole, stream: StreamNumber) -> Markup {
    let name = stream.name();
    html! {
        p class="quiet" {
            @match whole {
                Whole::Body(_) => { "It is too long to be shown here, or of an unknown BSP. " code { "imchannel tail" } " shows it." }
                Whole::Gone => { "The full message is no longer in the stream " (name) "." }
                Whole::Unavailable => { "The full message cannot be read now: NATS does not answer. Reload the page in a few seconds." }
            }
        }
    }
}

fn webhook(webhook: &WebhookBehind, of: &str) -> Markup {
    let pointer = format!("{}/{}", StreamNumber::Webhooks.name(), webhook.sequence);
    let label = format!("Raw webhook {pointer}, behind {of}");
    html! {
        h3 { "Raw webhook " (parts::id(&pointer)) }
        @match &webhook.body {
            Whole::Body(body) if !body.is_empty() => { (parts::body(&parts::parsed(body), &label)) }
            other => { (why_not(other, StreamNumber::Webhooks)) }
        }
        @if let Some(compared) = &webhook.compared {
            h3 { "What today's parser makes of it" }
            (difference(compared, of))
        }
    }
}

fn difference(compared: &Compared, of: &str) -> Markup {
    let items = &compared.difference.items;
    let are_same = !items.is_empty() && items.iter().all(|item| item.change == Change::Same);
    html! {
        @if are_same {
            p { span class="chip good" { span aria-hidden="true" { "✓" } " no difference" } " "
                @if items.len() == 1 { "The event is the same as the one that was published." } @else { "All " (items.len()) " events are the same as those that were published." } }
        } @else if items.is_empty() {
            p { "No event: there is nothing in it for the back end." }
        } @else {
            ul class="differences" {
                @for item in items {
                    li {
                        strong { (words::kind(item.kind)) } " "
                        @if !item.event_id.is_empty() { (parts::id(&item.event_id)) " " }
                        (change(item, compared, of))
                    }
                }
            }
        }
        @if compared.difference.ignored > 0 { p class="quiet" { (compared.difference.ignored) " items are ignored: the back end does not need them." } }
        @if compared.left_out > 0 { p class="quiet" { (compared.left_out) " published events are not compared: they are too many, or no longer in the stream EVENTS." } }
    }
}

fn change(item: &Item, compared: &Compared, of: &str) -> Markup {
    html! {
        @match &item.change {
            Change::Same => { span class="chip good" { span aria-hidden="true" { "✓" } " no difference" } }
            Change::NotMade => { span class="chip bad" { "was published, and is not made any more" } }
            Change::Refused(reason) => { span class="chip bad" { "refused" } " " (visible(reason)) }
            Change::NotPublished if compared.is_processed == Some(false) => { "will be published: the normalizer has not processed the webhook yet" }
            Change::NotPublished if compared.left_out > 0 => { span class="chip neutral" { "not compared" } }
            Change::NotPublished => { span class="chip open" { "new" } " It was not published. " code { "imchannel replay webhooks" } " can publish it." }
            Change::Fields(fields) => { span class="chip open" { "differs" } (self::fields(fields, &format!("Fields that differ in {} {}, behind {of}", item.kind, item.event_id))) }
        }
    }
}

fn fields(fields: &[Field], label: &str) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr { th scope="col" { "Field" } th scope="col" { "Published" } th scope="col" { "Today" } } }
                tbody {
                    @for field in fields.iter().take(FIELDS_MAX) {
                        tr { th scope="row" { code { (visible(&field.path)) } } td { (value(&field.published)) } td { (value(&field.now)) } }
                    }
                }
            }
        }
        @if fields.len() > FIELDS_MAX { p class="quiet" { "And " (fields.len() - FIELDS_MAX) " more." } }
    }
}

fn value(text: &str) -> Markup {
    html! { @if text.is_empty() { span class="quiet" { "absent" } } @else { (visible(text)) } }
}
