//! Messages, the newest first: of everyone and of one customer.

use serde_json::{Value, json};
use timeline::http::answer::{MessagesAnswer, ProblemsAnswer, SearchAnswer};
use timeline::row::RowKind;

use crate::stage::{NUMBER, Stage, at};

/// The commands of every page, and the number of pages.
async fn all(stage: &Stage, path: &str) -> (Vec<String>, usize) {
    let (mut commands, mut pages, mut next) = (Vec::new(), 0, String::new());
    loop {
        let page: MessagesAnswer = stage.get(&format!("{path}{next}")).await.json();
        pages += 1;
        commands
            .extend(page.messages.into_iter().map(|message| message.headline.command_id.unwrap_or_default()));
        match page.next {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return (commands, pages),
        }
    }
}

fn names(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("order-{number}")).collect()
}

async fn filled() -> Stage {
    let mut stage = Stage::new().await;
    for number in 0..120_i64 {
        let seconds = number * 10;
        let rows = match number {
            40 => stage.accepted("order-40", seconds),
            number => stage.delivered(&format!("order-{number}"), seconds),
        };
        stage.store(rows).await;
    }
    stage
}

#[tokio::test]
async fn every_message_is_listed_once_newest_first_on_pages_of_any_size() {
    let stage = filled().await;
    for limit in [1, 7, 50, 60, 120, 200] {
        let (commands, pages) = all(&stage, &format!("/v1/messages?limit={limit}")).await;
        assert_eq!(commands, names((0..120).rev()), "{limit}");
        assert_eq!(pages, 120_usize.div_ceil(limit), "{limit}");
    }
    let page: MessagesAnswer = stage.get("/v1/messages?limit=1").await.json();
    assert_eq!(page.messages[0].pointer, "COMMANDS/120");
    assert_eq!(page.messages[0].headline.status, "DELIVERED");
    assert!(!page.cut && page.read_until.len() == 4);
}

#[tokio::test]
async fn filters_select_by_channel_status_outcome_problem_and_time() {
    let mut stage = filled().await;
    let mut message = stage.row(RowKind::Message, 5000);
    "service".clone_into(&mut message.channel);
    stage.store(vec![message]).await;
    for (filter, expected) in [
        ("channel=sales&limit=200", names((0..120).rev())),
        ("channel=service", vec![String::new()]),
        ("channel=unknown", Vec::new()),
        ("status=ACCEPTED", names([40])),
        ("status=received", vec![String::new()]),
        ("outcome=accepted&status=DELIVERED&limit=200", names((0..120).rev().filter(|number| *number != 40))),
        ("outcome=REJECTED", Vec::new()),
        ("problem=any", names([40])),
        ("problem=no_report", names([40])),
        ("problem=no_result", Vec::new()),
        ("since=2026-11-20T12:00:20Z&until=2026-11-20T12:00:40Z", names([3, 2])),
    ] {
        assert_eq!(all(&stage, &format!("/v1/messages?{filter}")).await.0, expected, "{filter}");
    }
}

#[tokio::test]
async fn a_page_reads_a_limited_number_of_messages_and_goes_on_with_its_cursor() {
    let mut stage = Stage::new().await;
    for number in 0..510 {
        let mut message = stage.row(RowKind::Message, number);
        message.recipient = None;
        stage.store(vec![message]).await;
    }
    let page: MessagesAnswer = stage.get("/v1/messages?status=READ").await.json();
    assert_eq!((page.messages.len(), page.scanned), (0, 500));
    let next = format!("/v1/messages?status=READ&cursor={}", page.next.unwrap());
    let page: MessagesAnswer = stage.get(&next).await.json();
    assert_eq!((page.messages.len(), page.scanned, page.next), (0, 10, None));
}

#[tokio::test]
async fn a_message_with_very_many_rows_is_cut_and_the_others_are_judged() {
    let mut stage = Stage::new().await;
    stage.store(stage.accepted("order-1", 0)).await;
    stage.store(stage.accepted("order-2", 1)).await;
    let again = stage.accepted("order-2", 2).remove(1);
    stage.store_copies(again, 4_100).await;
    let page: MessagesAnswer = stage.get("/v1/messages").await.json();
    let of: Vec<_> = page
        .messages
        .iter()
        .map(|message| (message.headline.command_id.as_deref().unwrap(), message.cut, message.missing.len()))
        .collect();
    assert_eq!(of, [("order-2", true, 0), ("order-1", false, 1)]);
    assert!(page.cut);
    let problems: ProblemsAnswer = stage.get("/v1/problems").await.json();
    let texts: Vec<_> = problems.problems.iter().map(|problem| problem.missing.text.as_str()).collect();
    assert_eq!(texts, ["no report for 59 min", "no report"]);
}

#[tokio::test]
async fn a_cursor_of_another_list_or_a_forged_one_is_refused() {
    let stage = filled().await;
    let page: MessagesAnswer = stage.get("/v1/messages?limit=1").await.json();
    let cursor = page.next.unwrap();
    let forged = format!("B{}", &cursor[1..]);
    for path in [
        format!("/v1/messages?channel=sales&cursor={cursor}"),
        format!("/v1/problems?cursor={cursor}"),
        format!("/v1/messages?cursor={forged}"),
        "/v1/messages?cursor=%00%ff".to_owned(),
    ] {
        let problem = stage.get(&path).await.problem(400);
        assert_eq!(problem.faults[0].name, "cursor", "{path}");
    }
    assert!(stage.get(&format!("/v1/messages?limit=3&cursor={cursor}")).await.status.is_success());
}

#[tokio::test]
async fn a_number_is_searched_for_by_an_id_that_does_not_say_it() {
    let mut stage = filled().await;
    let mut other = stage.accepted("of-another", 7);
    other.iter_mut().for_each(|row| row.recipient.as_mut().unwrap().key = stage.keys.recipient("1"));
    stage.store(other).await;
    let search = json!({"number": "+49 151 1234-5678", "since": at(600), "until": at(1100)});
    let created = stage.post("/v1/searches", search.to_string()).await;
    assert_eq!(created.status.as_u16(), 201);
    let kept: SearchAnswer = serde_json::from_slice(&created.body).unwrap();
    assert_eq!((kept.recipient.as_str(), kept.expires_at), ("…78", at(7200)));
    let path = format!("/v1/searches/{}", kept.id);
    assert_eq!(created.headers["location"], path.as_str());
    let (commands, pages) = all(&stage, &format!("{path}?limit=20")).await;
    assert_eq!((commands, pages), (names((60..110).rev()), 3));
    let whole = stage.post("/v1/searches", json!({ "number": NUMBER }).to_string()).await;
    let kept: SearchAnswer = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(all(&stage, &format!("/v1/searches/{}?limit=200", kept.id)).await.0, names((0..120).rev()));
    stage.get("/v1/searches/AAAAAAAAAAAAAAAAAAAAAA").await.problem(404);
    let none = stage.post("/v1/searches", json!({"number": "4930000000"}).to_string()).await;
    let kept: Value = serde_json::from_slice(&none.body).unwrap();
    let path = format!("/v1/searches/{}?limit=20", kept["id"].as_str().unwrap());
    assert_eq!(all(&stage, &path).await, (Vec::new(), 1));
}
