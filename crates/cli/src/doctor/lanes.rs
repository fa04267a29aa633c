//! Checks of the lanes of sending channels: each has an owner, none is halted, and pending commands make progress.

use std::collections::HashMap;
use std::time::Duration;

use bsp::ChannelId;
use bus::inspect::LeaseInfo;
use bus::lease::LEASE_DURATION;
use jiff::Timestamp;
use lane_state::{HaltReason, LaneState};

use crate::words;

use super::finding::{Check, Finding, count, names, span};
use super::probe::{Moves, Probe};
use super::progress::{Motion, motion};

const OWNER: Check = Check("lanes.owner");
const HALTED: Check = Check("lanes.halted");
const MOVING: Check = Check("lanes.progress");
const PAUSED: Check = Check("lanes.paused");

/// A channel that can send.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) channel: ChannelId,
    pub(super) is_paused: bool,
}

/// Finding if the channels could not be read.
pub(super) fn unseen(error: &str) -> Finding {
    OWNER.unseen(error)
}

/// `now` is by the clock of NATS, which stamps the leases.
pub(super) fn evaluate(
    lanes: &[Lane],
    leases: &Probe<Vec<LeaseInfo>>,
    moves: &Probe<Vec<Moves>>,
    watched: Duration,
    now: Timestamp,
) -> Vec<Finding> {
    if lanes.is_empty() {
        return vec![OWNER.ok("no channel can send")];
    }
    let leases = match leases {
        Ok(leases) => leases,
        Err(error) => return vec![OWNER.unseen(error)],
    };
    // There may be thousands of lanes.
    let states: HashMap<&str, LaneState> = leases.iter().filter_map(|lease| owned_lane(lease, now)).collect();
    let mut unsettled: HashMap<&ChannelId, PendingCommands> = HashMap::new();
    for durable in moves.iter().flatten().map(|moves| &moves.after) {
        let Some(channel) = &durable.channel else { continue };
        let waiting = unsettled.entry(channel).or_default();
        waiting.commands += durable.pending + durable.held;
        waiting.oldest = waiting.oldest.into_iter().chain(durable.oldest).min();
    }
    let state = |lane: &Lane| states.get(lane.channel.as_str()).cloned();
    let waiting = |lane: &Lane| {
        let waiting = unsettled.get(&lane.channel).copied().unwrap_or_default();
        // A command with a call in flight is not waiting.
        let calls = states.get(lane.channel.as_str()).map_or(0, |state| state.in_progress as u64);
        PendingCommands { commands: waiting.commands.saturating_sub(calls), ..waiting }
    };
    let mut findings = vec![evaluate_owners(lanes, &|lane| state(lane).is_some(), &waiting, now)];
    findings.extend(evaluate_halted(lanes, &state, &waiting, now));
    findings.push(match moves {
        Err(error) => MOVING.unseen(error),
        Ok(moves) => {
            let is_working = |lane: &Lane| {
                let state = state(lane);
                state.is_some_and(|state| state.halted.is_none() || is_resuming(lane, &state))
            };
            evaluate_moving(lanes, moves, &is_working, watched)
        }
    });
    findings.extend(evaluate_paused(lanes, &waiting, now));
    findings.extend(evaluate_resuming(lanes, &state));
    findings
}

/// Whether the channel was resumed a moment ago: the owner of the lane renews its lease every few seconds, so the lease may
/// still have the reason of before.
fn is_resuming(lane: &Lane, state: &LaneState) -> bool {
    !lane.is_paused && state.halted == Some(HaltReason::Paused)
}

/// Finding for channels that were resumed a moment ago.
fn evaluate_resuming(lanes: &[Lane], state: &dyn Fn(&Lane) -> Option<LaneState>) -> Option<Finding> {
    let resuming =
        ids(lanes.iter().filter(|lane| state(lane).is_some_and(|state| is_resuming(lane, &state))));
    let what = format!("{} resuming: {}", count(resuming.len(), "channel"), names(&resuming));
    (!resuming.is_empty()).then(|| PAUSED.ok(what).about(resuming))
}

/// Returns the channel of a lane with an owner, and the state that the owner reports.
fn owned_lane(lease: &LeaseInfo, now: Timestamp) -> Option<(&str, LaneState)> {
    let channel = lane_state::lane_of_lease(&lease.name)?;
    let age = Duration::try_from(now.duration_since(lease.renewed_at)).unwrap_or_default();
    let state = LaneState::from_bytes(&lease.value)?;
    (age < LEASE_DURATION).then_some((channel, state))
}

/// Pending commands of one lane, or of several.
#[derive(Debug, Clone, Copy, Default)]
struct PendingCommands {
    commands: u64,
    /// When the oldest of them was stored.
    oldest: Option<Timestamp>,
}

impl PendingCommands {
    fn add(&mut self, other: Self) {
        // A lane without pending commands has no oldest one.
        let oldest = other.oldest.filter(|_| other.commands > 0);
        self.oldest = self.oldest.into_iter().chain(oldest).min();
        self.commands += other.commands;
    }

    /// `30 commands wait, the oldest for 2.5 h`
    fn words(self, now: Timestamp) -> String {
        let age = |oldest| Duration::try_from(now.duration_since(oldest)).unwrap_or_default();
        words::waiting(self.commands, "command", self.oldest.map(age))
    }
}

/// Findings for paused channels with pending commands, and for the others.
fn evaluate_paused(
    lanes: &[Lane],
    waiting: &dyn Fn(&Lane) -> PendingCommands,
    now: Timestamp,
) -> Vec<Finding> {
    let paused = lanes.iter().filter(|lane| lane.is_paused);
    let (missed, idle): (Vec<_>, Vec<_>) = paused.partition(|lane| waiting(lane).commands > 0);
    let mut findings = Vec::new();
    if !missed.is_empty() {
        let mut all = PendingCommands::default();
        missed.iter().for_each(|lane| all.add(waiting(lane)));
        let ids = ids(missed.into_iter());
        let what = format!(
            "{} paused by an operator: {}; {}",
            count(ids.len(), "channel"),
            names(&ids),
            all.words(now)
        );
        let why = "Pending commands expire at their deadlines.";
        let remedy = "Run `imchannel channel resume ID`, or leave the channel paused if its commands must not be sent.";
        findings.push(PAUSED.warning(what, why, remedy).about(ids));
    }
    let idle = ids(idle.into_iter());
    if !idle.is_empty() {
        let what = format!("{} paused by an operator: {}", count(idle.len(), "channel"), names(&idle));
        findings.push(PAUSED.ok(what).about(idle));
    }
    findings
}

fn ids<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Vec<String> {
    lanes.map(|lane| lane.channel.to_string()).collect()
}

fn evaluate_owners(
    lanes: &[Lane],
    has_owner: &dyn Fn(&Lane) -> bool,
    waiting: &dyn Fn(&Lane) -> PendingCommands,
    now: Timestamp,
) -> Finding {
    let (mut alone, mut waiting_in_all) = (Vec::new(), PendingCommands::default());
    for lane in lanes.iter().filter(|lane| !has_owner(lane)) {
        alone.push(lane.channel.to_string());
        waiting_in_all.add(waiting(lane));
    }
    let remedy = "Start imchannel-sender, or check why its /ready answers 503; `imchannel lanes list` shows each channel.";
    if alone.is_empty() {
        return OWNER.ok(format!("the lane of every channel has an owner ({})", lanes.len()));
    }
    let what = format!("no sender owns the lane of {}; {}", names(&alone), waiting_in_all.words(now));
    let finding = if waiting_in_all.commands > 0 {
        OWNER.error(what, "They expire at their deadlines and are not sent.", remedy)
    } else {
        OWNER.warning(what, "Commands of these channels will wait.", remedy)
    };
    finding.about(alone)
}

/// Lanes that are halted for the same reason.
struct Halted {
    reason: HaltReason,
    of: Vec<String>,
    waiting: PendingCommands,
}

/// Returns one finding for each reason.
fn evaluate_halted(
    lanes: &[Lane],
    state: &dyn Fn(&Lane) -> Option<LaneState>,
    waiting: &dyn Fn(&Lane) -> PendingCommands,
    now: Timestamp,
) -> Vec<Finding> {
    let mut halted: Vec<Halted> = Vec::new();
    for lane in lanes.iter().filter(|lane| !lane.is_paused) {
        let reason = match state(lane).and_then(|state| state.halted) {
            // A sender is taking the lane over, or the channel was resumed a moment ago.
            None | Some(HaltReason::Starting | HaltReason::Paused) => continue,
            Some(reason) => reason,
        };
        let place = halted.iter().position(|halted| halted.reason == reason).unwrap_or_else(|| {
            halted.push(Halted { reason, of: Vec::new(), waiting: PendingCommands::default() });
            halted.len() - 1
        });
        halted[place].of.push(lane.channel.to_string());
        halted[place].waiting.add(waiting(lane));
    }
    if halted.is_empty() {
        return vec![HALTED.ok("no lane is halted")];
    }
    let findings = halted.into_iter().map(|Halted { reason, of, waiting }| {
        let what = format!("no sends through {}: {reason}; {}", names(&of), waiting.words(now));
        let why = "Pending commands expire at their deadlines.";
        let remedy = "Fix the cause that the reason names. The sender checks again within seconds.";
        let finding = match reason {
            // The BSP's own limit passes by itself.
            HaltReason::RateLimited => HALTED.warning(what, why, remedy),
            _ => HALTED.error(what, why, remedy),
        };
        finding.about(of)
    });
    findings.collect()
}

fn evaluate_moving(
    lanes: &[Lane],
    moves: &[Moves],
    is_working: &dyn Fn(&Lane) -> bool,
    watched: Duration,
) -> Finding {
    let mut by_channel: HashMap<&ChannelId, Vec<&Moves>> = HashMap::new();
    for moves in moves {
        if let Some(channel) = &moves.after.channel {
            by_channel.entry(channel).or_default().push(moves);
        }
    }
    let stands = |lane: &&Lane| {
        // Bulk commands wait while agents' commands are sent, so progress in one queue is enough.
        let mut waits = false;
        by_channel.get(&lane.channel).into_iter().flatten().all(|moves| {
            let motion = motion(&moves.before, &moves.after);
            waits |= moves.before.pending > 0 && moves.after.pending > 0;
            motion != Motion::Moves
        }) && waits
    };
    let standing =
        ids(lanes.iter().filter(|lane| !lane.is_paused && is_working(lane)).filter(|lane| stands(lane)));
    if standing.is_empty() {
        return MOVING.ok("every lane with an owner and pending commands makes progress");
    }
    MOVING
        .warning(
            format!(
                "no command was delivered within {} for {}, though commands are pending",
                span(watched),
                names(&standing)
            ),
            "A sender owns the lane and sends nothing, although the lane is not halted.",
            "Read the sender's log for these channels. All commands that it holds may be waiting for their outcomes.",
        )
        .about(standing)
}

#[cfg(test)]
mod tests {
    use bus::inspect::ConsumerInfo;

    use super::*;
    use crate::doctor::finding::Level;
    use crate::doctor::progress::tests::durable;

    fn channel() -> ChannelId {
        ChannelId::parse("c-1").unwrap()
    }

    fn fails() -> Option<HaltReason> {
        Some(HaltReason::AccountFails { error: "401".to_owned() })
    }

    fn lease(age_s: i64, halted: Option<HaltReason>) -> LeaseInfo {
        let state =
            LaneState { owner: "s-1".to_owned(), account: "a".to_owned(), halted, ..LaneState::default() };
        LeaseInfo {
            name: "lane.c-1".to_owned(),
            value: serde_json::to_vec(&state).unwrap().into(),
            renewed_at: Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_secs(age_s),
        }
    }

    fn evaluated_fully(leases: Vec<LeaseInfo>, pending: u64, is_paused: bool) -> Vec<Finding> {
        let make = || ConsumerInfo { channel: Some(channel()), ..durable("send-c-1", 5, pending, 1) };
        let moves = vec![Moves { before: make(), after: make() }];
        let lanes = [Lane { channel: channel(), is_paused }];
        let watched = Duration::from_secs(3);
        evaluate(&lanes, &Ok(leases), &Ok(moves), watched, Timestamp::UNIX_EPOCH)
    }

    fn evaluated(leases: Vec<LeaseInfo>, pending: u64, is_paused: bool) -> Vec<(&'static str, Level)> {
        evaluated_fully(leases, pending, is_paused)
            .iter()
            .map(|found| (found.check, found.level))
            .filter(|(_, level)| *level != Level::Ok)
            .collect()
    }

    #[test]
    fn a_lane_needs_an_owner_that_sends() {
        assert_eq!(evaluated(vec![lease(2, None)], 0, false), []);
        assert_eq!(evaluated(vec![lease(2, Some(HaltReason::Starting))], 0, false), []);
        assert_eq!(evaluated(vec![], 0, false), [("lanes.owner", Level::Warning)]);
        assert_eq!(evaluated(vec![], 3, false), [("lanes.owner", Level::Error)]);
        // Its owner has not renewed the lease.
        assert_eq!(evaluated(vec![lease(14, None)], 3, false), [("lanes.owner", Level::Error)]);
        assert_eq!(evaluated(vec![lease(2, fails())], 3, false), [("lanes.halted", Level::Error)]);
        let limited = Some(HaltReason::RateLimited);
        assert_eq!(evaluated(vec![lease(2, limited)], 3, false), [("lanes.halted", Level::Warning)]);
        assert_eq!(evaluated(vec![lease(2, None)], 3, false), [("lanes.progress", Level::Warning)]);
        let paused = || lease(2, Some(HaltReason::Paused));
        assert_eq!(evaluated(vec![paused()], 3, true), [("lanes.paused", Level::Warning)]);
        assert_eq!(evaluated(vec![paused()], 0, true), []);
    }

    /// Senders write the state of a lane into its lease every few seconds.
    #[test]
    fn a_resumed_channel_whose_lease_still_says_paused_is_no_error() {
        // What a sender of version 0.1.0 writes, and what this version writes.
        let old = br#"{"owner":"s-1","account":"a","halted":"paused by an operator"}"#;
        let old = LeaseInfo { value: old.to_vec().into(), ..lease(2, None) };
        for lease in [old, lease(2, Some(HaltReason::Paused))] {
            assert_eq!(evaluated(vec![lease.clone()], 0, false), []);
            let findings = evaluated_fully(vec![lease.clone()], 0, false);
            let texts: Vec<_> = findings.iter().map(|found| found.message.as_str()).collect();
            assert!(texts.contains(&"1 channel resuming: c-1"), "{texts:?}");
            // A sender that never sees the change sends nothing.
            assert_eq!(evaluated(vec![lease], 3, false), [("lanes.progress", Level::Warning)]);
        }
    }

    #[test]
    fn pending_commands_are_reported_with_their_number_and_age() {
        let two_hours = Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_hours(2);
        let make = |name: &str, held, oldest| {
            let seen = ConsumerInfo { channel: Some(channel()), oldest, ..durable(name, 5, 20, 1) };
            Moves { before: seen.clone(), after: ConsumerInfo { held, ..seen } }
        };
        // The lane holds eleven, one of them with a call in flight.
        let moves = Ok(vec![make("send-c-1", 11, Some(two_hours)), make("bulk-c-1", 0, None)]);
        let said = |halted, is_paused| {
            let state = LaneState { halted, in_progress: 1, ..LaneState::default() };
            let value = serde_json::to_vec(&state).unwrap().into();
            let leases = Ok(vec![LeaseInfo { value, ..lease(2, None) }]);
            let lanes = [Lane { channel: channel(), is_paused }];
            let watched = Duration::from_secs(3);
            let findings = evaluate(&lanes, &leases, &moves, watched, Timestamp::UNIX_EPOCH);
            findings.into_iter().map(|found| found.message).collect::<Vec<_>>().join("\n")
        };
        let waits = "50 commands wait, the oldest for 2.0 h";
        for text in [said(fails(), false), said(Some(HaltReason::Paused), true)] {
            assert!(text.contains(waits), "{text}");
        }
    }
}
