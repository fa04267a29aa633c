//! Events about the account and about customers: templates, numbers, reviews, restrictions, opt-outs and opt-ins,
//! changed numbers, payments. What is intentionally ignored is counted, and none of it becomes a dead letter.

use std::collections::BTreeSet;

use bus::EventKind;
use bus::streams::EVENTS;
use prost::Message;
use proto::v1::{AccountEvent, AccountEventKind, CustomerEvent, CustomerEventKind};
use serde_json::{Value, json};

use crate::harness::{Installation, Webhook, run_cli};

const CUSTOMER: &str = "918000000042";

/// A body of Gupshup's version 3 with these changes, each a field and its value.
fn version_3(changes: &[(&str, Value)]) -> Webhook {
    let change = |(field, value): &(&str, Value)| json!({ "field": field, "value": value });
    let changes: Vec<_> = changes.iter().map(change).collect();
    let entry = json!({ "id": "waba-1", "time": 1_782_000_007, "changes": changes });
    Webhook::gupshup(json!({ "gs_app_id": "a", "entry": [entry] }).to_string())
}

/// The value of a change of the field `messages`.
fn messages(more: Value) -> (&'static str, Value) {
    let mut value = json!({ "metadata": { "display_phone_number": "919000000000", "phone_number_id": "1" } });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("messages", value)
}

/// An event of version 2.
fn version_2(kind: &str, payload: Value) -> Webhook {
    let body = json!({ "app": "Demo", "timestamp": 1_782_000_007_500_u64, "version": 2, "type": kind, "payload": payload });
    Webhook::gupshup(body.to_string())
}

fn system(id: &str, system: Value) -> Value {
    json!({ "from": CUSTOMER, "timestamp": "1782000001", "id": id, "type": "system", "system": system })
}

fn payment() -> Value {
    json!({
        "id": "wamid.pay", "gs_id": "gs-pay", "type": "payment", "status": "failed", "timestamp": "1782000100",
        "recipient_id": CUSTOMER, "payment": { "reference_id": "order-4711", "currency": "INR", "transaction": {
            "id": "t1", "type": "upi", "status": "failed", "error": { "code": "U30", "reason": "debit failed" },
        } },
    })
}

struct Found {
    installation: Installation,
    account: Vec<AccountEvent>,
    customers: Vec<CustomerEvent>,
    metrics: String,
}

/// The events of webhooks that are posted one after the other, and then each of them again.
async fn found(webhooks: &[Webhook]) -> Found {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let repeats: Vec<_> = webhooks.iter().map(Webhook::repeated).collect();
    for webhook in webhooks.iter().chain(&repeats) {
        assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    assert_eq!(installation.webhooks().await.len(), 2 * webhooks.len());
    assert!(installation.dead_letters().await.is_empty());
    let account = installation.stored(&EVENTS, "imchannel.event.account.*.*").await;
    let customers = installation.stored(&EVENTS, "imchannel.event.customer.*.*").await;
    for event in account.iter().chain(&customers) {
        let is_account = event.subject.contains(".account.");
        let kind = if is_account { EventKind::Account } else { EventKind::Customer };
        assert_eq!(event.headers.get(bus::headers::CE_TYPE), Some(kind.type_name()));
    }
    let found = Found {
        account: account.into_iter().map(|event| AccountEvent::decode(event.payload).unwrap()).collect(),
        customers: customers.into_iter().map(|event| CustomerEvent::decode(event.payload).unwrap()).collect(),
        metrics: normalizer.metrics(),
        installation,
    };
    normalizer.stop().await;
    ingress.stop().await;
    found
}

/// Every kind of change about the account.
fn account_changes() -> Vec<(&'static str, Value)> {
    let template = json!({ "message_template_id": 1, "message_template_name": "promo", "message_template_language": "en" });
    let with = |more: Value| {
        let mut value = template.clone();
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    vec![
        ("message_template_status_update", with(json!({ "event": "REJECTED", "reason": "INVALID_FORMAT" }))),
        ("message_template_quality_update", with(json!({ "new_quality_score": "RED" }))),
        ("template_category_update", with(json!({ "new_category": "MARKETING" }))),
        (
            "phone_number_quality_update",
            json!({ "display_phone_number": "919000000000", "event": "FLAGGED", "current_limit": "TIER_10K" }),
        ),
        ("business_capability_update", json!({ "max_daily_conversations_per_business": 2000 })),
        ("account_review_update", json!({ "decision": "APPROVED" })),
        (
            "account_update",
            json!({ "event": "ACCOUNT_RESTRICTION", "restriction_info": [{ "restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING" }] }),
        ),
        (
            "account_update",
            json!({ "event": "DISABLED_UPDATE", "ban_info": { "waba_ban_state": "DISABLE" } }),
        ),
        ("security", json!({ "event": "PIN_CHANGED", "requester": "1" })),
        messages(json!({ "errors": [{ "code": 130_429, "title": "Rate limit hit" }, { "code": 131_031 }] })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_templates_numbers_and_the_account_comes_out_of_every_bsp_that_says_it() {
    use AccountEventKind as Kind;
    let infobip = json!({ "sender": "441134960000", "content": { "type": "TEMPLATE_UPDATE", "templateName": "promo", "status": "PAUSED" } });
    let found = found(&[
        version_3(&account_changes()),
        version_2("template-event", json!({ "id": "t", "elementName": "promo", "status": "paused" })),
        version_2(
            "account-event",
            json!({ "type": "tier-event", "payload": { "event": "upgrade", "currentLimit": "TIER_100K" } }),
        ),
        Webhook::infobip(infobip.to_string()),
    ])
    .await;
    let kinds: Vec<_> = found.account.iter().map(AccountEvent::kind).collect();
    let expected = [
        Kind::TemplateStatus,
        Kind::TemplateQuality,
        Kind::TemplateCategory,
        Kind::NumberQuality,
        Kind::NumberLimit,
        Kind::Review,
        Kind::Restriction,
        Kind::Ban,
        Kind::Security,
        Kind::NumberError,
        Kind::TemplateStatus,
        Kind::NumberLimit,
        Kind::TemplateStatus,
    ];
    let mut sorted = (kinds.clone(), expected.to_vec());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1, "each once, though every webhook came twice: {kinds:?}");
    let of = |kind| found.account.iter().find(|event| event.kind() == kind).unwrap();
    let statuses: BTreeSet<_> = found
        .account
        .iter()
        .filter(|event| event.kind() == Kind::TemplateStatus)
        .map(|event| event.template.clone().unwrap())
        .map(|template| [template.id, template.name, template.status, template.reason])
        .collect();
    let expected = [
        ["", "promo", "PAUSED", ""],
        ["1", "promo", "REJECTED", "INVALID_FORMAT"],
        ["t", "promo", "paused", ""],
    ];
    assert_eq!(statuses, expected.map(|words| words.map(str::to_owned)).into());
    assert_eq!(of(Kind::TemplateQuality).template.as_ref().unwrap().quality, "RED");
    assert_eq!(of(Kind::TemplateCategory).template.as_ref().unwrap().category, "MARKETING");
    let flagged = of(Kind::NumberQuality);
    let number = flagged.number.clone().unwrap();
    assert_eq!(number.display.as_str(), "919000000000");
    assert_eq!(number.quality.as_str(), "FLAGGED");
    assert_eq!(number.limit.as_str(), "TIER_10K");
    assert_eq!(flagged.occurred_at.unwrap().seconds, 1_782_000_007);
    assert!(flagged.raw_json.contains("TIER_10K"));
    let limits: BTreeSet<_> = found
        .account
        .iter()
        .filter(|event| event.kind() == Kind::NumberLimit)
        .map(|event| event.number.clone().unwrap().limit)
        .collect();
    assert_eq!(limits, ["2000", "TIER_100K"].map(str::to_owned).into());
    assert_eq!(of(Kind::Review).decision, "APPROVED");
    assert_eq!(of(Kind::Restriction).errors[0].name, "RESTRICTED_BIZ_INITIATED_MESSAGING");
    assert_eq!(of(Kind::Ban).errors[0].name, "DISABLE");
    let errors: Vec<_> = of(Kind::NumberError).errors.iter().map(|error| error.code.as_str()).collect();
    assert_eq!(errors, ["130429", "131031"]);
    let counted = r#"normalizer_items_total{bsp="gupshup",kind="account",detail="ACCOUNT_EVENT_KIND_BAN"}"#;
    assert!(found.metrics.contains(counted), "{}", found.metrics);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_customers_do_beside_writing_comes_out_and_a_message_that_opts_out_gives_both() {
    use CustomerEventKind as Kind;
    let paid = json!({ "type": "PAYMENT_STATUS", "referenceId": "r", "status": "SUCCESS" });
    let paid = json!({ "from": "49151", "content": paid });
    let stop = json!({ "wa_id": CUSTOMER, "category": "marketing_messages", "value": "stop", "timestamp": 1_782_000_009 });
    let found = found(&[
        version_3(&[
            messages(json!({ "messages": [
                system("wamid.s1", json!({ "wa_id": "918000000043", "type": "user_changed_number" })),
                system("wamid.s2", json!({ "user_id": "IN.2", "previous_user_id": "IN.1", "type": "user_changed_user_id" })),
            ], "statuses": [payment()] })),
            ("user_preferences", json!({ "user_preferences": [stop] })),
        ]),
        version_2("user-event", json!({ "phone": CUSTOMER, "type": "opted-in" })),
        Webhook::infobip(paid.to_string()),
        Webhook::twilio("MessageSid=SM1&From=whatsapp%3A%2B4915112345678&Body=Stop&OptOutType=STOP"),
    ])
    .await;
    let kinds: Vec<_> = found.customers.iter().map(|event| (event.bsp.as_str(), event.kind())).collect();
    for expected in [
        ("gupshup", Kind::NumberChanged),
        ("gupshup", Kind::UserIdChanged),
        ("gupshup", Kind::Payment),
        ("gupshup", Kind::OptedOut),
        ("gupshup", Kind::OptedIn),
        ("infobip", Kind::Payment),
        ("twilio", Kind::OptedOut),
    ] {
        assert_eq!(kinds.iter().filter(|kind| **kind == expected).count(), 1, "{expected:?} of {kinds:?}");
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let of = |kind| {
        let mut of_gupshup = found.customers.iter().filter(|event| event.bsp == "gupshup");
        of_gupshup.find(|event| event.kind() == kind).unwrap()
    };
    let moved = of(Kind::NumberChanged);
    assert_eq!(moved.customer.as_ref().unwrap().number.as_str(), "918000000043");
    assert_eq!(moved.old_number.as_str(), CUSTOMER);
    let renamed = of(Kind::UserIdChanged);
    assert_eq!(renamed.customer.as_ref().unwrap().user_id.as_str(), "IN.2");
    assert_eq!(renamed.old_user_id.as_str(), "IN.1");
    let payment = of(Kind::Payment).payment.clone().unwrap();
    assert_eq!(payment.reference.as_str(), "order-4711");
    assert_eq!(payment.status.as_str(), "failed");
    assert_eq!(payment.error.unwrap().code, "U30");
    assert_eq!(of(Kind::OptedOut).customer.as_ref().unwrap().number, CUSTOMER);
    let messages = found.installation.messages().await;
    assert_eq!(messages.len(), 1, "the message that opts out is one too");
    assert_eq!(messages[0].message_id.as_str(), "SM1", "the message that opts out is one too");
    assert!(found.installation.reports().await.is_empty(), "a payment is no report");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deliberately_ignored_is_counted_and_is_no_dead_letter() {
    let echo = json!({ "message_echoes": [{ "from": "919000000000", "to": CUSTOMER, "id": "wamid.e", "type": "text" }] });
    let found = found(&[
        version_3(&[
            ("smb_message_echoes", echo),
            ("billing-event", json!({ "billing": {} })),
            ("group_lifecycle_update", json!({ "groups": [] })),
            messages(json!({ "user_actions": [{ "action_type": "marketing_messages_link_click" }] })),
        ]),
        version_2("billing-event", json!({ "deductions": {} })),
        Webhook::infobip(json!({ "content": { "type": "BUSINESS_APP_MESSAGE_ECHO" } }).to_string()),
    ])
    .await;
    assert_eq!(found.account.len(), 0);
    assert_eq!(found.customers.len(), 0);
    assert!(found.installation.messages().await.is_empty());
    for (bsp, what) in [
        ("gupshup", "message_echo"),
        ("gupshup", "billing_event"),
        ("gupshup", "group_event"),
        ("gupshup", "user_action"),
        ("infobip", "message_echo"),
    ] {
        let counted = format!(r#"normalizer_items_total{{bsp="{bsp}",kind="ignored",detail="{what}"}}"#);
        assert!(found.metrics.contains(&counted), "{what} in {}", found.metrics);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_the_events_without_what_is_personal_and_replay_publishes_them_again() {
    let found = found(&[version_3(&[
        (
            "phone_number_quality_update",
            json!({ "display_phone_number": "919000000000", "event": "FLAGGED" }),
        ),
        messages(json!({ "statuses": [payment()] })),
    ])])
    .await;
    for (what, shown) in [("account", "NUMBER_QUALITY"), ("customers", "PAYMENT")] {
        for json in [&["--json"][..], &[]] {
            let output = run_cli(&found.installation, &[json, &["tail", what, "--no-follow"]].concat()).await;
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && text.contains(shown), "{text}");
            for personal in ["919000000000", CUSTOMER, "order-4711"] {
                assert!(!text.contains(personal), "{personal} in {text}");
            }
            // The BSP's text about an error is shown.
            assert_eq!(text.contains("debit failed"), what == "customers", "{text}");
        }
    }
    let output = run_cli(&found.installation, &["tail", "customers", "--no-follow", "--unmask"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(CUSTOMER) && text.contains("order-4711"), "{text}");

    let output = run_cli(&found.installation, &["--json", "replay", "webhooks", "--since", "1h"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(summary["different"], 0, "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        run_cli(&found.installation, &["replay", "webhooks", "--since", "1h", "--publish", "--yes"])
            .await
            .status
            .success()
    );
    let again = found.installation.stored(&EVENTS, "imchannel.event.>").await;
    let replayed = again.iter().filter(|event| event.headers.get(bus::headers::REPLAYED) == Some("true"));
    assert!(replayed.count() >= 2, "{again:?}");
}
