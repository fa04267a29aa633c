//! Business cards (Meta, "messages object"; Infobip writes the same in camel case).

use proto::v1::{Contact, ContactAddress, ContactEmail, ContactPhone, ContactUrl, Contacts};
use serde::Deserialize;

use crate::json::{self, LooseScalar, Part};

#[derive(Deserialize)]
struct Card<'a> {
    #[serde(borrow)]
    name: Option<Name<'a>>,
    #[serde(borrow)]
    phones: Option<Vec<Phone<'a>>>,
    #[serde(borrow)]
    emails: Option<Vec<Email<'a>>>,
    #[serde(borrow)]
    urls: Option<Vec<Url<'a>>>,
    #[serde(borrow)]
    addresses: Option<Vec<Address<'a>>>,
    #[serde(borrow)]
    org: Option<Organization<'a>>,
    #[serde(borrow, default)]
    birthday: LooseScalar<'a>,
}

#[derive(Deserialize, Default)]
struct Name<'a> {
    #[serde(borrow, default, alias = "formattedName")]
    formatted_name: LooseScalar<'a>,
    #[serde(borrow, default, alias = "firstName")]
    first_name: LooseScalar<'a>,
    #[serde(borrow, default, alias = "middleName")]
    middle_name: LooseScalar<'a>,
    #[serde(borrow, default, alias = "lastName")]
    last_name: LooseScalar<'a>,
    #[serde(borrow, default, alias = "namePrefix")]
    prefix: LooseScalar<'a>,
    #[serde(borrow, default, alias = "nameSuffix")]
    suffix: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct Phone<'a> {
    #[serde(borrow, default)]
    phone: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default, alias = "waId")]
    wa_id: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct Email<'a> {
    #[serde(borrow, default)]
    email: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct Url<'a> {
    #[serde(borrow, default)]
    url: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct Address<'a> {
    #[serde(borrow, default)]
    street: LooseScalar<'a>,
    #[serde(borrow, default)]
    city: LooseScalar<'a>,
    #[serde(borrow, default)]
    state: LooseScalar<'a>,
    #[serde(borrow, default)]
    zip: LooseScalar<'a>,
    #[serde(borrow, default)]
    country: LooseScalar<'a>,
    #[serde(borrow, default, alias = "countryCode")]
    country_code: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
}

#[derive(Deserialize, Default)]
struct Organization<'a> {
    #[serde(borrow, default)]
    company: LooseScalar<'a>,
    #[serde(borrow, default)]
    department: LooseScalar<'a>,
    #[serde(borrow, default)]
    title: LooseScalar<'a>,
}

/// A list of business cards; `None` if it has another shape.
pub(crate) fn contacts(raw: Part<'_>) -> Option<Contacts> {
    let cards: Vec<Card<'_>> = json::optional(raw).ok()??;
    Some(Contacts { contacts: cards.iter().map(contact).collect() })
}

fn contact(card: &Card<'_>) -> Contact {
    let (no_name, no_organization) = (Name::default(), Organization::default());
    let name = card.name.as_ref().unwrap_or(&no_name);
    let organization = card.org.as_ref().unwrap_or(&no_organization);
    // An entry that has only a type is empty.
    let phones = card.phones.iter().flatten().filter(|entry| !entry.phone.or(&entry.wa_id).is_empty());
    let emails = card.emails.iter().flatten().filter(|entry| !entry.email.is_empty());
    let urls = card.urls.iter().flatten().filter(|entry| !entry.url.is_empty());
    Contact {
        formatted_name: name.formatted_name.owned(),
        first_name: name.first_name.owned(),
        last_name: name.last_name.owned(),
        phones: phones.clone().map(|entry| entry.phone.or(&entry.wa_id).owned()).collect(),
        emails: emails.clone().map(|entry| entry.email.owned()).collect(),
        organization: organization.company.owned(),
        urls: urls.clone().map(|entry| entry.url.owned()).collect(),
        phone_numbers: phones.map(Phone::to_contact_phone).collect(),
        email_addresses: emails
            .map(|entry| ContactEmail { email: entry.email.owned(), r#type: entry.kind.owned() })
            .collect(),
        links: urls.map(|entry| ContactUrl { url: entry.url.owned(), r#type: entry.kind.owned() }).collect(),
        addresses: card.addresses.iter().flatten().map(Address::to_contact_address).collect(),
        birthday: card.birthday.owned(),
        department: organization.department.owned(),
        title: organization.title.owned(),
        middle_name: name.middle_name.owned(),
        prefix: name.prefix.owned(),
        suffix: name.suffix.owned(),
    }
}

impl Phone<'_> {
    fn to_contact_phone(&self) -> ContactPhone {
        ContactPhone { number: self.phone.owned(), r#type: self.kind.owned(), wa_id: self.wa_id.owned() }
    }
}

impl Address<'_> {
    fn to_contact_address(&self) -> ContactAddress {
        ContactAddress {
            street: self.street.owned(),
            city: self.city.owned(),
            state: self.state.owned(),
            zip: self.zip.owned(),
            country: self.country.owned(),
            country_code: self.country_code.owned(),
            r#type: self.kind.owned(),
        }
    }
}
