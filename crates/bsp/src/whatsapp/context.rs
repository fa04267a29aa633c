//! The context of a message: the message that it answers, a product, a forwarding (Meta, "messages object";
//! Gupshup's version 2 and Infobip write the same in camel case).

use proto::v1::{MessageContext, ReferredProduct};
use serde::Deserialize;

use crate::json::{self, LooseScalar, Part};
use crate::text;

#[derive(Deserialize, Default)]
pub(crate) struct Context<'a> {
    #[serde(borrow, default)]
    pub(crate) id: LooseScalar<'a>,
    /// Gupshup's own id of the answered message. Gupshup's reports and the response to the send call use it.
    #[serde(borrow, default, alias = "gsId")]
    pub(crate) gs_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    from: LooseScalar<'a>,
    /// Replaces `from` if the customer hides the number.
    #[serde(borrow, default, alias = "fromUserId")]
    from_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    forwarded: LooseScalar<'a>,
    #[serde(borrow, default, alias = "frequentlyForwarded")]
    frequently_forwarded: LooseScalar<'a>,
    #[serde(borrow, alias = "referredProduct")]
    referred_product: Part<'a>,
    /// Only Infobip: the group that the message was written in.
    #[serde(borrow, default, rename = "groupId")]
    pub(crate) group_id: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct Product<'a> {
    #[serde(borrow, default, alias = "catalogId")]
    catalog_id: LooseScalar<'a>,
    #[serde(borrow, default, alias = "productRetailerId")]
    product_retailer_id: LooseScalar<'a>,
}

impl<'a> Context<'a> {
    /// Reads the context. An absent context, or one of another shape, counts as empty.
    pub(crate) fn read(part: Part<'a>) -> Self {
        json::optional(part).ok().flatten().unwrap_or_default()
    }

    /// The id of the answered message, which reports use too.
    pub(crate) fn answered(&self) -> &LooseScalar<'a> {
        self.gs_id.or(&self.id)
    }

    /// The context in the form of events; `None` if it is empty.
    pub(crate) fn to_message_context(&self) -> Option<MessageContext> {
        let product = json::optional::<Product<'_>>(self.referred_product).ok().flatten();
        let context = MessageContext {
            message_id: self.answered().owned(),
            sender: text::address(self.from.or(&self.from_user_id).as_str()).to_owned(),
            forwarded: self.forwarded.is_true(),
            frequently_forwarded: self.frequently_forwarded.is_true(),
            referred_product: product.and_then(|product| product.to_referred_product()),
        };
        // A sender without a message is not a reference.
        let refers = MessageContext { sender: String::new(), ..context.clone() } != MessageContext::default();
        refers.then_some(context)
    }
}

impl Product<'_> {
    fn to_referred_product(&self) -> Option<ReferredProduct> {
        let product = ReferredProduct {
            catalog_id: self.catalog_id.owned(),
            product_retailer_id: self.product_retailer_id.owned(),
        };
        (product != ReferredProduct::default()).then_some(product)
    }
}
