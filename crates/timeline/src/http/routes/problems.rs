//! What is overdue: expectations with their messages, and what readers have not acknowledged.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;

use crate::http::answer::{self, CountAnswer, MissingAnswer, ProblemAnswer, ProblemsAnswer, WaitingAnswer};
use crate::http::cursor::Cursors;
use crate::http::headlines::Lives;
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::routes::listing::{self, Paging};
use crate::http::state::Shared;
use crate::life::{FLOOR_AGE_MAX, Life, View};
use crate::row::StreamNumber;
use crate::rules::{self, Expectation, Rule, RuleName};
use crate::store::{End, OverdueQuery, Place, SequenceQuery, StoreError};

/// `GET /v1/problems`
pub(in crate::http) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<ProblemsAnswer>, Refusal> {
    let mut parameters = Parameters::of(uri.query());
    let channel = parameters.text("channel");
    let rules = || RuleName::ALL.into_iter().filter(|rule| *rule != RuleName::Delivery);
    let rule = parameters.one_of("rule", &rules().map(RuleName::name).collect::<Vec<_>>());
    let rule = rules().find(|of| Some(of.name()) == rule);
    let paging = Paging::read(&mut parameters);
    parameters.finish()?;
    let cursors = Cursors::of(&shared.api.keys, format!("problems {channel:?} {rule:?}"));
    let after = paging.cursor.as_ref().map(|cursor| cursors.due(cursor)).transpose();
    let after = after.map_err(|_| listing::forged())?;
    let (view, store) = (Arc::new(shared.view()), &*shared.api.store);
    let mut judged = rules::judged(&view.progress, view.floors.reports_until(), &view.rules, view.now);
    let counts = store.overdue_counts(judged.clone()).await?;
    judged.retain(|of| rule.is_none_or(|rule| rule == of.rule));
    let query = OverdueQuery { channel: channel.clone(), judged, after, limit: paging.limit + 1 };
    let mut overdue = store.overdue(query).await?;
    let has_next = overdue.len() > paging.limit;
    overdue.truncate(paging.limit);
    let keys = overdue.iter().map(|expectation| expectation.key).collect();
    let lives = Lives::of_keys(store, keys, &view).await?;
    let waiting = if channel.is_none() { waiting(&shared, &view, rule).await? } else { Vec::new() };
    let next = overdue.last().filter(|_| has_next).map(|last| cursors.at_due(&last.order()));
    Ok(Json(ProblemsAnswer {
        problems: overdue.iter().map(|expectation| problem(expectation, &lives, &view)).collect(),
        waiting,
        counts: counts.into_iter().map(count).collect(),
        next,
        read_until: answer::read_until(&view.progress),
        unreadable: answer::unreadable(store),
    }))
}

fn count(count: crate::store::OverdueCount) -> CountAnswer {
    CountAnswer { channel: count.channel, rule: count.rule.name().to_owned(), count: count.count }
}

fn problem(expectation: &Expectation, lives: &Lives, view: &View) -> ProblemAnswer {
    let life = lives.of_key(expectation.key, &expectation.channel).map(|listed| &listed.life);
    let of_life = |life: &Life| {
        let missing = life.missing.iter().find(|missing| is_same(missing.rule, expectation.rule));
        missing.map(answer::missing)
    };
    ProblemAnswer {
        channel: expectation.channel.clone(),
        missing: life.and_then(of_life).unwrap_or_else(|| unexplained(expectation, view)),
        pointer: life.and_then(|life| life.rows.iter().min_by_key(|row| Place::of(row))).map(answer::pointer),
        message: life.map(answer::headline),
    }
}

/// Whether two rules say that the same is missing. Form 1 of the files has one rule for the results of both queues.
fn is_same(one: RuleName, other: RuleName) -> bool {
    one == other || (one.is_about_result() && other.is_about_result())
}

/// What is missing where the rows of the message are no longer stored, or only a part of them was read.
fn unexplained(expectation: &Expectation, view: &View) -> MissingAnswer {
    let rule = Rule::of(expectation.rule);
    MissingAnswer {
        rule: expectation.rule.name().to_owned(),
        since: expectation.since,
        due: rules::later(expectation.since, view.rules.after(rule, &expectation.channel)),
        text: rule.missing.to_owned(),
        advice: rule.advice.replace("{channel}", &expectation.channel),
    }
}

/// What the normalizer and the back end have not acknowledged for too long: the oldest of each.
async fn waiting(
    shared: &Shared,
    view: &View,
    rule: Option<RuleName>,
) -> Result<Vec<WaitingAnswer>, StoreError> {
    let readers = [
        (RuleName::WebhookWaiting, StreamNumber::Webhooks, view.floors.normalizer),
        (RuleName::EventWaiting, StreamNumber::Events, view.floors.aicc),
    ];
    let mut all = Vec::new();
    for (of, stream, floor) in readers {
        let last = view.progress.of(stream).sequence;
        let Some(floor) = floor.filter(|floor| *floor < last) else { continue };
        if rule.is_some_and(|rule| rule != of) {
            continue;
        }
        // Older messages are no longer in the stream. In one that was created again, the same sequence is another message.
        let oldest = view.now.checked_sub(FLOOR_AGE_MAX).unwrap_or(Timestamp::MIN);
        let positions = shared.api.store.positions().await?;
        let position = positions.iter().find(|position| position.stream == stream);
        let since = position.map_or(oldest, |position| position.created_at.max(oldest));
        let first = SequenceQuery { stream, after: floor, since, from: End::Oldest, limit: 1 };
        let found = shared.api.store.by_sequence(first).await?;
        let Some(row) = found.first().filter(|row| row.pointer.sequence <= last) else { continue };
        if is_overdue(row.stored_at, view.now) {
            all.push(WaitingAnswer {
                rule: of.name().to_owned(),
                pointer: answer::pointer(row),
                channel: row.channel.clone(),
                since: row.stored_at,
                count: last - row.pointer.sequence + 1,
            });
        }
    }
    Ok(all)
}

fn is_overdue(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).unsigned_abs() >= rules::WEBHOOK_AFTER && now > since
}
