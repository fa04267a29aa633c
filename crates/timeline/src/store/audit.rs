//! The audit log: who saw or changed what is personal, and who published messages again. Entries are only added. They outlive the rows: none is removed before
//! [`KEPT`] has passed.
//!
//! An entry names no customer: what it is about is shown as rows show it, and numbers in its texts are masked. It names the user
//! and the address who acted. Entries of replays are made from the messages ([`crate::store::replays`]), the others are recorded by the
//! service before it acts.

use std::time::Duration;

use bsp::mask;
use jiff::Timestamp;

/// Time for which every entry is kept.
pub const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);
/// Longest text of an entry, in characters. A longer one is cut.
pub const TEXT_CHARS_MAX: usize = 4000;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// Numbers and texts of messages were shown.
    Unmask,
    /// What is stored of a customer was erased.
    Erasure,
    /// Messages were published again.
    Replay,
    /// Something that only another version does.
    Other,
}

impl AuditAction {
    /// Every action of this version.
    pub const ALL: [Self; 3] = [Self::Unmask, Self::Erasure, Self::Replay];

    /// Its name, which is stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmask => "unmask",
            Self::Erasure => "erasure",
            Self::Replay => "replay",
            Self::Other => "other",
        }
    }

    /// The action of a stored name.
    pub fn of_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|action| action.name() == name).unwrap_or(Self::Other)
    }
}

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// The name of who acted.
    pub user: String,
    /// The role that allowed it, such as `operator`.
    pub role: String,
    /// The address from which it was asked for.
    pub address: String,
    /// What was done.
    pub action: AuditAction,
    /// What it was done to, such as an id as rows show it.
    pub target: String,
    /// Why, in the words of who acted.
    pub reason: String,
    /// What else is to say, such as the places of messages or counts.
    pub details: String,
}

impl AuditEntry {
    /// The entry as it may be stored: without numbers, WhatsApp's ids and control characters in its texts.
    pub(in crate::store) fn cleaned(self) -> Self {
        Self {
            user: plain(&self.user),
            role: plain(&self.role),
            address: plain(&self.address),
            target: masked(&self.target),
            reason: masked(&self.reason),
            details: plain(&self.details),
            ..self
        }
    }
}

/// Numbers of messages that were published again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Messages of EVENTS.
    pub events: u64,
    /// Messages of COMMANDS.
    pub commands: u64,
    /// When the last one was stored.
    pub last_at: Timestamp,
}

/// A recorded entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Its number. Numbers grow and none is given twice: a hole may be an entry that was removed.
    pub number: u64,
    /// What was recorded.
    pub entry: AuditEntry,
    /// What a replay has published again up to now; `None` for other actions.
    pub replayed: Option<ReplayCounts>,
}

/// Which entries are asked for, from the newest to the oldest.
#[derive(Debug, Clone, Copy)]
pub struct AuditQuery {
    /// Only entries of this action.
    pub action: Option<AuditAction>,
    /// Only entries with a smaller number.
    pub before: Option<u64>,
    /// Most entries.
    pub limit: usize,
}

/// A text without numbers of people, WhatsApp's ids and control characters.
pub(in crate::store) fn masked(text: &str) -> String {
    plain(&mask::numbers(text))
}

/// The name of who acted, without what may be a customer's number. A word that has letters stays: directories have user names
/// such as `A1234567`. WhatsApp's ids are masked.
///
/// # Examples
/// ```
/// use timeline::store::audit::masked_name;
///
/// assert_eq!(masked_name("A1234567"), "A1234567");
/// assert_eq!(masked_name("Ann +49 151 12345678"), "Ann ***");
/// ```
pub fn masked_name(name: &str) -> String {
    let name = mask::message_ids(name);
    let has_letters = |word: &str| word.contains(char::is_alphabetic);
    let words: Vec<&str> = name.split(' ').collect();
    let runs = words.chunk_by(|one, next| has_letters(one) == has_letters(next));
    let shown = runs.map(|run| {
        let text = run.join(" ");
        if has_letters(&text) { text } else { mask::numbers(&text) }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A name without numbers of people, WhatsApp's ids and control characters.
pub(in crate::store) fn plain_name(name: &str) -> String {
    plain(&masked_name(name))
}

/// A text that every engine can store and that shows what it is.
fn plain(text: &str) -> String {
    let shown = text.chars().take(TEXT_CHARS_MAX);
    shown.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_no_customer() {
        let entry = AuditEntry {
            at: Timestamp::UNIX_EPOCH,
            user: "ann\0".to_owned(),
            role: "unmask".to_owned(),
            address: "2001:db8::1".to_owned(),
            action: AuditAction::Unmask,
            target: "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==".to_owned(),
            reason: "complaint of +49 151 12345678\u{1b}[2J".to_owned(),
            details: "COMMANDS/123456789".to_owned(),
        };
        let entry = entry.cleaned();
        assert_eq!((entry.user.as_str(), entry.address.as_str()), ("ann\u{fffd}", "2001:db8::1"));
        assert_eq!(entry.target, "wamid.…Y0AA==");
        assert_eq!(entry.reason, "complaint of ***\u{fffd}[2J");
        assert_eq!(entry.details, "COMMANDS/123456789");
        assert_eq!(AuditAction::of_name("erasure"), AuditAction::Erasure);
        assert_eq!(AuditAction::of_name("of a later version"), AuditAction::Other);
    }
}
