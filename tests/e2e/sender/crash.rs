//! Two thousand commands over many channels, three senders of which one after another is killed or suspended for a
//! while, and an account that injects faults into a tenth of its calls: no customer gets a message twice, every command
//! has a result, and every result is true.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus::Priority;
use bus::streams::{EVENTS, StreamSettings};
use proto::v1::{SendOutcome, SendResult};
use simulator::infobip_api::{Faults, Intermediary, RetryAfter};

use crate::harness::outbound::{Outbound, outcome, text};
use crate::harness::{Program, eventually, exclusive, within};

const COMMANDS: usize = 2_000;
const CHANNELS: usize = 12;
/// The account accepts used ids and its log is slow: only the senders prevent duplicates.
fn faults() -> Faults {
    let share = 0.01;
    let fronts = vec![
        Intermediary { share, ..Intermediary::html(404) },
        Intermediary { share, is_after: true, ..Intermediary::html(502) },
        Intermediary { share, retry_after: Some(RetryAfter::Seconds(1)), ..Intermediary::html(503) },
    ];
    Faults {
        latency: Duration::from_millis(20),
        fronts,
        limited: 0.01,
        error_before: 0.02,
        error_after: 0.02,
        stalled: 0.02,
        stall_for: Duration::from_millis(2_500),
        cut: 0.02,
        unique_ids: false,
        log_lag: Duration::from_secs(3),
        ..Faults::default()
    }
}

fn sender(outbound: &Outbound) -> Program {
    outbound.sender_program(&[
        ("IMCHANNEL_SEND_TIMEOUT", "1500ms"),
        ("IMCHANNEL_LOOKUP_DELAYS", "1500ms,2500ms,4s,7s"),
        ("IMCHANNEL_LOG_LEVEL", "warn"),
    ])
}

/// Kills one, suspends another for longer than its leases last, and so on, always with a new one in place of the dead
/// one.
async fn kill_and_suspend_senders(outbound: &Outbound, is_over: &AtomicBool) -> (usize, usize) {
    let mut senders: Vec<Program> = (0..3).map(|_| sender(outbound)).collect();
    let (mut killed, mut stopped) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        // The progress of the commands decides what happens next, not the clock.
        let before = outbound.account.received_count();
        let more = COMMANDS / 12;
        within(Duration::from_secs(120), "more messages arrive", || async {
            let is_done = is_over.load(Ordering::Relaxed);
            (is_done || outbound.account.received_count() >= before + more).then_some(())
        })
        .await;
        let mut victim = senders.remove(0);
        if (killed + stopped) % 2 == 0 {
            victim.kill().await;
            killed += 1;
            senders.push(sender(outbound));
        } else {
            victim.signal("STOP").await;
            // Until the others have acquired its lanes and its calls are old.
            within(Duration::from_secs(60), "its lanes are taken over", || async {
                let leases = bus::inspect::leases(&outbound.installation.bus).await.ok()?;
                let owners: HashSet<String> = leases
                    .iter()
                    .filter(|lease| lane_state::lane_of_lease(&lease.name).is_some())
                    .filter_map(|lease| serde_json::from_slice::<lane_state::LaneState>(&lease.value).ok())
                    .map(|state| state.owner)
                    .collect();
                (owners.len() == 2 || is_over.load(Ordering::Relaxed)).then_some(())
            })
            .await;
            victim.signal("CONT").await;
            stopped += 1;
            senders.push(victim);
        }
    }
    (killed, stopped)
}

#[tokio::test]
async fn nothing_is_sent_twice_and_everything_is_answered() {
    let _alone = exclusive().await;
    let streams =
        StreamSettings { duplicate_window: Duration::from_millis(100), ..StreamSettings::default() };
    let outbound = Arc::new(Outbound::start_with(&[20; CHANNELS], &streams).await);
    outbound.account.set_faults(faults());
    // On every other channel unknown outcomes are overtaken soon.
    for number in (0..CHANNELS).step_by(2) {
        outbound.apply_channel(number, 20, "unknown_hold = 1").await;
    }
    for number in 0..COMMANDS {
        let recipient = format!("4915{:05}", number % 700);
        let queue = if number % 3 == 0 { Priority::Bulk } else { Priority::Interactive };
        outbound.publish(queue, &text(number % CHANNELS, &format!("c-{number}"), &recipient, "Hello")).await;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let killing = {
        let (outbound, is_over) = (Arc::clone(&outbound), Arc::clone(&is_over));
        tokio::spawn(async move { kill_and_suspend_senders(&outbound, &is_over).await })
    };
    let results = within(Duration::from_secs(240), "every command has a result", || async {
        // Reading all of them takes a while, so only when there can be enough.
        let stored = bus::read::last_sequence(&outbound.installation.bus, &EVENTS).await.ok()?;
        if stored < COMMANDS as u64 {
            return None;
        }
        let results = outbound.results().await;
        let ids: HashSet<&str> = results.iter().map(|result| result.command_id.as_str()).collect();
        (ids.len() == COMMANDS).then_some(results)
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    let (killed, stopped) = killing.await.unwrap();
    assert!(killed >= 2 && stopped >= 2, "{killed} killed, {stopped} stopped");
    check(&outbound, &results).await;
}

async fn check(outbound: &Outbound, results: &[SendResult]) {
    let mut received: HashMap<String, usize> = HashMap::new();
    for message in outbound.account.received() {
        *received.entry(message.message_id).or_default() += 1;
    }
    let twice: Vec<_> = received.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "customers got messages twice: {twice:?}");
    let mut outcomes: HashMap<&str, HashSet<SendOutcome>> = HashMap::new();
    for result in results {
        outcomes.entry(&result.command_id).or_default().insert(outcome(result));
    }
    let mut unknown = 0;
    for (command, outcomes) in &outcomes {
        assert_eq!(outcomes.len(), 1, "{command} has several outcomes: {outcomes:?}");
        let arrived = received.contains_key(&format!("imc-{command}"));
        match outcomes.iter().next().unwrap() {
            SendOutcome::Accepted => assert!(arrived, "{command} is ACCEPTED and never arrived"),
            SendOutcome::Unknown => unknown += 1,
            other => panic!("{command} is {other:?}"),
        }
    }
    for result in results.iter().filter(|result| outcome(result) == SendOutcome::Unknown) {
        assert_eq!(result.message_id, format!("imc-{}", result.command_id));
    }
    // Calls that were answered 500 before the message was accepted, and senders that died between intent and call.
    assert!(unknown < COMMANDS / 10, "{unknown} unknown outcomes");
    let calls = outbound.account.calls();
    assert!(calls.faulty as usize > COMMANDS / 20 && calls.malformed == 0, "{calls:?}");
    eventually("nothing is held any more", || async {
        for number in 0..CHANNELS {
            for queue in Priority::ALL {
                let channel = crate::harness::outbound::channel(number);
                let waiting =
                    bus::command_consumers::lag(&outbound.installation.bus, queue, &channel).await.ok()??;
                if waiting.num_pending + waiting.num_ack_pending > 0 {
                    return None;
                }
            }
        }
        Some(())
    })
    .await;
}
