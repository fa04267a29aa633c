//! Masks the parts that several events and commands have: statuses, errors, cards, places, files.

use std::borrow::Cow;

use proto::v1::{Contact, Customer, Location, Media, ProviderStatus, Referral, ReportError};

use super::{MASK, message_id, numbers};

/// Types of a card's entries that say nothing about the person.
const CARD_TYPES: [&str; 6] = ["CELL", "MAIN", "IPHONE", "HOME", "WORK", "MOBILE"];

/// The BSP's text about a status is shown with the numbers in it masked.
pub(super) fn mask_status(status: &mut ProviderStatus) {
    let ProviderStatus { group_id, group_name, id, name, description, raw } = status;
    [group_id, group_name, id, name, description, raw].into_iter().for_each(mask_numbers);
}

/// The same for an error.
pub(super) fn mask_error(error: &mut ReportError) {
    let ReportError { code, name, description, permanent: _ } = error;
    [code, name, description].into_iter().for_each(mask_numbers);
}

pub(super) fn mask_numbers(text: &mut String) {
    *text = numbers(text);
}

/// Masks everything but the types of numbers and addresses.
pub(super) fn hide_contact(contact: &mut Contact) {
    for text in [
        &mut contact.formatted_name,
        &mut contact.first_name,
        &mut contact.middle_name,
        &mut contact.last_name,
        &mut contact.prefix,
        &mut contact.suffix,
        &mut contact.organization,
        &mut contact.department,
        &mut contact.title,
        &mut contact.birthday,
    ] {
        hide(text);
    }
    for list in [&mut contact.phones, &mut contact.emails, &mut contact.urls] {
        list.iter_mut().for_each(hide);
    }
    for phone in &mut contact.phone_numbers {
        hide(&mut phone.number);
        hide(&mut phone.wa_id);
        hide_type(&mut phone.r#type);
    }
    for email in &mut contact.email_addresses {
        hide(&mut email.email);
        hide_type(&mut email.r#type);
    }
    for link in &mut contact.links {
        hide(&mut link.url);
        hide_type(&mut link.r#type);
    }
    for address in &mut contact.addresses {
        hide_type(&mut address.r#type);
        for text in [
            &mut address.street,
            &mut address.city,
            &mut address.state,
            &mut address.zip,
            &mut address.country,
            &mut address.country_code,
        ] {
            hide(text);
        }
    }
}

pub(super) fn hide_customer(customer: &mut Customer) {
    hide(&mut customer.number);
    hide(&mut customer.user_id);
    hide(&mut customer.parent_user_id);
    hide(&mut customer.username);
}

/// Masks what the customer has read and tapped. The type of the source and its id belong to the business.
pub(super) fn hide_referral(referral: &mut Referral) {
    hide(&mut referral.source_url);
    hide(&mut referral.headline);
    hide(&mut referral.body);
    hide(&mut referral.media_url);
    hide(&mut referral.click_id);
    hide(&mut referral.welcome_message);
    mask_numbers(&mut referral.media_type);
}

/// People may give their entries types of their own, which can be names.
fn hide_type(text: &mut String) {
    if !CARD_TYPES.iter().any(|known| known.eq_ignore_ascii_case(text)) {
        hide(text);
    }
}

pub(super) fn hide_location(location: &mut Location) {
    location.latitude = 0.0;
    location.longitude = 0.0;
    hide(&mut location.name);
    hide(&mut location.address);
}

/// A media URL of Infobip contains the business's number, and a file name may contain anything.
pub(super) fn hide_media(media: &mut Media) {
    hide(&mut media.url);
    hide(&mut media.file_name);
    hide(&mut media.caption);
    mask_numbers(&mut media.content_type);
}

/// WhatsApp's own ids contain the customer's number.
pub(super) fn mask_message_id(id: &mut String) {
    if let Cow::Owned(masked) = message_id(id) {
        *id = masked;
    }
}

/// An empty text stays empty, because that is useful to see.
pub(super) fn hide(text: &mut String) {
    if !text.is_empty() {
        MASK.clone_into(text);
    }
}
