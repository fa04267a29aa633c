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
    /// Sequence and time of each: a stream that was created again has another command at the sequence.
    commands: BTreeSet<CommandPlace>,
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
    /// Entries of the ledger that are not blanked and age out, for people.
    pub(super) left_to_age: Vec<String>,
}

/// How to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) force: bool,
    pub(super) now: Timestamp,
}

/// A command as a row of it names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CommandPlace {
    pub(super) sequence: u64,
    pub(super) stored_at: Timestamp,
}

impl CommandPlace {
    fn of(command: &FoundCommand) -> Self {
        Self { sequence: command.sequence, stored_at: command.stored_at }
    }
}

impl Settled {
    /// Whether a command is settled.
    pub(super) fn has(&self, command: CommandPlace) -> bool {
        self.commands.contains(&command)
    }

    /// Asks about the commands that are not settled yet.
    pub(super) async fn ask(&mut self, tools: &Tools, commands: &[FoundCommand], asking: Asking) -> Asked {
        let mut by_channel: BTreeMap<&str, Vec<&FoundCommand>> = BTreeMap::new();
        for command in commands {
            if self.has(CommandPlace::of(command)) {
                continue;
            }
            if has_no_entry(command, asking.now) {
                self.commands.insert(CommandPlace::of(command));
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
                Some(settled) => self.take(commands, &settled, asked),
                None => asked.waits_for.push(format!(
                    "{waits}: the sender's answer cannot be read; update the senders and the timeline to one version"
                )),
            },
            Ok(LaneAnswer::NoOwner) => self.leave(commands, asking, asked),
            Err(error) => asked.waits_for.push(format!("{waits}: {error}")),
        }
    }

    /// Goes on without the owner of a lane, as far as that is allowed.
    fn leave(&mut self, commands: &[&FoundCommand], asking: Asking, asked: &mut Asked) {
        let Some(channel) = commands.first().map(|command| &command.channel) else { return };
        let left = if asking.force { self.settle_answered(commands) } else { 0 };
        if left > 0 {
            asked.left_to_age.push(format!(
                "entries of the ledger of sends of channel {channel}, whose lane has no owner"
            ));
        }
        let waiting = commands.len() - left;
        if waiting > 0 {
            asked.waits_for.push(format!(
                "{waiting} commands of channel {channel}: no sender has its lane; start a sender"
            ));
        }
    }

    fn take(&mut self, commands: &[&FoundCommand], settled: &LaneSettled, asked: &mut Asked) {
        let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
        for command in commands {
            let answer = settled.commands.iter().find(|answer| {
                answer.sequence == command.sequence
                    && answer.stored_at_us == command.stored_at.as_microsecond()
            });
            match answer.map_or(ErasureState::Waits, |answer| answer.state) {
                ErasureState::Waits => {
                    *waiting.entry(&command.channel).or_default() += 1;
                    continue;
                }
                ErasureState::Blanked => self.blanked += 1,
                ErasureState::Settled => {}
                ErasureState::Unknown => asked.left_to_age.push(format!(
                    "entries of the ledger of sends of channel {}, of commands whose ids are not known any more",
                    command.channel
                )),
            }
            self.commands.insert(CommandPlace::of(command));
            self.last_at = Some(Timestamp::now());
        }
        asked.waits_for.extend(waiting.into_iter().map(|(channel, count)| {
            format!("{count} commands of channel {channel}: they are answered, or their calls end first")
        }));
    }

    /// Takes the commands that have a result for settled. Returns how many.
    fn settle_answered(&mut self, commands: &[&FoundCommand]) -> usize {
        let answered = commands.iter().filter(|command| command.result_at.is_some());
        let before = self.commands.len();
        self.commands.extend(answered.map(|command| CommandPlace::of(command)));
        self.commands.len() - before
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
        stored_at_us: command.stored_at.as_microsecond(),
        command_id: command.id.clone(),
        is_result_stored: command.result_at.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use lane_state::erasure::AskedCommand;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-27T12:00:00Z".parse().unwrap()
    }

    /// The command 1, stored and answered some hours ago.
    fn command(stored: i64, result: Option<i64>) -> FoundCommand {
        let ago = |hours| now() - SignedDuration::from_hours(hours);
        FoundCommand {
            channel: "sales".to_owned(),
            sequence: 1,
            stored_at: ago(stored),
            id: None,
            result_at: result.map(ago),
        }
    }

    fn answer(command: &FoundCommand, state: ErasureState) -> AskedCommand {
        let stored_at_us = command.stored_at.as_microsecond();
        AskedCommand { sequence: command.sequence, stored_at_us, state }
    }

    #[test]
    fn a_command_is_settled_at_its_time_only_and_an_unknown_entry_is_named() {
        let (old, new) = (command(5, None), command(1, None));
        let (mut settled, mut asked) = (Settled::default(), Asked::default());
        let answers = vec![answer(&old, ErasureState::Unknown), answer(&new, ErasureState::Waits)];
        settled.take(&[&old, &new], &LaneSettled { commands: answers }, &mut asked);
        assert!(settled.has(CommandPlace::of(&old)) && !settled.has(CommandPlace::of(&new)));
        assert_eq!((asked.left_to_age.len(), asked.waits_for.len()), (1, 1));
        // What the lane did not answer, waits.
        settled.take(&[&new], &LaneSettled::default(), &mut asked);
        assert!(!settled.has(CommandPlace::of(&new)));
    }

    #[test]
    fn without_an_owner_only_answered_commands_are_left_to_age() {
        let (answered, open) = (command(5, Some(4)), command(1, None));
        let mut settled = Settled::default();
        let mut asked = Asked::default();
        settled.leave(&[&answered, &open], Asking { force: true, now: now() }, &mut asked);
        assert!(settled.has(CommandPlace::of(&answered)) && !settled.has(CommandPlace::of(&open)));
        assert_eq!((asked.left_to_age.len(), asked.waits_for.len()), (1, 1));
    }

    #[test]
    fn an_old_command_has_no_entry_in_the_ledger() {
        let now = now();
        assert!(!has_no_entry(&command(49, None), now) && has_no_entry(&command(51, None), now));
        assert!(!has_no_entry(&command(49, Some(26)), now) && has_no_entry(&command(30, Some(27)), now));
    }
}
