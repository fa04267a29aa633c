//! Shapes that are WhatsApp's own and come through several BSPs unchanged but for the spelling of their keys:
//! business cards and order lines (Meta, "messages object"; Infobip writes the same in camel case), the customer, what a
//! message refers to, and the advertisement behind it.

mod context;
mod customer;
mod referral;

pub(crate) use context::Context;
pub(crate) use customer::Names;
pub(crate) use referral::referral;

use proto::v1::{Contact, Contacts, FormReply, OrderItem};
use serde::Deserialize;

use crate::json::{self, Part, Text};

#[derive(Deserialize)]
struct Card<'a> {
    #[serde(borrow)]
    name: Option<Name<'a>>,
    #[serde(borrow)]
    phones: Option<Vec<Entry<'a>>>,
    #[serde(borrow)]
    emails: Option<Vec<Entry<'a>>>,
    #[serde(borrow)]
    urls: Option<Vec<Entry<'a>>>,
    #[serde(borrow)]
    org: Option<Entry<'a>>,
}

#[derive(Deserialize, Default)]
struct Name<'a> {
    #[serde(borrow, default, alias = "formattedName")]
    formatted_name: Text<'a>,
    #[serde(borrow, default, alias = "firstName")]
    first_name: Text<'a>,
    #[serde(borrow, default, alias = "lastName")]
    last_name: Text<'a>,
}

/// A telephone, an e-mail address, a URL or the organization.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    phone: Text<'a>,
    #[serde(borrow, default, alias = "waId")]
    wa_id: Text<'a>,
    #[serde(borrow, default)]
    email: Text<'a>,
    #[serde(borrow, default)]
    url: Text<'a>,
    #[serde(borrow, default)]
    company: Text<'a>,
}

/// A list of business cards, or `None` when it has another shape.
pub(crate) fn contacts(raw: Part<'_>) -> Option<Contacts> {
    let cards: Vec<Card<'_>> = json::optional(raw).ok()??;
    Some(Contacts { contacts: cards.into_iter().map(contact).collect() })
}

fn contact(card: Card<'_>) -> Contact {
    let name = card.name.unwrap_or_default();
    let texts = |entries: Option<Vec<Entry<'_>>>, field: fn(&Entry<'_>) -> String| {
        let texts = entries.unwrap_or_default();
        texts.iter().map(field).filter(|text| !text.is_empty()).collect::<Vec<_>>()
    };
    Contact {
        formatted_name: name.formatted_name.owned(),
        first_name: name.first_name.owned(),
        last_name: name.last_name.owned(),
        phones: texts(card.phones, |entry| entry.phone.or(&entry.wa_id).owned()),
        emails: texts(card.emails, |entry| entry.email.owned()),
        urls: texts(card.urls, |entry| entry.url.owned()),
        organization: card.org.map(|org| org.company.owned()).unwrap_or_default(),
    }
}

#[derive(Deserialize)]
struct OrderLine<'a> {
    #[serde(borrow, default, alias = "productRetailerId")]
    product_retailer_id: Text<'a>,
    #[serde(borrow, default)]
    quantity: Text<'a>,
    #[serde(borrow, default, alias = "itemPrice")]
    item_price: Text<'a>,
    #[serde(borrow, default)]
    currency: Text<'a>,
}

/// The lines of an order, or `None` when one of them has another shape.
pub(crate) fn order_items(raw: Part<'_>) -> Option<Vec<OrderItem>> {
    let lines: Vec<OrderLine<'_>> = json::optional(raw).ok()??;
    let items = lines.iter().map(|line| {
        Some(OrderItem {
            product_id: line.product_retailer_id.owned(),
            quantity: line.quantity.whole_number()?,
            price: line.item_price.owned(),
            currency: line.currency.owned(),
        })
    });
    items.collect()
}

#[derive(Deserialize)]
struct Form<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    body: Text<'a>,
    /// A text that holds JSON.
    #[serde(borrow, default)]
    response_json: Text<'a>,
}

/// The answer to a form, `nfm_reply` in Meta's words, or `None` when it has another shape.
pub(crate) fn form_reply(raw: Part<'_>) -> Option<FormReply> {
    let form: Form<'_> = json::optional(raw).ok()??;
    Some(FormReply {
        name: form.name.owned(),
        body: form.body.owned(),
        response_json: form.response_json.present()?.to_owned(),
    })
}
