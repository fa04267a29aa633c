//! How a step's full message is shown. Pure.

use maud::{Markup, html};

use crate::http::answer;
use crate::http::console::parts;
use crate::http::console::stored::difference::{Change, FIELDS_MAX, Field};
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
        section class="card drawer-page" { (content) }
    }
}

/// The full message, the webhook behind it, and the difference.
pub(super) fn content(step: &Step) -> Markup {
    let pointer = answer::pointer(&step.row);
    let is_webhook = step.row.kind == RowKind::Webhook;
    html! {
        @if !is_webhook {
            (original(step, &pointer))
        }
        @if let Some(webhook) = &step.webhook { (self::webhook(webhook)) }
    }
}

fn original(step: &Step, pointer: &str) -> Markup {
    let kept = parts::parsed(&step.row.body);
    html! {
        @match &step.original {
            Whole::Body(body) if !body.is_empty() => {
                h4 { (heading(step.row.kind)) }
                (parts::body(&parts::parsed(body), &format!("{} {pointer}", heading(step.row.kind))))
            }
            other => {
                h4 { (heading(step.row.kind)) }
                (why_not(other, step.row.pointer.stream))
                @if !step.row.body.is_empty() {
                    p class="quiet" { "The timeline has kept this of it:" }
                    (parts::body(&kept, &format!("{} {pointer}", heading(step.row.kind))))
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

fn webhook(webhook: &WebhookBehind) -> Markup {
    let pointer = format!("{}/{}", StreamNumber::Webhooks.name(), webhook.sequence);
    html! {
        h4 { "Raw webhook " (parts::id(&pointer)) }
        @match &webhook.body {
            Whole::Body(body) if !body.is_empty() => { (parts::body(&parts::parsed(body), &format!("Raw webhook {pointer}"))) }
            other => { (why_not(other, StreamNumber::Webhooks)) }
        }
        @if let Some(compared) = &webhook.compared {
            h4 { "What today's parser makes of it" }
            (difference(compared))
        }
    }
}

fn difference(compared: &Compared) -> Markup {
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
                        (change(&item.change, compared))
                    }
                }
            }
        }
        @if compared.difference.ignored > 0 { p class="quiet" { (compared.difference.ignored) " items are ignored: the back end does not need them." } }
        @if compared.left_out > 0 { p class="quiet" { (compared.left_out) " published events are not compared: they are too many, or no longer in the stream EVENTS." } }
    }
}

fn change(change: &Change, compared: &Compared) -> Markup {
    html! {
        @match change {
            Change::Same => { span class="chip good" { span aria-hidden="true" { "✓" } " no difference" } }
            Change::NotMade => { span class="chip bad" { "was published, and is not made any more" } }
            Change::Refused(reason) => { span class="chip bad" { "refused" } " " (visible(reason)) }
            Change::NotPublished if compared.is_processed == Some(false) => { "will be published: the normalizer has not processed the webhook yet" }
            Change::NotPublished if compared.left_out > 0 => { span class="chip neutral" { "not compared" } }
            Change::NotPublished => { span class="chip open" { "new" } " It was not published. " code { "imchannel replay webhooks" } " can publish it." }
            Change::Fields(fields) => { span class="chip open" { "differs" } (self::fields(fields)) }
        }
    }
}

fn fields(fields: &[Field]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Fields that differ" {
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
