//! The customers that a change of Gupshup's version 3 lists beside its messages, in Meta's list `contacts`
//! (Meta, "Webhooks: messages object").

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{self, LooseScalar, Part};

/// A customer in the list.
#[derive(Deserialize, Default)]
pub(super) struct Contact<'a> {
    #[serde(borrow, default)]
    pub(super) wa_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) parent_user_id: LooseScalar<'a>,
    #[serde(borrow)]
    profile: Part<'a>,
}

#[derive(Deserialize, Default)]
pub(super) struct Profile<'a> {
    #[serde(borrow, default)]
    pub(super) name: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) username: LooseScalar<'a>,
}

impl<'a> Contact<'a> {
    pub(super) fn profile(&self) -> Profile<'a> {
        json::optional(self.profile).ok().flatten().unwrap_or_default()
    }

    /// The number, or the user id of a customer who hides the number.
    pub(super) fn address(&self) -> &LooseScalar<'a> {
        self.wa_id.or(self.user_id.or(&self.parent_user_id))
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        [&self.wa_id, &self.user_id, &self.parent_user_id].into_iter().filter_map(LooseScalar::filled)
    }
}

/// The list.
#[derive(Default)]
pub(super) struct Contacts<'a> {
    contacts: Vec<Contact<'a>>,
    /// Positions in the list, by every id.
    places: HashMap<String, usize>,
    /// Whether the only contact of the list is the sender of every message, in any spelling.
    is_the_sender: bool,
}

impl<'a> Contacts<'a> {
    /// Reads the list. If a contact has an unexpected shape, only that contact is lost.
    pub(super) fn read(list: Part<'a>, messages: &[&RawValue]) -> Self {
        let list = json::optional::<Vec<&RawValue>>(list).ok().flatten().unwrap_or_default();
        let contacts: Vec<Contact<'_>> =
            list.into_iter().filter_map(|raw| json::from_str(raw.get()).ok()).collect();
        let mut places = HashMap::new();
        for (place, contact) in contacts.iter().enumerate() {
            for id in contact.ids() {
                places.insert(id.to_owned(), place);
            }
        }
        let is_the_sender = contacts.len() == 1 && have_one_sender(messages);
        Self { contacts, places, is_the_sender }
    }

    /// The customer with one of these ids. If there is only one contact and all messages have the same
    /// sender, it is that contact: for example, Mexican and Brazilian numbers have two spellings.
    pub(super) fn find(&self, ids: [&LooseScalar<'_>; 3]) -> Option<&Contact<'a>> {
        let known = ids.into_iter().filter_map(LooseScalar::filled).find_map(|id| self.places.get(id));
        let place = known.copied().or_else(|| self.is_the_sender.then_some(0))?;
        self.contacts.get(place)
    }
}

fn have_one_sender(messages: &[&RawValue]) -> bool {
    #[derive(Deserialize)]
    struct Sender<'a> {
        #[serde(borrow, default)]
        from: LooseScalar<'a>,
        #[serde(borrow, default)]
        from_user_id: LooseScalar<'a>,
    }
    if messages.len() < 2 {
        return true;
    }
    let mut senders = messages.iter().filter_map(|raw| json::peek::<Sender<'_>>(raw.get()).ok());
    let Some(first) = senders.next() else { return true };
    senders.all(|other| first.from == other.from && first.from_user_id == other.from_user_id)
}
