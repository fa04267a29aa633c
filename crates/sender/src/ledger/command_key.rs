//! Which command a ledger entry belongs to. Pure.

use super::compact::CommandIdentity;

/// What identifies a command in its ledger entry, beside the key of the entry.
#[derive(Debug, Clone, Copy)]
pub struct CommandKey<'a> {
    /// Sequence in COMMANDS. The same command with another sequence was published twice.
    pub sequence: u64,
    /// Hash that shows whether a command of the same id is the same command.
    pub digest: &'a str,
    /// What its result repeats of it.
    pub identity: CommandIdentity<'a>,
}
