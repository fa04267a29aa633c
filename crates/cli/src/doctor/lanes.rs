//! Checks of the lanes of sending channels: each has an owner, none is halted, and pending commands make progress.

use std::collections::HashMap;
use std::time::Duration;

use bsp::ChannelId;
use bus::inspect::LeaseInfo;
use bus::lease::LEASE_DURATION;
use jiff::Timestamp;
use sender::LaneState;

use crate::words;

use super::finding::{Check, Finding, count, names, span};
use super::probe::{Moves, Probe};
use super::progress::{Motion, motion};

const OWNER: Check = Check("lanes.owner");
const HALTED: Check = Check("lanes.halted");
const MOVING: Check = Check("lanes.progress");
const PAUSED: Check = Check("lanes.paused");

/// Reason that a sender writes while it takes over a lane. It is not an error.
const BEGINS: &str = "begins";

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
    let states: HashMap<&str, LaneState> = leases.iter().filter_map(|lease| held(lease, now)).collect();
    let mut unsettled: HashMap<&ChannelId, Waiting> = HashMap::new();
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
        Waiting { commands: waiting.commands.saturating_sub(calls), ..waiting }
    };
    let mut findings = vec![evaluate_owners(lanes, &|lane| state(lane).is_some(), &waiting, now)];
    findings.extend(evaluate_halted(lanes, &state, &waiting, now));
    findings.push(match moves {
        Err(error) => MOVING.unseen(error),
        Ok(moves) => {
            let is_working = |lane: &Lane| state(lane).is_some_and(|state| state.halted.is_empty());
            evaluate_moving(lanes, moves, &is_working, watched)
        }
    });
    findings.extend(evaluate_paused(lanes, &waiting, now));
    findings
}

/// Returns the channel of a lane with an owner, and the state that the owner reports.
fn held(lease: &LeaseInfo, now: Timestamp) -> Option<(&str, LaneState)> {
    let channel = sender::lane_of_lease(&lease.name)?;
    let age = Duration::try_from(now.duration_since(lease.renewed_at)).unwrap_or_default();
    let state = LaneState::from_bytes(&lease.value)?;
    (age < LEASE_DURATION).then_some((channel, state))
}

/// Pending commands of one lane, or of several.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    commands: u64,
    /// When the oldest of them was stored.
    oldest: Option<Timestamp>,
}

impl Waiting {
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
fn evaluate_paused(lanes: &[Lane], waiting: &dyn Fn(&Lane) -> Waiting, now: Timestamp) -> Vec<Finding> {
    let paused = lanes.iter().filter(|lane| lane.is_paused);
    let (missed, idle): (Vec<_>, Vec<_>) = paused.partition(|lane| waiting(lane).commands > 0);
    let mut findings = Vec::new();
    if !missed.is_empty() {
        let mut all = Waiting::default();
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
    waiting: &dyn Fn(&Lane) -> Waiting,
    now: Timestamp,
) -> Finding {
    let (mut alone, mut waiting_in_all) = (Vec::new(), Waiting::default());
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
    reason: String,
    of: Vec<String>,
    waiting: Waiting,
}

/// Returns one finding for each reason.
fn evaluate_halted(
    lanes: &[Lane],
    state: &dyn Fn(&Lane) -> Option<LaneState>,
    waiting: &dyn Fn(&Lane) -> Waiting,
    now: Timestamp,
) -> Vec<Finding> {
    let mut halted: Vec<Halted> = Vec::new();
    for lane in lanes.iter().filter(|lane| !lane.is_paused) {
        let Some(state) = state(lane).filter(|state| !state.halted.is_empty() && state.halted != BEGINS)
        else {
            continue;
        };
        let place = halted.iter().position(|halted| halted.reason == state.halted).unwrap_or_else(|| {
            halted.push(Halted { reason: state.halted, of: Vec::new(), waiting: Waiting::default() });
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
        // The BSP's own limit passes by itself.
        let passes = reason.contains("limits the rate");
        let finding =
            if passes { HALTED.warning(what, why, remedy) } else { HALTED.error(what, why, remedy) };
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

    fn lease(age_s: i64, halted: &str) -> LeaseInfo {
        let state = LaneState {
            owner: "s-1".to_owned(),
            account: "a".to_owned(),
            halted: halted.to_owned(),
            ..LaneState::default()
        };
        LeaseInfo {
            name: "lane.c-1".to_owned(),
            value: serde_json::to_vec(&state).unwrap().into(),
            renewed_at: Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_secs(age_s),
        }
    }

    fn evaluated(leases: Vec<LeaseInfo>, pending: u64, is_paused: bool) -> Vec<(&'static str, Level)> {
        let make = || ConsumerInfo { channel: Some(channel()), ..durable("send-c-1", 5, pending, 1) };
        let moves = vec![Moves { before: make(), after: make() }];
        let lanes = [Lane { channel: channel(), is_paused }];
        let watched = Duration::from_secs(3);
        let findings = evaluate(&lanes, &Ok(leases), &Ok(moves), watched, Timestamp::UNIX_EPOCH);
        findings
            .iter()
            .map(|found| (found.check, found.level))
            .filter(|(_, level)| *level != Level::Ok)
            .collect()
    }

    #[test]
    fn a_lane_needs_an_owner_that_sends() {
        assert_eq!(evaluated(vec![lease(2, "")], 0, false), []);
        assert_eq!(evaluated(vec![lease(2, BEGINS)], 0, false), []);
        assert_eq!(evaluated(vec![], 0, false), [("lanes.owner", Level::Warning)]);
        assert_eq!(evaluated(vec![], 3, false), [("lanes.owner", Level::Error)]);
        // Its owner has not renewed the lease.
        assert_eq!(evaluated(vec![lease(14, "")], 3, false), [("lanes.owner", Level::Error)]);
        assert_eq!(
            evaluated(vec![lease(2, "the account fails")], 3, false),
            [("lanes.halted", Level::Error)]
        );
        let limited = "the BSP limits the rate for 3 s more";
        assert_eq!(evaluated(vec![lease(2, limited)], 3, false), [("lanes.halted", Level::Warning)]);
        assert_eq!(evaluated(vec![lease(2, "")], 3, false), [("lanes.progress", Level::Warning)]);
        let paused = "paused by an operator";
        assert_eq!(evaluated(vec![lease(2, paused)], 3, true), [("lanes.paused", Level::Warning)]);
        assert_eq!(evaluated(vec![lease(2, paused)], 0, true), []);
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
        let said = |halted: &str, is_paused| {
            let state = LaneState { halted: halted.to_owned(), in_progress: 1, ..LaneState::default() };
            let value = serde_json::to_vec(&state).unwrap().into();
            let leases = Ok(vec![LeaseInfo { value, ..lease(2, "") }]);
            let lanes = [Lane { channel: channel(), is_paused }];
            let watched = Duration::from_secs(3);
            let findings = evaluate(&lanes, &leases, &moves, watched, Timestamp::UNIX_EPOCH);
            findings.into_iter().map(|found| found.message).collect::<Vec<_>>().join("\n")
        };
        let waits = "50 commands wait, the oldest for 2.0 h";
        for text in [said("the account fails (401)", false), said("paused by an operator", true)] {
            assert!(text.contains(waits), "{text}");
        }
    }
}
