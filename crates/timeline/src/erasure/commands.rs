//! Asks the owners of the lanes to settle the commands of an erased customer ([`lane_state::erasure`]): those without a result are
//! answered REJECTED `CUSTOMER_ERASED`, and the entries of the others are blanked in the ledger.

use std::collections::{BTreeMap, BTreeSet};

use bsp::ChannelId;
use bus::erasure::{self, LaneAnswer};
use jiff::{SignedDuration, Timestamp};
use lane_state::erasure::{
    COMMANDS_MAX, CommandToErase, ErasureAnswer as LaneSettled, ErasureRequest, ErasureState,
};

use crate::erasure::Tools;
use crate::erasure::found::FoundCommand;

/// How long the ledger keeps an entry after it was written last.
pub(super) const LEDGER_KEPT: SignedDuration = SignedDuration::from_hours(26);
/// How long after a command was stored its entry may be written last: its deadline, and an hour.
const DECIDED_AFTER_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Commands that are settled: their messages may be overwritten.
#[derive(Debug, Default)]
pub(super) struct Settled {
    sequences: BTreeSet<u64>,
    /// When the last of them was. Its result was stored before, and is to be erased too.
    pub(super) last_at: Option<Timestamp>,
    /// Entries of the ledger that were blanked.
    pub(super) blanked: u64,
}

/// What asking has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// What is waited for, for people.
    pub(super) waits_for: Vec<String>,
    /// Channels whose lane has no owner, with answered commands whose entries are not blanked: with `force`, they age out.
    pub(super) left_to_age: Vec<String>,
}

/// How to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) force: bool,
    pub(super) now: Timestamp,
}

impl Settled {
    /// Whether a command is settled.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.sequences.contains(&sequence)
    }

    /// Asks about the commands that are not settled yet.
    pub(super) async fn ask(&mut self, tools: &Tools, commands: &[FoundCommand], asking: Asking) -> Asked {
        let mut by_channel: BTreeMap<&str, Vec<&FoundCommand>> = BTreeMap::new();
        for command in commands {
            if self.has(command.sequence) {
                continue;
            }
            if has_no_entry(command, asking.now) {
                self.sequences.insert(command.sequence);
            } else {
                by_channel.entry(&command.channel).or_default().push(command);
            }
        }
        let mut asked = Asked::default();
        for (channel, commands) in by_channel {
            for commands in commands.chunks(COMMANDS_MAX) {
                self.ask_lane(tools, channel, commands, asking, &mut asked).await;
            }
        }
        asked
    }

    async fn ask_lane(
        &mut self,
        tools: &Tools,
        channel: &str,
        commands: &[&FoundCommand],
        asking: Asking,
        asked: &mut Asked,
    ) {
        let Ok(id) = ChannelId::parse(channel) else {
            // No lane reads such a subject: its commands have no entry, and are answered as dead letters.
            self.settle_answered(commands);
            return;
        };
        let request = ErasureRequest { commands: commands.iter().map(|command| named(command)).collect() };
        let waits = format!("{} commands of channel {channel}", commands.len());
        match erasure::ask_lane(&tools.eraser, &id, request.to_bytes().into()).await {
            Ok(LaneAnswer::Said(bytes)) => match LaneSettled::from_bytes(&bytes) {
                Some(settled) => self.take(channel, &settled, asked),
                None => asked.waits_for.push(format!(
                    "{waits}: the sender's answer cannot be read; update the senders and the timeline to one version"
                )),
            },
            Ok(LaneAnswer::NoOwner) if asking.force && self.settle_answered(commands) == commands.len() => {
                asked.left_to_age.push(channel.to_owned());
            }
            Ok(LaneAnswer::NoOwner) => {
                asked.waits_for.push(format!("{waits}: no sender has its lane; start a sender"));
            }
            Err(error) => asked.waits_for.push(format!("{waits}: {error}")),
        }
    }

    fn take(&mut self, channel: &str, settled: &LaneSettled, asked: &mut Asked) {
        let mut waiting = 0;
        for command in &settled.commands {
            match command.state {
                ErasureState::Waits => {
                    waiting += 1;
                    continue;
                }
                ErasureState::Blanked => self.blanked += 1,
                ErasureState::Settled => {}
            }
            self.sequences.insert(command.sequence);
            self.last_at = Some(Timestamp::now());
        }
        if waiting > 0 {
            asked.waits_for.push(format!(
                "{waiting} commands of channel {channel}: they are answered, or their calls end first"
            ));
        }
    }

    /// Takes the commands that have a result for settled. Returns how many.
    fn settle_answered(&mut self, commands: &[&FoundCommand]) -> usize {
        let answered = commands.iter().filter(|command| command.result_at.is_some());
        let before = self.sequences.len();
        self.sequences.extend(answered.map(|command| command.sequence));
        self.sequences.len() - before
    }
}

/// Whether the ledger cannot have an entry of a command any more.
fn has_no_entry(command: &FoundCommand, now: Timestamp) -> bool {
    match command.result_at {
        Some(result_at) => now.duration_since(result_at) > LEDGER_KEPT,
        None => now.duration_since(command.stored_at) > DECIDED_AFTER_MAX + LEDGER_KEPT,
    }
}

fn named(command: &FoundCommand) -> CommandToErase {
    CommandToErase {
        sequence: command.sequence,
        command_id: command.id.clone(),
        is_result_stored: command.result_at.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_command_has_no_entry_in_the_ledger() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let ago = |hours| now - SignedDuration::from_hours(hours);
        let command = |stored, result: Option<i64>| FoundCommand {
            channel: "sales".to_owned(),
            sequence: 1,
            stored_at: ago(stored),
            id: None,
            result_at: result.map(ago),
        };
        assert!(!has_no_entry(&command(49, None), now) && has_no_entry(&command(51, None), now));
        assert!(!has_no_entry(&command(49, Some(26)), now) && has_no_entry(&command(30, Some(27)), now));
    }
}
