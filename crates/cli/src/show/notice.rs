//! Events about the account and about customers, as JSON and as text.

use bus::Delivery;
use prost::Message;
use proto::v1::{AccountEvent, AccountEventKind, CustomerEvent, CustomerEventKind, ReportError};

use super::{Shown, named, time_of, undecodable};
use crate::mask;
use crate::mask::PersonalData;
use crate::output::{BAD, DIM, GOOD, ODD, STRONG, styled, text};

/// An event about the account, as JSON and as text.
pub(crate) fn account(delivery: &Delivery, personal: PersonalData) -> Shown {
    let mut event = match AccountEvent::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if personal == PersonalData::Masked {
        mask::account(&mut event);
    }
    let style = match event.kind() {
        AccountEventKind::Restriction | AccountEventKind::Ban | AccountEventKind::NumberError => BAD,
        AccountEventKind::Other | AccountEventKind::Unspecified => ODD,
        _ => STRONG,
    };
    let kind = event.kind().as_str_name().trim_start_matches("ACCOUNT_EVENT_KIND_");
    let template = event.template.clone().unwrap_or_default();
    let number = event.number.clone().unwrap_or_default();
    let line = text!(
        "{} {} {} {}{}{}{}{}{}{}{}{}{}{}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "account"),
        styled(style, kind),
        named("template", &template.name),
        named("in", &template.language),
        named("is", &template.status),
        named("of category", &template.category),
        named("of quality", &template.quality),
        named("because of", &template.reason),
        named("number", &number.display),
        named("limit", &number.limit),
        named("decision", &event.decision),
        event.errors.iter().map(error).collect::<String>(),
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}

/// An event about a customer, as JSON and as text.
pub(crate) fn customer(delivery: &Delivery, personal: PersonalData) -> Shown {
    let mut event = match CustomerEvent::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if personal == PersonalData::Masked {
        mask::customer(&mut event);
    }
    let style = match event.kind() {
        CustomerEventKind::OptedIn => GOOD,
        CustomerEventKind::OptedOut => BAD,
        CustomerEventKind::Other | CustomerEventKind::Unspecified => ODD,
        _ => STRONG,
    };
    let kind = event.kind().as_str_name().trim_start_matches("CUSTOMER_EVENT_KIND_");
    let customer = event.customer.clone().unwrap_or_default();
    let payment = event.payment.clone().unwrap_or_default();
    let line = text!(
        "{} {} {} {}{}{}{}{}{}{}{}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "customer"),
        styled(style, kind),
        named("number", &customer.number),
        named("before", &event.old_number),
        named("user id", &customer.user_id),
        named("before", &event.old_user_id),
        named("payment", &payment.reference),
        named("is", &payment.status),
        payment.error.iter().map(error).collect::<String>(),
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}

fn error(error: &ReportError) -> String {
    format!(
        "{}{}{}",
        named("error", &error.code),
        named("error", &error.name),
        named(":", &error.description)
    )
}
