//! The page of a message's life, or of several when several ids are given.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::answer::{GapAnswer, Headline, LifeAnswer, TimelineAnswer};
use crate::http::console::layout::{self, Section};
use crate::http::console::parts;
use crate::http::console::query::{Query, encoded};
use crate::http::console::step;
use crate::http::console::unmask;
use crate::http::console::words::visible;
use crate::http::refusal::Refusal;
use crate::http::routes::timeline;
use crate::http::state::Shared;
use crate::row::shown;

/// Most ids of a page.
pub(super) const IDS_MAX: usize = 20;
/// Most lives that are open on a page; of more, each opens by itself.
const OPEN_LIVES_MAX: usize = 3;

/// `GET /timeline?id=…&id=…`
pub(super) async fn page(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let query = Query::of(uri.query());
    let ids: Vec<&str> = query.all("id").collect();
    if ids.is_empty() {
        return Err(Refusal::invalid("id", "is missing: search for an id"));
    }
    if ids.len() > IDS_MAX {
        return Err(Refusal::invalid("id", format!("is given more than {IDS_MAX} times")));
    }
    let (mut found, mut not_found, mut last) = (Vec::new(), Vec::new(), None);
    for id in ids {
        match timeline::answer(&shared, id).await {
            Ok(axum::Json(answer)) => found.push((id.to_owned(), answer)),
            Err(refusal @ Refusal::NotFound { .. }) => {
                not_found.push(shown::id(id));
                last = Some(refusal);
            }
            Err(refusal) => return Err(refusal),
        }
    }
    let Some((_, first)) = found.first() else {
        return Err(last.unwrap_or(Refusal::NoPath));
    };
    let title = match &first.lives[..] {
        [life] if found.len() == 1 => parts::title(&life.headline),
        _ => "Timelines".to_owned(),
    };
    Ok(layout::page(&title, Section::Other, &content(&found, &not_found)))
}

fn content(found: &[(String, TimelineAnswer)], not_found: &[String]) -> Markup {
    let lives = found.iter().map(|(_, answer)| answer.lives.len()).sum::<usize>();
    html! {
        @if !not_found.is_empty() {
            div class="card notice" role="note" {
                p { strong { "Not found: " } @for id in not_found { (parts::id(id)) " " } }
                p { "Check these ids. What is older than the retention is gone." }
            }
        }
        @if lives > 1 { h1 class="page-title" { (lives) " messages" } }
        @for (asked, answer) in found {
            @for life in &answer.lives {
                @if lives > OPEN_LIVES_MAX {
                    details class="card folded" {
                        summary { (parts::time(life.headline.began)) " " strong { (parts::title(&life.headline)) } " " (parts::status(&life.headline.status))
                            @if !life.missing.is_empty() { " " (parts::problem("something is missing")) } }
                        (body(life, asked, lives > 1))
                    }
                } @else {
                    article class="card life" { (body(life, asked, lives > 1)) }
                }
            }
            @if answer.cut { p class="card notice" { "There is more than is shown here. Search for the id of one message." } }
            @for gap in &answer.missed { (missed(gap)) }
        }
        @if let Some((_, answer)) = found.first() { (parts::read_until(&answer.read_until)) }
    }
}

fn body(life: &LifeAnswer, asked: &str, is_one_of_several: bool) -> Markup {
    let line = &life.headline;
    let pointer = life.rows.first().map_or(asked, |row| row.pointer.as_str());
    html! {
        header class="life-head" {
            p class="eyebrow" { (parts::direction(&line.direction)) @if !line.channel.is_empty() { " · " (visible(&line.channel)) } }
            @if is_one_of_several { h2 { (parts::title(line)) } } @else { h1 { (parts::title(line)) } }
            p class="chips" {
                (parts::status(&line.status))
                @if !life.missing.is_empty() { " " (parts::problem(if life.missing.len() == 1 { "1 problem" } else { "several problems" })) }
                @else { " " span class="chip neutral" { "nothing is missing" } }
            }
            (facts(line))
            p class="actions" {
                a class="button" href=(parts::life_path(pointer)) data-link="" { "Link to this page" }
                a class="button" href={ "/v1/timeline?id=" (encoded(pointer)) } { "JSON" }
            }
        }
        @for missing in &life.missing { (parts::missing(missing)) }
        h3 class="section-title" { "Timeline" }
        ol class="steps" { @for row in &life.rows { (step::step(row)) } }
        (unmask::form(pointer))
        @if !life.notes.is_empty() { ul class="notes" { @for note in &life.notes { li { (visible(&note.text)) } } } }
    }
}

fn facts(line: &Headline) -> Markup {
    html! {
        dl class="facts" {
            @if let Some(recipient) = &line.recipient { div { dt { "Customer" } dd { (visible(recipient)) } } }
            @if !line.bsp.is_empty() { div { dt { "BSP" } dd { (visible(&line.bsp)) } } }
            @if !line.tenant.is_empty() { div { dt { "Tenant" } dd { (visible(&line.tenant)) } } }
            @if let Some(id) = &line.command_id { div { dt { "Command" } dd { (parts::id(id)) } } }
            @if let Some(id) = &line.message_id { div { dt { "Message" } dd { (parts::id(id)) } } }
            div { dt { "Began" } dd { (parts::time(line.began)) } }
            div { dt { "Last step" } dd { (parts::time(line.ended)) } }
        }
    }
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
