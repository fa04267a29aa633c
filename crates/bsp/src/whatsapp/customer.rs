//! The names of a customer in WhatsApp: a number, a business-scoped user id, the parent's id, and a username.
//!
//! If a customer hides the number, BSPs write a user id into the number's field. So the form of an address
//! determines its kind (Meta, "Business-scoped user IDs", 2026-11).

use proto::v1::Customer;

use crate::text;

/// The BSP's names of a customer, as they appear in the body; empty if the BSP does not send them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    /// The sender of the message: a number, or a user id of either kind.
    pub(crate) address: &'a str,
    /// The separate number, whose spelling may differ.
    pub(crate) number: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) parent_user_id: &'a str,
    pub(crate) username: &'a str,
}

impl Names<'_> {
    /// The customer; `None` if all names are empty.
    pub(crate) fn to_customer(self) -> Option<Customer> {
        let addresses = [self.address, self.number].map(text::address);
        let first = |is_kind: fn(&str) -> bool| addresses.into_iter().find(|address| is_kind(address));
        // A value under its own name is accepted in any form.
        let named = |given: &str, is_kind: fn(&str) -> bool| {
            let given = text::address(given);
            let found = if given.is_empty() { first(is_kind) } else { Some(given) };
            found.unwrap_or_default().to_owned()
        };
        let customer = Customer {
            number: first(is_number).unwrap_or_default().to_owned(),
            user_id: named(self.user_id, is_own_user_id),
            parent_user_id: named(self.parent_user_id, text::is_parent_user_id),
            username: self.username.trim().to_owned(),
        };
        (customer != Customer::default()).then_some(customer)
    }
}

/// Some documents show numbers with asterisks in them.
fn is_number(address: &str) -> bool {
    address.starts_with(|first: char| first.is_ascii_digit())
}

fn is_own_user_id(address: &str) -> bool {
    text::is_user_id(address) && !text::is_parent_user_id(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_address_determines_its_kind() {
        let customer = |names: Names<'_>| {
            let customer = names.to_customer().unwrap_or_default();
            [customer.number, customer.user_id, customer.parent_user_id, customer.username]
        };
        let none = Names::default();
        assert_eq!(none.to_customer(), None);
        let from_number = Names { address: "whatsapp:+4915112345", number: "4915112", ..none };
        assert_eq!(customer(from_number), ["4915112345", "", "", ""]);
        let hidden = Names { address: "whatsapp:US.1349", number: "1415", username: " @noor ", ..none };
        assert_eq!(customer(hidden), ["1415", "US.1349", "", "@noor"]);
        let of_parent = Names { address: "US.ENT.118", user_id: "US.1349", ..none };
        assert_eq!(customer(of_parent), ["", "US.1349", "US.ENT.118", ""]);
    }
}
