//! The page of a message's life, or of several when several ids are given.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::answer::{Headline, LifeAnswer, NoteAnswer, TimelineAnswer};
use crate::http::console::lacks::{self, Lacks};
use crate::http::console::layout::{self, Section};
use crate::http::console::query::{Query, encoded};
use crate::http::console::words::{self, visible};
use crate::http::console::{export, parts, step, unmask};
use crate::http::refusal::Refusal;
use crate::http::routes::timeline;
use crate::http::state::Shared;
use crate::row::shown;

/// Most ids of a page.
pub(super) const IDS_MAX: usize = 20;
/// Most lives that are open on a page; of more, each opens by itself.
const OPEN_LIVES_MAX: usize = 3;

const PATH: &str = "/timeline";
/// How many ids of a search were not found. Their texts are not in the address, because they may contain numbers.
pub(super) const NOT_FOUND: &str = "not_found";

/// What the ids of a page led to.
struct Found {
    /// Answers with the ids that were asked for.
    answers: Vec<(String, TimelineAnswer)>,
    /// Ids that were not found, as they may be shown.
    not_found: Vec<String>,
    /// Ids of a search that were not found and are not in the address.
    more_not_found: usize,
}

/// `GET /timeline?id=…&id=…`
pub(super) async fn page(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let query = Query::of(uri.query());
    let found = find(&shared, &query).await?;
    let lives: Vec<_> = found.answers.iter().flat_map(|(_, answer)| &answer.lives).collect();
    let title = match lives[..] {
        [life] => parts::title(&life.headline),
        _ => format!("{} messages", lives.len()),
    };
    Ok(layout::page(&title, Section::Other, &content(&found, &query)))
}

/// `GET /timeline.csv?id=…&id=…`
pub(super) async fn csv(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let found = find(&shared, &Query::of(uri.query())).await?;
    let lives = found.answers.into_iter().flat_map(|(_, answer)| answer.lives);
    let names = [
        "at",
        "happened_at",
        "kind",
        "status",
        "summary",
        "error",
        "channel",
        "command_id",
        "pointer",
        "part",
    ];
    let lines = lives.flat_map(|life| {
        let line = life.headline;
        life.rows.into_iter().map(move |row| {
            let error = row.error.as_ref().map(parts::error).unwrap_or_default();
            vec![
                row.at.to_string(),
                row.happened_at.map(|at| at.to_string()).unwrap_or_default(),
                row.kind,
                row.status.unwrap_or_default(),
                row.summary,
                error,
                line.channel.clone(),
                line.command_id.clone().unwrap_or_default(),
                row.pointer,
                row.part.to_string(),
            ]
        })
    });
    let head = names.map(str::to_owned).to_vec();
    Ok(export::file("timeline", std::iter::once(head).chain(lines)))
}

async fn find(shared: &Shared, query: &Query) -> Result<Found, Refusal> {
    let ids: Vec<&str> = query.all("id").collect();
    if ids.is_empty() {
        return Err(Refusal::invalid("id", "is missing: search for an id"));
    }
    if ids.len() > IDS_MAX {
        return Err(Refusal::invalid("id", format!("is given more than {IDS_MAX} times")));
    }
    let more_not_found = query.get(NOT_FOUND).parse().unwrap_or_default();
    let mut found = Found { answers: Vec::new(), not_found: Vec::new(), more_not_found };
    let (mut seen, mut last) = (HashSet::new(), None);
    for id in ids {
        match timeline::answer(shared, id).await {
            Ok(axum::Json(mut answer)) => {
                // Two ids may lead to the same message.
                answer.lives.retain(|life| seen.insert(first_place(life)));
                found.answers.push((id.to_owned(), answer));
            }
            Err(refusal @ Refusal::NotFound { .. }) => {
                found.not_found.push(shown::id(id));
                last = Some(refusal);
            }
            Err(refusal) => return Err(refusal),
        }
    }
    match last {
        Some(refusal) if found.answers.is_empty() => Err(refusal),
        _ => Ok(found),
    }
}

/// Where a life begins.
fn first_place(life: &LifeAnswer) -> Option<(String, u32)> {
    life.rows.first().map(|row| (row.pointer.clone(), row.part))
}

fn content(found: &Found, query: &Query) -> Markup {
    let lives = found.answers.iter().map(|(_, answer)| answer.lives.len()).sum::<usize>();
    html! {
        (not_found(found))
        @if lives > 1 {
            div class="page-head" {
                h1 { (lives) " messages" }
                p class="actions" { a class="button" href=(query.on("/timeline.csv")) { "CSV" } }
            }
        }
        @for (asked, answer) in &found.answers {
            @if answer.lives.len() > 1 {
                p class="card notice" role="note" { "The id " (parts::id(&answer.id)) " belongs to " (answer.lives.len()) " messages. Each is shown." }
            }
            @for life in &answer.lives {
                @if lives > OPEN_LIVES_MAX {
                    details class="card folded" {
                        summary { (parts::time(life.headline.began)) " " strong { (parts::title(&life.headline)) } " " (parts::status(&life.headline.status))
                            @if !life.missing.is_empty() { " " (parts::problem("something is missing")) } }
                        (body(life, answer, asked, lives > 1))
                    }
                } @else {
                    article class="card life" { (body(life, answer, asked, lives > 1)) }
                }
            }
            @if answer.cut { p class="card notice" { "There is more than is shown here. Search for the id of one message." } }
            (lacks::notices(&Lacks { missed: &answer.missed, missed_left_out: answer.missed_left_out, ..Lacks::default() }))
        }
        @if let Some((_, answer)) = found.answers.first() {
            (lacks::notices(&Lacks { unreadable: &answer.unreadable, ..Lacks::default() }))
            (parts::read_until(&answer.read_until))
        }
    }
}

fn not_found(found: &Found) -> Markup {
    let more = found.more_not_found;
    html! {
        @if !found.not_found.is_empty() || more > 0 {
            div class="card notice" role="note" {
                p {
                    strong { "Not found: " }
                    @for id in &found.not_found { (parts::id(id)) " " }
                    @if more > 0 { (more) " of the ids that were typed" }
                }
                p { "Check what was typed. What is older than the retention is gone." }
            }
        }
    }
}

fn body(life: &LifeAnswer, answer: &TimelineAnswer, asked: &str, is_one_of_several: bool) -> Markup {
    let line = &life.headline;
    let pointer = life.rows.first().map_or(asked, |row| row.pointer.as_str());
    let path = parts::life_path(pointer);
    html! {
        header class="life-head" {
            p class="eyebrow" { (parts::direction(&line.direction)) @if !line.channel.is_empty() { " · " (visible(&line.channel)) } }
            @if is_one_of_several { h2 { (parts::title(line)) } } @else { h1 { (parts::title(line)) } }
            p class="chips" {
                (parts::status(&line.status))
                @match life.missing.len() {
                    0 if answer.cut || !answer.unreadable.is_empty() => { " " (lacks::not_known()) }
                    0 => { " " span class="chip neutral" { "nothing is missing" } }
                    1 => { " " (parts::problem("1 problem")) }
                    count => { " " (parts::problem(&format!("{count} problems"))) }
                }
            }
            (verdict(life))
            @for missing in &life.missing { (parts::missing(missing)) }
            (facts(line))
            p class="actions" {
                a class="button" href=(path) data-link="" { "Link to this message" }
                a class="button" href={ "/v1/timeline?id=" (encoded(pointer)) } { "JSON" }
                a class="button" href=(path.replacen(PATH, "/timeline.csv", 1)) { "CSV" }
            }
        }
        @if is_one_of_several { h3 class="section-title" { "Timeline" } } @else { h2 class="section-title" { "Timeline" } }
        ol class="steps" {
            @for (index, row) in life.rows.iter().enumerate() {
                (step::step(row, &notes_of(life, index)))
            }
        }
        (unmask::form(life))
    }
}

fn notes_of(life: &LifeAnswer, index: usize) -> Vec<&NoteAnswer> {
    life.notes.iter().filter(|note| note.row == index).collect()
}

/// What happened in a sentence, with the last error and what to do about it.
fn verdict(life: &LifeAnswer) -> Markup {
    let error = life.rows.iter().rev().find_map(|row| row.error.as_ref());
    let is_bad = words::tone(&life.headline.status) == words::Tone::Bad;
    html! {
        div class="verdict" {
            p { (words::verdict(&life.headline.status, &life.headline.direction)) }
            @if is_bad {
                @if let Some(error) = error { p class="bad-text" { (parts::error(error)) } }
                @for note in life.notes.iter().filter(|note| words::is_to_do(&note.text)) { p { (parts::note(&note.text)) } }
            }
        }
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
