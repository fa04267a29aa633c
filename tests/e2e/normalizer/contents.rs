//! What BSPs report about a message beside its text is in the events: all names of the customer, the advertisement, the
//! group, the quoted message; and for a report its participant, price, conversation and every error.

use proto::v1::inbound_message::Content;
use proto::v1::{InboundMessage, ReportEvent, ReportStatus, edit};
use serde_json::{Value, json};

use crate::harness::{Installation, Webhook};

const CUSTOMER: &str = "918000000001";

/// A body of Gupshup's version 3 with one change.
fn version_3(value: Value) -> Webhook {
    let mut value = value;
    value["metadata"] = json!({ "display_phone_number": "919000000000", "phone_number_id": "1" });
    let body =
        json!({ "gs_app_id": "a", "entry": [{ "changes": [{ "field": "messages", "value": value }] }] });
    Webhook::gupshup(body.to_string())
}

/// Messages of one customer in a body of version 3.
fn messages(parts: &[Value]) -> Webhook {
    let message = |(place, part): (usize, &Value)| {
        let mut message =
            json!({ "from": CUSTOMER, "id": format!("wamid.{place}"), "timestamp": "1772359199" });
        message.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        message
    };
    let contact = json!({
        "profile": { "name": "Asha", "username": "asha.k" }, "wa_id": CUSTOMER, "user_id": "IN.1",
        "parent_user_id": "IN.ENT.1",
    });
    let messages: Vec<_> = parts.iter().enumerate().map(message).collect();
    version_3(json!({ "contacts": [contact], "messages": messages }))
}

/// The events of webhooks that are posted one after the other.
async fn events(webhooks: &[Webhook]) -> (Vec<InboundMessage>, Vec<ReportEvent>) {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for webhook in webhooks {
        assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    assert!(installation.dead_letters().await.is_empty());
    let found = (installation.messages().await, installation.reports().await);
    normalizer.stop().await;
    ingress.stop().await;
    found
}

fn of<'m>(messages: &'m [InboundMessage], id: &str) -> &'m InboundMessage {
    messages.iter().find(|message| message.message_id == id).unwrap_or_else(|| panic!("no {id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advertisement_comes_with_the_first_message_of_every_bsp_that_names_one() {
    let referral = json!({
        "source_type": "ad", "source_id": "12", "source_url": "https://fb.example/ad", "headline": "Winter sale",
        "body": "All boots", "media_type": "image", "image_url": "https://cdn.example/ad.jpg", "ctwa_clid": "CLID",
        "welcome_message": { "text": "Hello!" },
    });
    let text = json!({ "type": "text", "text": { "body": "Hi" }, "referral": referral });
    let version_2 = json!({ "type": "message", "timestamp": 1_772_359_199_000_u64, "payload": {
        "id": "v2", "source": CUSTOMER, "type": "text", "payload": { "text": "Hi" }, "referral": referral,
    } });
    let infobip = json!({ "results": [{ "from": "4915112345678", "to": "4930", "messageId": "ib", "message": {
        "type": "TEXT", "text": "Hi", "referral": {
            "sourceType": "AD", "sourceId": "12", "sourceUrl": "https://fb.example/ad", "headline": "Winter sale",
            "body": "All boots", "ctwaClickId": "CLID",
            "referralMedia": { "type": "IMAGE", "url": "https://cdn.example/ad.jpg" },
        },
    } }] });
    let twilio = "MessageSid=SM1&From=whatsapp%3A%2B4915112345678&Body=Hi&ReferralSourceType=ad&ReferralSourceId=12\
                  &ReferralSourceUrl=https%3A%2F%2Ffb.example%2Fad&ReferralHeadline=Winter+sale\
                  &ReferralBody=All+boots&ReferralMediaContentType=image%2Fjpeg\
                  &ReferralMediaUrl=https%3A%2F%2Fcdn.example%2Fad.jpg&ReferralCtwaClid=CLID";
    let webhooks = [
        messages(&[text]),
        Webhook::gupshup(version_2.to_string()),
        Webhook::infobip(infobip.to_string()),
        Webhook::twilio(twilio),
    ];
    let (messages, _) = events(&webhooks).await;
    for (id, media_type, welcome) in [
        ("wamid.0", "image", "Hello!"),
        ("v2", "image", "Hello!"),
        ("ib", "image", ""),
        ("SM1", "image/jpeg", ""),
    ] {
        let referral = of(&messages, id).referral.clone().unwrap_or_else(|| panic!("{id} has no referral"));
        assert_eq!(referral.source_type, "ad", "{id}");
        assert_eq!(referral.source_id.as_str(), "12", "{id}");
        assert_eq!(referral.click_id.as_str(), "CLID", "{id}");
        assert_eq!(referral.headline.as_str(), "Winter sale", "{id}");
        assert_eq!(referral.body.as_str(), "All boots", "{id}");
        assert_eq!(referral.source_url, "https://fb.example/ad", "{id}");
        assert_eq!(referral.media_url, "https://cdn.example/ad.jpg", "{id}");
        assert_eq!(referral.media_type.as_str(), media_type, "{id}");
        assert_eq!(referral.welcome_message.as_str(), welcome, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_comes_under_every_name_and_a_message_with_what_it_refers_to() {
    let product = json!({ "catalog_id": "cat", "product_retailer_id": "SKU" });
    let webhook = messages(&[
        json!({ "type": "text", "text": { "body": "In stock?" }, "group_id": "group-1",
                "context": { "from": "919000000000", "id": "031", "gs_id": "gs-1", "referred_product": product } }),
        json!({ "type": "audio", "audio": { "id": "m", "voice": true, "sha256": "aGFzaA==" },
                "context": { "frequently_forwarded": true } }),
    ]);
    let (messages, _) = events(&[webhook]).await;
    let first = of(&messages, "wamid.0");
    let customer = first.customer.clone().unwrap();
    assert_eq!(customer.number.as_str(), CUSTOMER);
    assert_eq!(customer.user_id.as_str(), "IN.1");
    assert_eq!(customer.parent_user_id.as_str(), "IN.ENT.1");
    assert_eq!(customer.username.as_str(), "asha.k");
    assert_eq!(first.sender.as_str(), CUSTOMER);
    assert_eq!(first.group_id.as_str(), "group-1");
    let context = first.context.clone().unwrap();
    assert_eq!(context.message_id, "gs-1", "as reports name it");
    assert_eq!(context.referred_product.unwrap().product_retailer_id, "SKU");
    let second = of(&messages, "wamid.1");
    assert!(second.context.as_ref().unwrap().frequently_forwarded);
    let Some(Content::Audio(audio)) = &second.content else { panic!("{second:?}") };
    assert!(audio.voice && audio.sha256 == "aGFzaA==");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_forms_changes_and_what_was_taken_back_have_contents_of_their_own() {
    let form = json!({ "name": "flow", "body": "Sent", "response_json": "{\"rating\":5}" });
    let webhook = messages(&[
        json!({ "type": "interactive", "interactive": { "type": "nfm_reply", "nfm_reply": form } }),
        json!({ "type": "edit", "edit": { "original_message_id": "wamid.a",
                "message": { "type": "text", "text": { "body": "Better" } } } }),
        json!({ "type": "revoke", "revoke": { "original_message_id": "wamid.a" } }),
        json!({ "type": "request_welcome" }),
    ]);
    let list = Webhook::twilio(
        "MessageSid=SM1&From=whatsapp%3A%2B49&Body=Afternoon&ListId=pm&ListTitle=Afternoon&ListDescription=16%3A00",
    );
    let (messages, _) = events(&[webhook, list]).await;
    let content = |id: &str| of(&messages, id).content.clone().unwrap();
    let Content::FormReply(form) = content("wamid.0") else { panic!("{messages:?}") };
    assert_eq!(form.name.as_str(), "flow");
    assert_eq!(form.response_json.as_str(), "{\"rating\":5}");
    let Content::Edit(changed) = content("wamid.1") else { panic!("{messages:?}") };
    let Some(edit::Content::Text(text)) = changed.content else { panic!("{changed:?}") };
    assert_eq!(changed.message_id.as_str(), "wamid.a");
    assert_eq!(text.body.as_str(), "Better");
    let Content::Revoke(revoked) = content("wamid.2") else { panic!("{messages:?}") };
    assert_eq!(revoked.message_id, "wamid.a");
    assert!(matches!(content("wamid.3"), Content::RequestWelcome(_)));
    let Content::ListReply(row) = content("SM1") else { panic!("{messages:?}") };
    assert_eq!(row.id.as_str(), "pm");
    assert_eq!(row.title.as_str(), "Afternoon");
    assert_eq!(row.description.as_str(), "16:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_card_comes_in_old_and_new_fields() {
    let webhook = messages(&[json!({ "type": "contacts", "contacts": [{
        "name": { "formatted_name": "Asha K", "first_name": "Asha" }, "birthday": "1990-01-02",
        "org": { "company": "ACME", "department": "Sales" },
        "phones": [{ "type": "CELL" }, { "phone": "+91 800", "wa_id": "91800", "type": "WORK" }],
        "emails": [{ "email": "a@example.com", "type": "WORK" }], "urls": null,
        "addresses": [{ "street": "1 Hill Rd", "zip": "411001", "type": "HOME" }],
    }] })]);
    let (messages, _) = events(&[webhook]).await;
    let Some(Content::Contacts(contacts)) = &messages[0].content else { panic!("{messages:?}") };
    let [card] = contacts.contacts.as_slice() else { panic!("{contacts:?}") };
    assert_eq!(card.phones.as_slice(), &["+91 800".to_owned()][..]);
    assert_eq!(card.emails.as_slice(), &["a@example.com".to_owned()][..]);
    let [phone] = card.phone_numbers.as_slice() else { panic!("{card:?}") };
    assert_eq!(phone.number.as_str(), "+91 800");
    assert_eq!(phone.wa_id.as_str(), "91800");
    assert_eq!(phone.r#type.as_str(), "WORK");
    assert_eq!(card.email_addresses[0].r#type, "WORK");
    assert_eq!(card.addresses[0].street.as_str(), "1 Hill Rd");
    assert_eq!(card.addresses[0].zip.as_str(), "411001");
    assert_eq!(card.birthday.as_str(), "1990-01-02");
    assert_eq!(card.department.as_str(), "Sales");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_participant_price_conversation_and_every_error() {
    let of_group = |participant: &str| {
        json!({ "id": "wamid.g", "status": "delivered", "timestamp": "1772359199", "recipient_id": "group-1",
                "recipient_type": "group", "recipient_participant_id": participant })
    };
    let priced = json!({
        "id": "u-1", "gs_id": "gs-1", "status": "sent", "timestamp": "1772359199", "recipient_id": CUSTOMER,
        "conversation": { "id": "c-1", "expiration_timestamp": "1772445599", "origin": { "type": "marketing" } },
        "pricing": { "billable": false, "pricing_model": "PMP", "category": "marketing", "type": "regular" },
        "biz_opaque_callback_data": "campaign",
    });
    let failed = json!({
        "id": "u-2", "gs_id": "gs-2", "status": "failed", "timestamp": "1772359199", "recipient_id": CUSTOMER,
        "errors": [{ "code": 131_049, "title": "one" }, { "code": 131_026, "title": "two" }],
    });
    let payment = json!({
        "id": "u-3", "gs_id": "gs-3", "type": "payment", "status": "failed", "timestamp": "1772359199",
        "recipient_id": CUSTOMER, "payment": { "reference_id": "order-1" },
    });
    let statuses = [of_group("918000000001"), of_group("918000000002"), priced, failed, payment];
    let infobip = json!({ "results": [{ "messageId": "ib", "to": "4915112345678", "callbackData": "ticket 7",
        "status": { "groupName": "DELIVERED" } }] });
    let webhooks = [version_3(json!({ "statuses": statuses })), Webhook::infobip(infobip.to_string())];
    let (_, reports) = events(&webhooks).await;
    let of = |id: &str| reports.iter().filter(|report| report.message_id == id).collect::<Vec<_>>();

    let mut participants: Vec<_> = of("wamid.g").iter().map(|report| report.participant.as_str()).collect();
    participants.sort_unstable();
    assert_eq!(participants, ["918000000001", "918000000002"], "one event for each");
    assert!(of("wamid.g").iter().all(|report| report.group_id == "group-1"));
    let [sent] = of("gs-1")[..] else { panic!("{reports:?}") };
    let (pricing, conversation) = (sent.pricing.clone().unwrap(), sent.conversation.clone().unwrap());
    assert_eq!(pricing.billable, Some(false));
    assert_eq!(pricing.model.as_str(), "PMP");
    assert_eq!(conversation.id.as_str(), "c-1");
    assert_eq!(conversation.origin.as_str(), "marketing");
    assert_eq!(conversation.expires_at.unwrap().seconds, 1_772_445_599);
    assert_eq!(sent.callback_data, "campaign");
    let [failed] = of("gs-2")[..] else { panic!("{reports:?}") };
    let codes: Vec<_> = failed.errors.iter().map(|error| error.code.as_str()).collect();
    assert_eq!(codes, vec!["131049", "131026"]);
    assert_eq!(failed.status(), ReportStatus::Failed);
    assert_eq!(failed.error, failed.errors.first().cloned());
    assert!(of("gs-3").is_empty(), "a payment that failed is no message that failed");
    assert_eq!(of("ib")[0].callback_data, "ticket 7");
}
