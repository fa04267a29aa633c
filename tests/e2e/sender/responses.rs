//! Responses that show nothing about a message: of an account that refuses its key, and of systems in front of the BSP.
//! They cause no lost message and no second send.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bus::Priority;
use jiff::Timestamp;
use proto::v1::{SendCommand, SendOutcome};
use simulator::infobip_api::{Faults, Intermediary, RetryAfter};

use crate::harness::outbound::{Outbound, counted, outcome, text};
use crate::harness::{eventually, run_cli, within};

fn fronts(fronts: Vec<Intermediary>) -> Faults {
    Faults { fronts, ..Faults::default() }
}

/// A different recipient for every number.
fn customer(number: usize) -> String {
    format!("49151{number:05}")
}

#[tokio::test]
async fn what_is_refused_in_front_of_the_bsp_is_sent_later() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!("http://{}/omni/1/advanced", elsewhere.local_addr().unwrap());
    let mut all: Vec<Intermediary> = [401, 403, 404, 405, 408, 421, 425, 429].map(Intermediary::html).into();
    all.extend(
        [301, 302, 307, 308]
            .map(|status| Intermediary { location: Some(location.clone()), ..Intermediary::html(status) }),
    );
    all.push(Intermediary { retry_after: Some(RetryAfter::Seconds(1)), ..Intermediary::html(503) });
    all.push(Intermediary {
        retry_after: Some(RetryAfter::Date(Duration::from_secs(1))),
        ..Intermediary::html(503)
    });
    for (number, front) in all.iter_mut().enumerate() {
        front.recipient = Some(customer(number));
    }
    let outbound = Outbound::start(&vec![100; all.len()]).await;
    outbound.account.set_faults(fronts(all.clone()));
    // A separate channel for each, so that none is a probe for another.
    for number in 0..all.len() {
        outbound
            .publish(Priority::Interactive, &text(number, &format!("c-{number}"), &customer(number), "Hello"))
            .await;
    }
    let sender = outbound.sender().await;
    within(Duration::from_secs(60), "every one was refused twice", || async {
        let metrics = sender.metrics();
        let refused = counted(&metrics, "sender_calls_total", "refused_in_front");
        (refused + counted(&metrics, "sender_calls_total", "limited") >= 2 * all.len() as u64).then_some(())
    })
    .await;
    assert!(outbound.results().await.is_empty());
    outbound.account.set_faults(Faults::default());
    for (number, front) in all.iter().enumerate() {
        let (id, status) = (format!("c-{number}"), front.status);
        let result = within(Duration::from_secs(90), "it is sent", || async {
            outbound.results().await.into_iter().find(|result| result.command_id == id)
        })
        .await;
        assert_eq!(outcome(&result), SendOutcome::Accepted, "{status} {result:?}");
        assert!(result.attempts >= 2, "{status} {result:?}");
        assert_eq!(outbound.received(&format!("imc-{id}")), 1, "{status}");
    }
    assert!(elsewhere.accept().is_err(), "a redirect was followed");
    sender.stop().await;
}

#[tokio::test]
async fn an_outage_in_front_of_the_bsp_costs_no_message_and_few_calls() {
    let outbound = Outbound::start(&[50]).await;
    let sender = outbound.sender().await;
    for (round, front) in
        [Intermediary::html(404), Intermediary::own(401, "UNAUTHORIZED")].into_iter().enumerate()
    {
        let before = outbound.account.calls();
        outbound.account.set_faults(fronts(vec![front.clone()]));
        for number in 0..30 {
            let id = format!("c-{round}-{number}");
            outbound.publish(Priority::Interactive, &text(0, &id, &customer(number), "Hello")).await;
        }
        let why = if round == 0 { "(404 from a server in front of the BSP)" } else { "(401 UNAUTHORIZED)" };
        within(Duration::from_secs(60), "the third probe has failed, and the lane says why", || async {
            let is_said = outbound.halted(0).await?.contains(why);
            (is_said && outbound.account.calls().faulty >= before.faulty + 4).then_some(())
        })
        .await;
        // The calls in flight when the first one was answered, and one call per pause.
        let calls = outbound.account.calls().faulty - before.faulty;
        assert!(calls < 15, "{calls} calls to an account that refuses all");
        outbound.account.set_faults(Faults::default());
        within(Duration::from_secs(90), "all are answered", || async {
            (outbound.results().await.len() == 30 * (round + 1)).then_some(())
        })
        .await;
    }
    assert!(outbound.results().await.iter().all(|result| outcome(result) == SendOutcome::Accepted));
    assert_eq!(outbound.account.received_count(), 60);
    sender.stop().await;
}

#[tokio::test]
async fn what_the_bsp_has_taken_before_its_balancer_failed_is_looked_up_and_sent_once() {
    let statuses = [500, 502, 503, 504, 303];
    let mut after: Vec<Intermediary> =
        statuses.map(|status| Intermediary { is_after: true, ..Intermediary::html(status) }).into();
    // The body shows that the BSP itself responded.
    after.push(Intermediary {
        is_after: true,
        retry_after: Some(RetryAfter::Seconds(1)),
        ..Intermediary::own(503, "GENERAL_ERROR")
    });
    after.push(Intermediary { is_after: true, ..Intermediary::html(202) });
    for (number, front) in after.iter_mut().enumerate() {
        front.recipient = Some(customer(number));
    }
    // Only the sender prevents a second message.
    let outbound = Outbound::start(&vec![100; after.len()]).await;
    outbound.account.set_faults(Faults { unique_ids: false, ..fronts(after.clone()) });
    let sender = outbound.sender().await;
    for (number, front) in after.iter().enumerate() {
        let id = format!("c-{number}");
        outbound.publish(Priority::Interactive, &text(number, &id, &customer(number), "Hello")).await;
        let result = outbound.result(&id).await;
        assert_eq!(outcome(&result), SendOutcome::Accepted, "{} {result:?}", front.status);
        assert_eq!(result.attempts, 1, "{} {result:?}", front.status);
        assert_eq!(outbound.received(&format!("imc-{id}")), 1);
    }
    assert_eq!(outbound.account.calls().sends, after.len() as u64);
    sender.stop().await;
}

#[tokio::test]
async fn a_command_that_alone_is_refused_keeps_no_other_back() {
    let outbound = Outbound::start(&[100]).await;
    let only = |number, front: Intermediary| Intermediary { recipient: Some(customer(number)), ..front };
    outbound.account.set_faults(fronts(vec![
        only(1, Intermediary::own(403, "FORBIDDEN")),
        only(2, Intermediary::html(404)),
    ]));
    let sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(0, "own", &customer(1), "Hello")).await;
    outbound.publish(Priority::Interactive, &text(0, "html", &customer(2), "Hello")).await;
    eventually("both were refused", || async {
        let metrics = sender.metrics();
        let own = counted(&metrics, "sender_calls_total", "refused_account");
        (own > 0 && counted(&metrics, "sender_calls_total", "refused_in_front") > 0).then_some(())
    })
    .await;
    // Others are accepted in between, and wait for one probe at most.
    let mut others = 0;
    let verdict = loop {
        let id = format!("other-{others}");
        outbound.publish(Priority::Interactive, &text(0, &id, &customer(100 + others), "Hello")).await;
        let began = Instant::now();
        assert_eq!(outcome(&outbound.result(&id).await), SendOutcome::Accepted);
        assert!(others == 0 || began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        others += 1;
        if let Some(result) = outbound.results().await.into_iter().find(|result| result.command_id == "own") {
            break result;
        }
    };
    let error = verdict.error.clone().unwrap_or_default();
    assert_eq!(outcome(&verdict), SendOutcome::Rejected, "{verdict:?}");
    assert_eq!(error.name.as_str(), "FORBIDDEN", "{verdict:?}");
    assert!(verdict.attempts >= 5, "{verdict:?}");
    // A command without a verdict of the BSP itself is retried, after any number of calls.
    within(Duration::from_secs(60), "it was refused six times", || async {
        (counted(&sender.metrics(), "sender_calls_total", "refused_in_front") >= 6).then_some(())
    })
    .await;
    outbound.account.set_faults(Faults::default());
    let result = within(Duration::from_secs(60), "it is sent", || async {
        outbound.results().await.into_iter().find(|result| result.command_id == "html")
    })
    .await;
    assert_eq!(outcome(&result), SendOutcome::Accepted, "{result:?}");
    assert!(result.attempts >= 7, "{result:?}");
    assert_eq!(outbound.received("imc-own"), 0);
    assert_eq!(outbound.received("imc-html"), 1);
    sender.stop().await;
}

#[tokio::test]
async fn a_deadline_ends_what_is_refused_all_the_time_and_the_result_says_why() {
    let outbound = Outbound::start(&[100]).await;
    outbound.account.set_faults(fronts(vec![Intermediary::own(401, "UNAUTHORIZED")]));
    let _sender = outbound.sender().await;
    let soon = bsp::time::to_proto(Timestamp::now() + Duration::from_secs(8));
    let command = SendCommand { not_after: Some(soon), ..text(0, "late", &customer(1), "Hello") };
    outbound.publish(Priority::Interactive, &command).await;
    let result = outbound.result("late").await;
    let description = result.error.clone().unwrap_or_default().description;
    assert_eq!(outcome(&result), SendOutcome::Expired, "{result:?}");
    assert!(result.attempts >= 2, "{result:?}");
    assert!(description.ends_with("the last attempt: 401 UNAUTHORIZED"), "{description}");
    assert_eq!(outbound.account.received_count(), 0);
}

#[tokio::test]
async fn a_date_in_retry_after_is_obeyed() {
    let outbound = Outbound::start(&[100]).await;
    let date = Some(RetryAfter::Date(Duration::from_secs(8)));
    outbound.account.set_faults(Faults { limited: 1.0, retry_after: date, ..Faults::default() });
    let _sender = outbound.sender().await;
    for number in 0..5 {
        outbound
            .publish(Priority::Interactive, &text(0, &format!("c-{number}"), &customer(number), "Hello"))
            .await;
    }
    eventually("it was answered 429", || async { (outbound.account.calls().faulty > 0).then_some(()) }).await;
    let began = tokio::time::Instant::now();
    outbound.account.set_faults(Faults::default());
    within(Duration::from_secs(60), "all are taken", || async {
        (outbound.account.received_count() == 5).then_some(())
    })
    .await;
    // Calls may have been in flight when the first one was answered; none was begun after that.
    let under_way = Duration::from_secs(1);
    let waited = outbound.account.received().iter().map(|received| received.at - began).collect::<Vec<_>>();
    let is_obeyed = |waited: &Duration| *waited < under_way || *waited >= Duration::from_secs(7);
    assert!(waited.iter().all(is_obeyed) && waited.iter().any(|waited| *waited > under_way), "{waited:?}");
}

#[tokio::test]
async fn a_date_in_the_logs_retry_after_is_obeyed() {
    let outbound = Outbound::start(&[100]).await;
    let limited = Faults {
        cut: 1.0,
        lookups_per_minute: 0,
        log_retry_after: Some(RetryAfter::Date(Duration::from_secs(16))),
        ..Faults::default()
    };
    outbound.account.set_faults(limited);
    let _sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(0, "cut", &customer(1), "Hello")).await;
    eventually("the log was asked", || async {
        (outbound.account.calls().lookups_refused == 1).then_some(())
    })
    .await;
    let began = Instant::now();
    outbound.account.set_faults(Faults::default());
    let result =
        within(Duration::from_secs(60), "it is found", || async { outbound.results().await.pop() }).await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_eq!(result.attempts, 1);
    assert!(began.elapsed() >= Duration::from_secs(14), "{:?}", began.elapsed());
    assert_eq!(outbound.account.calls().lookups, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_field_that_the_bsp_refuses_is_told_to_the_back_end_and_in_the_log() {
    let outbound = Outbound::start(&[100]).await;
    let (field, what) = ("destinations[0].to.phoneNumber", "is not a valid international number");
    outbound.account.set_faults(fronts(vec![Intermediary::invalid(field, what)]));
    let mut sender = outbound.sender_program(&[]);
    outbound.publish(Priority::Interactive, &text(0, "c-1", &customer(1), "Hello")).await;
    let line = sender.line_with("response of").await;
    assert!(
        line.contains(&format!(r#""text":"Bad request","validationErrors":{{"{field}":["{what}"]}}"#)),
        "{line}"
    );
    let result = outbound.result("c-1").await;
    assert_eq!(outcome(&result), SendOutcome::Rejected);
    let error = result.error.unwrap();
    assert_eq!(error.code.as_str(), "400");
    assert_eq!(error.name.as_str(), "BAD_REQUEST");
    let [fault] = &result.faults[..] else { panic!("{:?}", result.faults) };
    assert_eq!(fault.field.as_str(), field);
    assert_eq!(fault.rule.as_str(), what);
    let output =
        run_cli(&outbound.installation, &["--json", "tail", "sends", "--from-beginning", "--no-follow"])
            .await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("Bad request") && shown.contains(field) && shown.contains(what), "{shown}");
    sender.stop().await;
}
