//! Business cards in the format of Infobip's OMNI failover API (OpenAPI 3.210.0, `Contact`, read 2026-11).

use proto::v1::{Contact, ContactAddress};
use serde_json::{Map, Value};

/// The card. Empty members are omitted.
pub(super) fn of_contact(contact: &Contact) -> Value {
    let mut card = Map::new();
    let mut name = object(&[
        ("lastName", &contact.last_name),
        ("middleName", &contact.middle_name),
        ("namePrefix", &contact.prefix),
        ("nameSuffix", &contact.suffix),
    ]);
    // Infobip requires these two members, even if they are empty.
    name.insert("firstName".to_owned(), contact.first_name.clone().into());
    name.insert("formattedName".to_owned(), contact.formatted_name.clone().into());
    card.insert("name".to_owned(), name.into());
    let organization = object(&[
        ("company", &contact.organization),
        ("department", &contact.department),
        ("title", &contact.title),
    ]);
    let addresses = contact.addresses.iter().map(address).filter(|address| !address.is_empty()).collect();
    for (list, entries) in [
        ("phones", phones(contact)),
        ("emails", emails(contact)),
        ("urls", urls(contact)),
        ("addresses", addresses),
    ] {
        if !entries.is_empty() {
            card.insert(list.to_owned(), entries.into_iter().map(Value::Object).collect());
        }
    }
    if !organization.is_empty() {
        card.insert("org".to_owned(), organization.into());
    }
    if !contact.birthday.is_empty() {
        card.insert("birthday".to_owned(), contact.birthday.clone().into());
    }
    card.into()
}

/// A newer list replaces the older one if it has an entry.
fn phones(contact: &Contact) -> Vec<Map<String, Value>> {
    if contact.phone_numbers.is_empty() {
        return contact.phones.iter().map(|phone| object(&[("phone", phone)])).collect();
    }
    let entries = contact.phone_numbers.iter();
    entries
        .map(|entry| {
            object(&[("phone", &entry.number), ("type", &kind(&entry.r#type)), ("waId", &entry.wa_id)])
        })
        .collect()
}

fn emails(contact: &Contact) -> Vec<Map<String, Value>> {
    if contact.email_addresses.is_empty() {
        return contact.emails.iter().map(|email| object(&[("email", email)])).collect();
    }
    let entries = contact.email_addresses.iter();
    entries.map(|entry| object(&[("email", &entry.email), ("type", &kind(&entry.r#type))])).collect()
}

fn urls(contact: &Contact) -> Vec<Map<String, Value>> {
    if contact.links.is_empty() {
        return contact.urls.iter().map(|url| object(&[("url", url)])).collect();
    }
    let entries = contact.links.iter();
    entries.map(|entry| object(&[("url", &entry.url), ("type", &kind(&entry.r#type))])).collect()
}

fn address(address: &ContactAddress) -> Map<String, Value> {
    object(&[
        ("street", &address.street),
        ("city", &address.city),
        ("state", &address.state),
        ("zip", &address.zip),
        ("country", &address.country),
        ("countryCode", &address.country_code),
        ("type", &kind(&address.r#type)),
    ])
}

/// Infobip expects its types in upper case.
fn kind(kind: &str) -> String {
    kind.to_ascii_uppercase()
}

fn object(fields: &[(&str, &str)]) -> Map<String, Value> {
    let filled = fields.iter().filter(|(_, text)| !text.is_empty());
    filled.map(|(key, text)| ((*key).to_owned(), Value::from(*text))).collect()
}
