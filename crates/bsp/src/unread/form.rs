//! The unread fields of a form, as members of one object.

use serde_json::Value;

use super::gather::count;
use super::path::{self, Step};
use super::{Paths, UNREAD_JSON_BYTES_MAX, Unread};
use crate::form::Form;
use crate::utf8;

/// The fields that no reader has requested, except those in `known`. Counts their names. Fields without a
/// value are ignored.
pub(crate) fn of_form(form: &Form<'_>, known: &[&str], paths: &mut Paths) -> Unread {
    let mut unread = Unread::default();
    let mut path = String::new();
    let is_damaged = !form.damaged().is_empty();
    for (name, value) in form.unread().filter(|(name, value)| !value.is_empty() && !known.contains(name)) {
        path.clear();
        path::push(&mut path, Step::Key(name));
        count(paths, &path);
        let member = format!("{}:{}", Value::from(name), Value::from(value));
        let has_damage = is_damaged && [name, value].iter().any(|text| text.contains(utf8::PLACEHOLDER));
        // A comma or a brace precedes it, and a brace follows at the end.
        if has_damage || unread.json.len() + member.len() + 2 > UNREAD_JSON_BYTES_MAX {
            unread.is_cut = true;
            continue;
        }
        unread.json.push(if unread.json.is_empty() { '{' } else { ',' });
        unread.json.push_str(&member);
    }
    if !unread.json.is_empty() {
        unread.json.push('}');
    }
    unread
}
