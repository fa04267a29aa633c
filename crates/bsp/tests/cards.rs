//! Business cards in commands: which cards are rejected, and the requests to Infobip.
#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::command::{self, Command, ReceivedCommand};
use bsp::{ChannelId, Outcome, Webhook, registry};
use bytes::Bytes;
use proto::v1::inbound_message::Content;
use proto::v1::{Contacts, SendCommand, send_command};
use serde_json::{Value, json};

/// Checks a command with this card. Returns the fields of its faults.
fn check(card: &Value) -> Result<Command, Vec<String>> {
    let contacts: Contacts = serde_json::from_value(json!({ "contacts": [card] })).unwrap();
    check_contacts(contacts)
}

fn check_contacts(contacts: Contacts) -> Result<Command, Vec<String>> {
    let channel = ChannelId::parse("c-1").unwrap();
    let command = SendCommand {
        command_id: "cmd-1".to_owned(),
        channel_id: "c-1".to_owned(),
        recipient: "4915112345".to_owned(),
        content: Some(send_command::Content::Contacts(contacts)),
        ..SendCommand::default()
    };
    let checked = command::check(ReceivedCommand { channel: &channel, command: &command });
    checked.map_err(|refused| refused.faults.into_iter().map(|fault| fault.field).collect())
}

/// The first card of the request to Infobip.
fn sent(command: &Command) -> Value {
    let sending = registry::find("infobip").unwrap().sending().unwrap();
    let request = sending.request(&json!({ "scenario_key": "S-1" }), command, None);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["whatsApp"]["contacts"][0].clone()
}

#[test]
fn all_fields_of_a_card_are_sent_and_the_newer_lists_win() {
    let card = json!({
        "formattedName": "Dr. Jo M. Doe Jr.", "firstName": "Jo", "middleName": "M.", "lastName": "Doe",
        "prefix": "Dr.", "suffix": "Jr.", "birthday": "1990-01-31", "organization": "X", "department": "Sales",
        "title": "Head", "phones": ["old"], "emails": ["old"], "urls": ["old"],
        "phoneNumbers": [{ "number": "+49 1", "type": "cell", "waId": "491" }, { "number": "+49 2" }],
        "emailAddresses": [{ "email": "jo@x.example", "type": "WORK" }],
        "links": [{ "url": "https://x.example" }],
        "addresses": [{ "street": "1 Hill Rd", "city": "Pune", "state": "MH", "zip": "411001", "country": "India",
            "countryCode": "IN", "type": "home" }, {}],
    });
    let expected = json!({
        "name": { "formattedName": "Dr. Jo M. Doe Jr.", "firstName": "Jo", "middleName": "M.", "lastName": "Doe",
            "namePrefix": "Dr.", "nameSuffix": "Jr." },
        "birthday": "1990-01-31", "org": { "company": "X", "department": "Sales", "title": "Head" },
        "phones": [{ "phone": "+49 1", "type": "CELL", "waId": "491" }, { "phone": "+49 2" }],
        "emails": [{ "email": "jo@x.example", "type": "WORK" }], "urls": [{ "url": "https://x.example" }],
        "addresses": [{ "street": "1 Hill Rd", "city": "Pune", "state": "MH", "zip": "411001", "country": "India",
            "countryCode": "IN", "type": "HOME" }],
    });
    assert_eq!(sent(&check(&card).unwrap()), expected);
}

#[test]
fn an_older_list_is_sent_where_the_newer_one_is_empty() {
    let card = json!({ "formattedName": "Jo", "firstName": "Jo", "phones": ["+49 1"], "emails": ["jo@x.example"],
        "urls": ["https://x.example"], "links": [{ "url": "https://y.example", "type": "WORK" }] });
    let expected = json!({ "name": { "formattedName": "Jo", "firstName": "Jo" }, "phones": [{ "phone": "+49 1" }],
        "emails": [{ "email": "jo@x.example" }], "urls": [{ "url": "https://y.example", "type": "WORK" }] });
    assert_eq!(sent(&check(&card).unwrap()), expected);
}

#[test]
fn a_customers_card_can_be_sent_unchanged() {
    let body =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/infobip/message_card.json")).unwrap();
    let (channel, body) = (ChannelId::parse("c-1").unwrap(), Bytes::from(body));
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    let webhook = Webhook { channel: &channel, body: &body, received_at, sequence: 7 };
    let parsed = registry::find("infobip").unwrap().parse(&webhook);
    let Outcome::Message(message) = &parsed.items[0].outcome else { panic!("{parsed:?}") };
    let Some(Content::Contacts(contacts)) = message.content.clone() else { panic!("{message:?}") };
    let came: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(sent(&check_contacts(contacts).unwrap()), came["results"][0]["message"]["contacts"][0]);
}

#[test]
fn a_value_that_whatsapp_does_not_support_is_a_fault() {
    let card = json!({
        "formattedName": "Jo", "firstName": "Jo", "birthday": "31.1.1990",
        "phoneNumbers": [{ "number": " ", "type": "FAX" }, { "waId": "491" }],
        "emailAddresses": [{ "type": "CELL" }], "links": [{ "url": "" }], "addresses": [{ "type": "somewhere" }],
    });
    let fields = [
        "birthday",
        "phone_numbers[0].number",
        "phone_numbers[0].type",
        "email_addresses[0].email",
        "email_addresses[0].type",
        "links[0].url",
        "addresses[0].type",
    ];
    let expected: Vec<_> = fields.iter().map(|field| format!("contacts.contacts[0].{field}")).collect();
    assert_eq!(check(&card).err(), Some(expected));
}
