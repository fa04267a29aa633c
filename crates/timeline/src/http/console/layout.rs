//! What every page has around its content.

use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::http::access::{Role, current};
use crate::http::console::{assets, who};

/// htmx evaluates no text as code, writes no styles, keeps no page and asks no other host.
const HTMX: &str =
    r#"{"allowEval":false,"includeIndicatorStyles":false,"historyCacheSize":0,"selfRequestsOnly":true}"#;

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Home,
    Messages,
    Problems,
    Channels,
    Live,
    Audit,
    /// A page with personal data.
    Unmasked,
    Other,
}

/// The navigation. A new page has an entry here, and one in [`Section`].
const ENTRIES: &[(Section, &str, &str)] = &[
    (Section::Home, "/", "Overview"),
    (Section::Messages, "/messages", "Messages"),
    (Section::Problems, "/problems", "Problems"),
    (Section::Channels, "/channels", "Channels"),
    (Section::Live, "/live", "Live"),
    (Section::Audit, "/audit", "Audit"),
];

/// A whole page.
pub(super) fn page(title: &str, section: Section, content: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                meta name="htmx-config" content=(HTMX);
                title { (title) " · imchannel" }
                link rel="icon" href=(assets::path("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::path("console.css"));
                script src=(assets::path("htmx.min.js")) defer {}
                @if section == Section::Live { script src=(assets::path("htmx-ext-sse.min.js")) defer {} }
                script src=(assets::path("console.js")) defer {}
            }
            body {
                a class="skip" href="#content" { "Skip to content" }
                (header(section))
                main id="content" tabindex="-1" { (content) }
                footer class="foot" { p { "imchannel " (version::NUMBER) " · " @if section != Section::Unmasked { "Numbers and texts are masked. " } "Times are UTC" span class="local-zone" {} "." } }
                // The script says here what was copied.
                div id="said" role="status" aria-live="polite" class="said" {}
            }
        }
    };
    Html(page.into_string()).into_response()
}

fn header(section: Section) -> Markup {
    html! {
        header class="head" {
            div class="head-in" {
                a class="brand" href="/" { (MARK) span { "imchannel" } }
                @if current::signed_in().is_some() {
                    nav aria-label="Main" {
                        ul {
                            @for (of, path, name) in ENTRIES.iter().filter(|(of, ..)| may_open(*of)) {
                                li { a href=(path) aria-current=[(*of == section).then_some("page")] { (name) } }
                            }
                        }
                    }
                    @if section != Section::Home { (search(false)) }
                    (who::who())
                }
            }
        }
    }
}

/// Whether the user may open the pages of an entry.
fn may_open(section: Section) -> bool {
    section != Section::Audit || current::signed_in().is_some_and(|who| who.user.role >= Role::Unmask)
}

/// The mark of the product.
const MARK: PreEscaped<&str> = PreEscaped(
    r#"<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path d="M4 5.5h16v10H10l-4 3.5v-3.5H4z" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round"/><path d="M8 9h8M8 12h5" stroke="currentColor" stroke-width="2" stroke-linecap="round"/></svg>"#,
);

/// The search for ids and numbers. It is posted, so that no number is in an address.
pub(super) fn search(is_large: bool) -> Markup {
    html! {
        form class=(if is_large { "search large" } else { "search" }) method="post" action="/search" role="search" {
            label for="q" class=[(!is_large).then_some("hidden")] { "Ids or a customer's number" }
            div class="search-row" {
                // Not an input: a browser would join the lines of pasted ids.
                textarea id="q" name="q" rows="1" required maxlength="4000" autocomplete="off" autocapitalize="off" spellcheck="false"
                    placeholder=(if is_large { "imc-order-17, wamid.…, WEBHOOKS/123, +49 …" } else { "Id or number" })
                    aria-describedby=[is_large.then_some("q-help")] aria-keyshortcuts="/" {}
                button type="submit" { "Search" }
            }
            @if is_large {
                p id="q-help" class="quiet" { "Any id: of a command, message, event or file, or the place of a stored message. Several ids are separated by spaces or lines. A number does not appear in the address." }
            }
        }
    }
}
