//! Infobip's notifications about templates, the account, payments and preferences of customers.
//!
//! Infobip's Subscriptions API lists the events (read 2026-11) and publishes few of their bodies: the bodies here have
//! the members of the published ones. A confirmed payment is a customer's message of a separate type (OpenAPI of the
//! WhatsApp API, 3.210.0).

use bytes::Bytes;
use proto::v1::inbound_message::Content as ProtoContent;
use proto::v1::{
    AccountEvent, AccountEventKind, AccountNumber, AccountTemplate, Customer, CustomerEvent,
    CustomerEventKind, Payment, ReportError, Unsupported,
};
use serde_json::{Value, json};

use super::entry::{message_entry_of, offset_time};
use crate::bsp_client::Body;
use crate::endpoint::Endpoint;
use crate::event::{Content, Ids, Message, Notice, NoticeKind};
use crate::expected::{self, Expected};

/// The type of a message that confirms a payment.
const CONFIRMATION: &str = "INTERACTIVE_PAYMENT_CONFIRMATION";
const TEMPLATE_NAME: &str = "order_shipped";
const TEMPLATE_LANGUAGE: &str = "en_GB";

/// One body, and the expected event.
pub(super) fn body(endpoint: &Endpoint, notice: &Notice) -> Body {
    // Infobip chooses these ids, so none belongs to a command.
    let id = notice.id.trim_start_matches("imc-").to_owned();
    let notice = &Notice { id, ..notice.clone() };
    let (body, expected) = match notice.what {
        NoticeKind::TemplatePaused | NoticeKind::TemplateDowngraded | NoticeKind::TemplateRecategorised => {
            template(endpoint, notice)
        }
        NoticeKind::AccountRestricted => restriction(endpoint, notice),
        NoticeKind::PaymentFailed => payment(endpoint, notice),
        NoticeKind::PaymentConfirmed => return confirmation(endpoint, notice),
        NoticeKind::OptedOut => preference(endpoint, notice, "stop", CustomerEventKind::OptedOut),
        NoticeKind::OptedIn => preference(endpoint, notice, "resume", CustomerEventKind::OptedIn),
    };
    Body { route: "report", bytes: Bytes::from(body.to_string()), expected: [expected].into() }
}

fn template(endpoint: &Endpoint, notice: &Notice) -> (Value, Expected) {
    let mut content = json!({
        "templateId": notice.id, "templateName": TEMPLATE_NAME, "language": TEMPLATE_LANGUAGE,
    });
    let mut template = AccountTemplate {
        id: notice.id.clone(),
        name: TEMPLATE_NAME.to_owned(),
        language: TEMPLATE_LANGUAGE.to_owned(),
        ..AccountTemplate::default()
    };
    let (word, kind) = match notice.what {
        NoticeKind::TemplateDowngraded => {
            content["quality"] = "LOW".into();
            template.quality = "LOW".to_owned();
            ("TEMPLATE_QUALITY_UPDATE", AccountEventKind::TemplateQuality)
        }
        NoticeKind::TemplateRecategorised => {
            content["newCategory"] = "MARKETING".into();
            template.category = "MARKETING".to_owned();
            ("TEMPLATE_CATEGORY_UPDATE", AccountEventKind::TemplateCategory)
        }
        _ => {
            content["status"] = "PAUSED".into();
            content["reason"] = "LOW_QUALITY".into();
            template.status = "PAUSED".to_owned();
            template.reason = "LOW_QUALITY".to_owned();
            ("TEMPLATE_UPDATE", AccountEventKind::TemplateStatus)
        }
    };
    content["type"] = word.into();
    let body = of_number(notice, &content);
    let event = AccountEvent { template: Some(template), ..account(endpoint, notice, kind, &body) };
    (body, Expected::Account(Box::new(event)))
}

/// The gateway has no kind for Infobip's texts about the account: they are in `decision`.
fn restriction(endpoint: &Endpoint, notice: &Notice) -> (Value, Expected) {
    let content = json!({ "type": "ACCOUNT_UPDATE_NOTIFICATION", "status": "RESTRICTED", "id": notice.id });
    let body = of_number(notice, &content);
    let event = AccountEvent {
        decision: "RESTRICTED".to_owned(),
        ..account(endpoint, notice, AccountEventKind::Other, &body)
    };
    (body, Expected::Account(Box::new(event)))
}

fn payment(endpoint: &Endpoint, notice: &Notice) -> (Value, Expected) {
    let content = json!({
        "type": "PAYMENT_STATUS", "referenceId": notice.id, "status": "FAILED",
        "error": {
            "id": 7400, "name": "EC_PAYMENT_DECLINED", "description": "debit failed", "permanent": true,
        },
    });
    let error = ReportError {
        code: "7400".to_owned(),
        name: "EC_PAYMENT_DECLINED".to_owned(),
        description: "debit failed".to_owned(),
        permanent: Some(true),
    };
    let payment = Payment { reference: notice.id.clone(), status: "FAILED".to_owned(), error: Some(error) };
    let customer = Customer { number: notice.customer.clone(), ..Customer::default() };
    let body = of_customer(notice, &content);
    let event = CustomerEvent {
        occurred_at: expected::time(notice.at),
        payment: Some(payment),
        raw_json: body.to_string(),
        ..expected::customer(endpoint, CustomerEventKind::Payment, customer)
    };
    (body, Expected::Customer(Box::new(event)))
}

/// A message without text for an agent, and an event about the payment.
fn confirmation(endpoint: &Endpoint, notice: &Notice) -> Body {
    let content = json!({ "type": CONFIRMATION, "referenceId": notice.id, "status": "SUCCESS" });
    let message = Message {
        ids: Ids { message: notice.id.clone(), whatsapp: String::new() },
        customer: notice.customer.clone(),
        name: "Asha".to_owned(),
        business: notice.business.clone(),
        at: notice.at,
        content: Content::Unknown,
    };
    let unsupported = ProtoContent::Unsupported(Unsupported {
        r#type: CONFIRMATION.to_owned(),
        raw_json: content.to_string(),
    });
    let (entry, message) = message_entry_of(endpoint, &message, &content, unsupported);
    let payment = Payment { reference: notice.id.clone(), status: "SUCCESS".to_owned(), error: None };
    let customer = message.customer.clone().unwrap_or_default();
    let event = CustomerEvent {
        occurred_at: expected::time(notice.at),
        payment: Some(payment),
        raw_json: content.to_string(),
        // Both are of one item.
        unread_json: message.unread_json.clone(),
        ..expected::customer(endpoint, CustomerEventKind::Payment, customer)
    };
    let expected = [Expected::Message(Box::new(message)), Expected::Customer(Box::new(event))].into();
    let bytes = Bytes::from(json!({ "results": [entry] }).to_string());
    Body { route: "message", bytes, expected }
}

fn preference(
    endpoint: &Endpoint,
    notice: &Notice,
    value: &str,
    kind: CustomerEventKind,
) -> (Value, Expected) {
    let customer = expected::preference_customer(notice);
    let content = json!({
        "type": "MARKETING_SUBSCRIPTION_UPDATE", "userNumber": customer.number, "userId": customer.user_id,
        "value": value,
    });
    let body = of_customer(notice, &content);
    let event = CustomerEvent {
        occurred_at: expected::time(notice.at),
        raw_json: body.to_string(),
        ..expected::customer(endpoint, kind, customer)
    };
    (body, Expected::Customer(Box::new(event)))
}

/// A notification about our number.
fn of_number(notice: &Notice, content: &Value) -> Value {
    json!({ "sender": notice.business, "createdAt": offset_time(notice.at), "content": content })
}

/// A notification about a customer.
fn of_customer(notice: &Notice, content: &Value) -> Value {
    json!({
        "from": notice.customer, "to": notice.business, "createdAt": offset_time(notice.at),
        "content": content,
    })
}

fn account(endpoint: &Endpoint, notice: &Notice, kind: AccountEventKind, body: &Value) -> AccountEvent {
    AccountEvent {
        occurred_at: expected::time(notice.at),
        number: Some(AccountNumber { display: notice.business.clone(), ..AccountNumber::default() }),
        ..expected::account(endpoint, kind, body)
    }
}
