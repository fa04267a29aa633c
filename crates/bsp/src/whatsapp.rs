//! WhatsApp's own formats, which several BSPs pass on with different spellings of the keys: business cards
//! and order lines (Meta, "messages object"; Infobip writes the same in camel case), the customer, the
//! context of a message, and the referral.

mod card;
mod context;
mod customer;
mod referral;

pub(crate) use card::contacts;
pub(crate) use context::Context;
pub(crate) use customer::Names;
pub(crate) use referral::referral;

use proto::v1::{FormReply, OrderItem};
use serde::Deserialize;

use crate::json::{self, LooseScalar, Part};

#[derive(Deserialize)]
struct OrderLine<'a> {
    #[serde(borrow, default, alias = "productRetailerId")]
    product_retailer_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    quantity: LooseScalar<'a>,
    #[serde(borrow, default, alias = "itemPrice")]
    item_price: LooseScalar<'a>,
    #[serde(borrow, default)]
    currency: LooseScalar<'a>,
}

/// The lines of an order; `None` if one of them has another shape.
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
    name: LooseScalar<'a>,
    #[serde(borrow, default)]
    body: LooseScalar<'a>,
    /// A string that contains JSON.
    #[serde(borrow, default)]
    response_json: LooseScalar<'a>,
}

/// The response to a form, `nfm_reply` in Meta's format; `None` if it has another shape.
pub(crate) fn form_reply(raw: Part<'_>) -> Option<FormReply> {
    let form: Form<'_> = json::optional(raw).ok()??;
    Some(FormReply {
        name: form.name.owned(),
        body: form.body.owned(),
        response_json: form.response_json.present()?.to_owned(),
    })
}
