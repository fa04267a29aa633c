//! Validates business cards.

use jiff::civil::Date;
use proto::v1::{Contact, Contacts};

use super::Content;
use super::faults::Faults;

/// Most contacts of one message.
const CONTACTS_MAX: usize = 257;
/// Types that WhatsApp has for a telephone number (Meta, "Contacts messages"; Infobip,
/// OpenAPI of the OMNI failover API 3.210.0; both read 2026-11).
const PHONE_TYPES: &[&str] = &["CELL", "MAIN", "IPHONE", "HOME", "WORK"];
/// Types of email addresses, links and addresses.
const OTHER_TYPES: &[&str] = &["HOME", "WORK"];

pub(super) fn read_contacts(contacts: &Contacts, faults: &mut Faults) -> Content {
    let count = contacts.contacts.len();
    let rule = format!("must contain 1 to {CONTACTS_MAX} cards");
    faults.unless((1..=CONTACTS_MAX).contains(&count), "contacts.contacts", &rule);
    for (place, contact) in contacts.contacts.iter().take(CONTACTS_MAX).enumerate() {
        check(contact, &format!("contacts.contacts[{place}]"), faults);
    }
    Content::Contacts(contacts.contacts.clone())
}

fn check(contact: &Contact, card: &str, faults: &mut Faults) {
    for (name, value) in [("formatted_name", &contact.formatted_name), ("first_name", &contact.first_name)] {
        faults.unless(!value.trim().is_empty(), &format!("{card}.{name}"), "must not be empty");
    }
    let is_date = contact.birthday.is_empty() || is_date(&contact.birthday);
    faults.unless(is_date, &format!("{card}.birthday"), "must be a date such as 1990-01-31, or empty");
    let phones = contact.phone_numbers.iter().map(|entry| Entry {
        list: "phone_numbers",
        // One of the two fields is enough.
        value: entry.wa_id.is_empty().then_some(("number", &entry.number)),
        kind: &entry.r#type,
        kinds: PHONE_TYPES,
    });
    let emails = contact.email_addresses.iter().map(|entry| Entry {
        list: "email_addresses",
        value: Some(("email", &entry.email)),
        kind: &entry.r#type,
        kinds: OTHER_TYPES,
    });
    let links = contact.links.iter().map(|entry| Entry {
        list: "links",
        value: Some(("url", &entry.url)),
        kind: &entry.r#type,
        kinds: OTHER_TYPES,
    });
    let addresses = contact.addresses.iter().map(|entry| Entry {
        list: "addresses",
        value: None,
        kind: &entry.r#type,
        kinds: OTHER_TYPES,
    });
    phones.enumerate().for_each(|(place, entry)| entry.check(card, place, faults));
    emails.enumerate().for_each(|(place, entry)| entry.check(card, place, faults));
    links.enumerate().for_each(|(place, entry)| entry.check(card, place, faults));
    addresses.enumerate().for_each(|(place, entry)| entry.check(card, place, faults));
}

/// Whether the text is exactly a year, a month and a day.
fn is_date(text: &str) -> bool {
    text.len() == "1990-01-31".len() && text.parse::<Date>().is_ok()
}

/// An entry of one of a card's lists.
struct Entry<'a> {
    list: &'static str,
    /// The field that must not be empty.
    value: Option<(&'static str, &'a str)>,
    kind: &'a str,
    kinds: &'static [&'static str],
}

impl Entry<'_> {
    fn check(&self, card: &str, place: usize, faults: &mut Faults) {
        let at = format!("{card}.{}[{place}]", self.list);
        if let Some((name, value)) = self.value {
            faults.unless(!value.trim().is_empty(), &format!("{at}.{name}"), "must not be empty");
        }
        let is_known =
            self.kind.is_empty() || self.kinds.iter().any(|kind| kind.eq_ignore_ascii_case(self.kind));
        let rule = format!("must be one of {}, or empty", self.kinds.join(", "));
        faults.unless(is_known, &format!("{at}.type"), &rule);
    }
}
