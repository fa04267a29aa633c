//! The members of an item that no parser reads. They are kept and counted, so that no data of a BSP is lost
//! silently.
//!
//! While a body is read, the readers of [`crate::json`] record in a thread-local variable which members they
//! skip: unknown keys of a struct, parts that are never read, and texts that are never used, such as the
//! address of a picture in a location ([`trace`]; readers derived by serde accept no extra argument, so the
//! record is thread-local for the time of one body). When an item has become an event, its unread members are
//! written into the event as JSON of the same nesting ([`gather`]), and their paths are counted ([`path`]).
//! An item without unread members costs no more than the recording.
//!
//! A member counts as read if one reader of its object has used it. A value that is passed on as a whole,
//! such as the JSON of an unknown content, counts as read. `null`, and the empty string of a known key, are
//! ignored.

mod form;
mod gather;
mod path;
mod trace;

use std::collections::BTreeMap;

use crate::parsed::Outcome;

pub(crate) use form::of_form;
pub(crate) use gather::{Source, of_item};
use path::PATHS_MAX;
pub(crate) use trace::{
    Place, Position, Tracing, begin, begin_item, is_on, mark, mark_place, mark_read, paused, reading,
};

/// Longest JSON of unread members in an event, in bytes. It is cut after a complete member.
pub const UNREAD_JSON_BYTES_MAX: usize = 8 * 1024;

/// Label under which all further paths are counted together.
pub const OTHER_PATHS: &str = "other";

/// Member of an event's unread JSON that holds the unread members around the items of the body.
pub const OUTER_PATH: &str = "_around";

/// How often each path was unread.
pub(crate) type Paths = BTreeMap<String, u64>;

/// The unread members of an item.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    /// A JSON object; empty if all members were read.
    pub(crate) json: String,
    /// Whether members are missing because of the size limit.
    pub(crate) is_cut: bool,
}

impl Unread {
    pub(crate) fn is_empty(&self) -> bool {
        self.json.is_empty() && !self.is_cut
    }

    /// The unread members of an event; empty for any other outcome.
    pub(crate) fn of(outcome: &mut Outcome) -> Self {
        let Some((json, is_cut)) = fields(outcome) else { return Self::default() };
        Self { json: std::mem::take(json), is_cut: *is_cut }
    }

    /// Adds the unread members around the items, under [`OUTER_PATH`], if they fit.
    pub(crate) fn with_around(mut self, around: &Self) -> Self {
        self.is_cut |= around.is_cut;
        if around.json.is_empty() {
            return self;
        }
        let member = format!("\"{OUTER_PATH}\":{}}}", around.json);
        // A comma or a brace precedes it.
        if self.json.len() + member.len() + 1 > UNREAD_JSON_BYTES_MAX {
            self.is_cut = true;
            return self;
        }
        let has_members = self.json.pop().is_some();
        self.json.push(if has_members { ',' } else { '{' });
        self.json.push_str(&member);
        self
    }

    /// Writes it into an event.
    pub(crate) fn write(&self, outcome: &mut Outcome) {
        if let Some((json, is_cut)) = fields(outcome) {
            self.json.clone_into(json);
            *is_cut = self.is_cut;
        }
    }
}

/// The fields of an event that contain them.
fn fields(outcome: &mut Outcome) -> Option<(&mut String, &mut bool)> {
    match outcome {
        Outcome::Report(event) => Some((&mut event.unread_json, &mut event.unread_cut)),
        Outcome::Message(event) => Some((&mut event.unread_json, &mut event.unread_cut)),
        Outcome::Account(event) => Some((&mut event.unread_json, &mut event.unread_cut)),
        Outcome::Customer(event) => Some((&mut event.unread_json, &mut event.unread_cut)),
        Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    }
}
