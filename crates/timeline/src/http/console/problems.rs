//! The page of problems: what is missing, by channel and rule, the longest overdue first.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::answer::{ProblemAnswer, ProblemsAnswer, WaitingAnswer};
use crate::http::console::lacks::{self, Lacks};
use crate::http::console::layout::{self, Section};
use crate::http::console::query::Query;
use crate::http::console::words::{self, visible};
use crate::http::console::{export, messages, parts};
use crate::http::refusal::Refusal;
use crate::http::routes::problems;
use crate::http::state::Shared;
use crate::rules::RuleName;

const PATH: &str = "/problems";
const JSON_PATH: &str = "/v1/problems";

/// `GET /problems`
pub(super) async fn page(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let query = Query::of(uri.query());
    let answer = read(shared, &query).await?;
    let content = html! {
        div class="page-head" {
            h1 { "Problems" }
            p class="actions" {
                a class="button" href=(query.on("/problems.csv")) { "CSV of this page" }
                a class="button" href=(query.on(JSON_PATH)) { "JSON" }
            }
        }
        (counts(&answer))
        (filters(&query))
        @for waiting in &answer.waiting { (self::waiting(waiting)) }
        section class="card" aria-label="List" {
            @if answer.problems.is_empty() { (empty(&answer, &query)) } @else { (list(&answer)) }
            nav class="pages" aria-label="Pages" {
                @if !query.get("cursor").is_empty() { a class="button" href=(query.with("cursor", "").on(PATH)) { "First page" } }
                @if let Some(next) = &answer.next { a class="button" rel="next" href=(query.with("cursor", next).on(PATH)) { "Next page" } }
            }
            (lacks::notices(&Lacks { unreadable: &answer.unreadable, ..Lacks::default() }))
            (parts::read_until(&answer.read_until))
        }
    };
    Ok(layout::page("Problems", Section::Problems, &content))
}

/// `GET /problems.csv`
pub(super) async fn csv(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let answer = read(shared, &Query::of(uri.query())).await?;
    let lines = answer.problems.into_iter().map(|problem| {
        let missing = problem.missing;
        let (pointer, line) = (problem.pointer.unwrap_or_default(), problem.message.unwrap_or_default());
        vec![
            missing.due.to_string(),
            missing.since.to_string(),
            missing.rule,
            problem.channel,
            missing.text,
            missing.advice,
            line.status,
            line.command_id.unwrap_or_default(),
            pointer,
        ]
    });
    let names = ["due", "since", "rule", "channel", "text", "advice", "status", "command_id", "pointer"];
    let head = names.map(str::to_owned).to_vec();
    Ok(export::file("problems", std::iter::once(head).chain(lines)))
}

async fn read(shared: Arc<Shared>, query: &Query) -> Result<ProblemsAnswer, Refusal> {
    Ok(problems::list(State(shared), query.to_uri(JSON_PATH)?).await?.0)
}

fn filters(query: &Query) -> Markup {
    let rules = RuleName::ALL.iter().filter(|rule| **rule != RuleName::Delivery).map(|rule| rule.name());
    html! {
        form class="filters card" method="get" action=(PATH) aria-label="Filters" {
            label { "Channel" input name="channel" value=(query.get("channel")) autocomplete="off" maxlength="100"; }
            label { "Rule" (messages::select("rule", query, rules, |name| words::rule(name).to_owned())) }
            div class="filter-actions" {
                button type="submit" { "Filter" }
                @if !query.is_empty() { a class="button" href=(PATH) { "Clear" } }
            }
        }
    }
}

/// How much is overdue, with a link to each channel and rule.
pub(super) fn counts(answer: &ProblemsAnswer) -> Markup {
    html! {
        @if !answer.counts.is_empty() {
            ul class="counts" aria-label="Problems by channel and rule" {
                @for of in &answer.counts {
                    li {
                        a class="count" href=(Query::default().with("channel", &of.channel).with("rule", &of.rule).on(PATH)) {
                            strong { (of.count) } " " span { (words::rule(&of.rule)) } " " span class="quiet" { (visible(&of.channel)) }
                        }
                    }
                }
            }
        }
    }
}

/// What a reader has not acknowledged.
pub(super) fn waiting(of: &WaitingAnswer) -> Markup {
    let reader = if of.rule == "webhook_waiting" {
        "The normalizer has not processed"
    } else {
        "The back end has not acknowledged"
    };
    html! {
        div class="missing" {
            p class="missing-text" { span class="missing-sign" aria-hidden="true" { "!" } strong { (reader) " up to " (of.count) " messages" } }
            p { "The oldest, " a href=(parts::life_path(&of.pointer)) { (of.pointer) } @if !of.channel.is_empty() { " of " (visible(&of.channel)) } ", waits since " (parts::time(of.since)) "." }
        }
    }
}

fn empty(answer: &ProblemsAnswer, query: &Query) -> Markup {
    html! {
        div class="empty" {
            @if !parts::is_read(&answer.read_until) {
                p class="empty-title" { "Not known yet." }
                p { "Not every stream was read. Reload the page in a few seconds." }
            } @else if !answer.unreadable.is_empty() {
                p class="empty-title" { "Not known." }
                p { "No message is overdue as far as the store can be read." }
            } @else if query.is_empty() && answer.waiting.is_empty() {
                p class="empty-title" { "Nothing is missing." }
                p { "Every message up to the time below has what must follow: results, reports and fetched files." }
            } @else {
                p { "No other message is overdue with these filters." }
                @if !query.is_empty() { p { a class="button" href=(PATH) { "Remove the filters" } } }
            }
        }
    }
}

fn list(answer: &ProblemsAnswer) -> Markup {
    html! {
        table class="list" {
            caption class="hidden" { "Problems, the longest overdue first" }
            thead { tr { th scope="col" { "Overdue since" } th scope="col" { "Missing" } th scope="col" { "Message" } th scope="col" { "Channel" } } }
            tbody { @for problem in &answer.problems { (row(problem)) } }
        }
    }
}

fn row(problem: &ProblemAnswer) -> Markup {
    html! {
        tr {
            td class="when" { (parts::time(problem.missing.due)) }
            th scope="row" {
                span class="bad-text" { (visible(&problem.missing.text)) }
                span class="under" { (parts::note(&problem.missing.advice)) }
            }
            td {
                @match (&problem.pointer, &problem.message) {
                    (Some(pointer), Some(line)) => {
                        a href=(parts::life_path(pointer)) { (parts::title(line)) } " " (parts::status(&line.status))
                    }
                    _ => { "no longer stored" }
                }
            }
            td class="channel" { (visible(&problem.channel)) }
        }
    }
}
