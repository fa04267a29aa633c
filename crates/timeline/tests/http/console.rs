//! The pages, as a browser asks for them. How they look and work in one is left to the end-to-end tests.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::ACCEPT;
use proto::v1::SendOutcome;
use timeline::extract::Bodies;
use timeline::http::access::Access;
use timeline::http::answer::TimelineAnswer;
use timeline::row::{IdKind, RowError, RowKind, Status, shown};

use crate::stage::{Got, NUMBER, Parts, Stage};

const WAMID: &str = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==";

async fn page(stage: &Stage, path: &str) -> Got {
    stage.send(Request::get(path).header(ACCEPT, "text/html,*/*")).await
}

fn text(got: &Got) -> &str {
    std::str::from_utf8(&got.body).unwrap()
}

/// Where the search box leads to.
async fn search(stage: &Stage, typed: &str) -> String {
    let body = format!("q={}", typed.replace('+', "%2B").replace(' ', "+"));
    let request = Request::post("/search").header("host", "localhost").header("origin", "http://localhost");
    let got = stage.call(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(got.status.as_u16(), 303, "{}", text(&got));
    got.headers["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_page_is_html_with_a_policy_and_refusals_are_pages_too() {
    let mut stage = Stage::new().await;
    let rows = stage.delivered("order-1", 0);
    stage.store(rows).await;
    for (path, status) in [
        ("/", 200),
        ("/messages", 200),
        ("/problems", 200),
        ("/live", 200),
        ("/timeline?id=order-1", 200),
        ("/stored/COMMANDS/1", 200),
        ("/stored/COMMANDS/2", 404),
        ("/stored/MOON/1", 404),
        ("/stored/EVENTS/x", 404),
        ("/stored/EVENTS/1?part=x", 400),
        ("/timeline", 400),
        ("/timeline?id=nothing", 404),
        ("/messages?status=nonsense", 400),
        ("/nothing", 404),
    ] {
        let got = page(&stage, path).await;
        assert_eq!(got.status.as_u16(), status, "{path}: {}", text(&got));
        assert_eq!(got.headers["content-type"], "text/html; charset=utf-8", "{path}");
        let policy = got.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(text(&got).starts_with("<!DOCTYPE html>"), "{path}");
    }
}

#[tokio::test]
async fn the_search_leads_to_an_address_without_a_number() {
    let mut stage = Stage::new().await;
    for (number, message) in [("order-1", WAMID), ("order-2", "other")] {
        let mut rows = stage.accepted(number, 0);
        rows[1].links.push(stage.link(IdKind::Message, message));
        stage.store(rows).await;
    }
    assert_eq!(search(&stage, " order-1 ").await, "/timeline?id=order%2D1");
    assert_eq!(
        search(&stage, "order-1,order-2 nothing").await,
        "/timeline?id=order%2D1&id=order%2D2&id=nothing"
    );
    assert_eq!(search(&stage, WAMID).await, "/timeline?id=COMMANDS%2F1");
    // A back end may put a number into its ids.
    let chosen = format!("order-{NUMBER}-2");
    let mut rows = stage.accepted(&chosen, 60);
    rows.iter_mut()
        .flat_map(|row| &mut row.links)
        .for_each(|link| link.shown = shown::chosen_id(&link.shown));
    stage.store(rows).await;
    assert_eq!(search(&stage, &chosen).await, "/timeline?id=COMMANDS%2F3");
    let path = search(&stage, &format!("order-2 order-{NUMBER}-3")).await;
    assert_eq!(path, "/timeline?id=order%2D2&not_found=1");
    let unknown = WAMID.replace("HBgN", "HBgM");
    let path = search(&stage, &format!("order-2 {unknown}")).await;
    assert_eq!(path, "/timeline?id=order%2D2&not_found=1");
    assert!(text(&page(&stage, &path).await).contains("1 of the ids that were typed"));
    let path = search(&stage, "+49 151 1234-5678").await;
    assert!(path.starts_with("/searches/"), "{path}");
    let list = page(&stage, &path).await;
    assert!(text(&list).contains("Messages of the customer …78"), "{}", text(&list));
    let csv = page(&stage, &format!("{path}/messages.csv")).await;
    assert_eq!(
        (csv.headers["content-type"].to_str().unwrap(), text(&csv).lines().count()),
        ("text/csv; charset=utf-8", 4)
    );
}

#[tokio::test]
async fn a_step_whose_full_message_cannot_be_read_shows_what_was_kept() {
    let mut stage = Stage::new().await;
    let rows = stage.accepted("order-1", 0);
    stage.store(rows).await;
    let got = page(&stage, "/stored/COMMANDS/1").await;
    assert!(
        text(&got).contains("cannot be read now") && text(&got).contains("&quot;text&quot;"),
        "{}",
        text(&got)
    );
    // htmx asks for the part that it puts into the drawer.
    let part = stage.send(Request::get("/stored/COMMANDS/1").header("hx-request", "true")).await;
    assert!(text(&part).starts_with("<h3>"), "{}", text(&part));
}

#[tokio::test]
async fn a_message_that_was_kept_whole_is_not_on_the_page_of_its_step() {
    let mut stage = Stage::with(Parts { access: Access::Open, bus: None, bodies: Bodies::Full }).await;
    let mut rows = stage.accepted("order-1", 0);
    "{\"text\":\"as it was sent\"}".clone_into(&mut rows[0].body);
    stage.store(rows).await;
    let got = page(&stage, "/stored/COMMANDS/1").await;
    assert!(text(&got).contains("cannot be read now"), "{}", text(&got));
    assert!(!text(&got).contains("as it was sent"), "{}", text(&got));
}

#[tokio::test]
async fn a_step_that_ended_badly_says_what_to_do() {
    let mut stage = Stage::new().await;
    let mut rows = stage.accepted("order-1", 0);
    rows[1].status = Some(Status::Outcome(SendOutcome::Rejected));
    rows[1].error =
        Some(RowError { code: "7010".to_owned(), name: String::new(), text: "<b>no</b>".to_owned() });
    stage.store(rows).await;
    let mut letter = stage.row(RowKind::DeadLetter, 5);
    letter.links.push(stage.link(IdKind::Stored, "WEBHOOKS/9"));
    stage.store(vec![letter]).await;
    let got = page(&stage, "/timeline?id=order-1").await;
    for part in ["It was not sent", "7010 · &lt;b&gt;no&lt;/b&gt;", "to do: it was not sent"] {
        assert!(text(&got).contains(part), "no {part:?} in {}", text(&got));
    }
    let answer: TimelineAnswer = stage.get("/v1/timeline/order-1").await.json();
    assert_eq!((answer.lives[0].notes.len(), answer.lives[0].notes[0].row), (1, 1));
    let answer: TimelineAnswer = stage.get("/v1/timeline/WEBHOOKS/9").await.json();
    assert!(
        answer.lives[0].notes[0].text.contains("`imchannel deadletter replay 1 --publish`"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn pages_say_what_cannot_be_read_and_not_that_nothing_is_missing() {
    let mut stage = Stage::new().await;
    stage.store(stage.delivered("order-1", 0)).await;
    stage.store(stage.delivered("order-2", 86_400)).await;
    stage.miss(200).await;
    let whole = page(&stage, "/timeline?id=order-2").await;
    assert!(text(&whole).contains("nothing is missing"), "{}", text(&whole));
    stage.damage("2026-11-20");
    // Reading notices it.
    stage.get("/v1/timeline?id=order-1").await.problem(404);
    for path in ["/", "/messages", "/problems", "/timeline?id=order-1", "/timeline?id=order-2"] {
        let got = page(&stage, path).await;
        let text = text(&got);
        assert_eq!(text.matches("Cannot be read: 2026-11-20").count(), 1, "{path}: {text}");
        assert!(!text.to_lowercase().contains("nothing is missing"), "{path}: {text}");
        assert_eq!(text.contains("100 more ranges"), path.contains("order"), "{path}: {text}");
    }
}

#[tokio::test]
async fn styles_may_be_kept_and_nothing_else() {
    let stage = Stage::new().await;
    let home = page(&stage, "/").await;
    let start = text(&home).find("/assets/").unwrap();
    let path = text(&home)[start..].split('"').next().unwrap();
    let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(stage.router.clone(), request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "private, max-age=31536000, immutable");
    page(&stage, "/assets/0/console.css").await;
}
