//! Forms that other versions read and wrote, and the round trip of every entry.

use bsp::{ChannelId, CommandId, event_id, registry};
use proptest::prelude::*;
use proto::v1::{CommandFault, ProviderStatus, ReportError, SendOutcome};

use super::*;
use crate::ledger::compact::CommandIdentity;
use crate::ledger::record::NextStep;

/// How a version without compact entries reads an entry: the definition of commit 37b971a.
mod before_compact_entries {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    pub(super) struct Record {
        pub(super) version: u32,
        pub(super) sequence: u64,
        pub(super) digest: String,
        pub(super) attempts: u32,
        pub(super) token: String,
        pub(super) state: State,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub(super) enum State {
        Intent { at_ms: i64, unknown_since_ms: i64, is_resent: bool },
        NotSent,
        Done { result: String, is_answered: bool },
    }
}

fn record(state: State) -> Record {
    Record::new(7, "d".to_owned(), "t".to_owned()).called(1, state)
}

fn channel() -> ChannelId {
    ChannelId::parse("sales").unwrap()
}

fn identity<'a>(channel: &'a ChannelId, command_id: &'a str, msg_id: &'a str) -> CommandIdentity<'a> {
    CommandIdentity { channel, command_id, msg_id }
}

/// The result of an accepted command, as Infobip's answer makes it.
fn accepted() -> SendResult {
    let mut result = SendResult {
        bsp: "infobip".to_owned(),
        channel_id: "sales".to_owned(),
        command_id: "c-1".to_owned(),
        message_id: "imc-c-1".to_owned(),
        provider_status: Some(ProviderStatus {
            group_id: "1".to_owned(),
            group_name: "PENDING".to_owned(),
            id: "7".to_owned(),
            name: "PENDING_ENROUTE".to_owned(),
            description: "Message sent to next instance".to_owned(),
            raw: "PENDING_ENROUTE".to_owned(),
        }),
        attempts: 1,
        decided_at: Some(bsp::time::to_proto("2026-11-27T05:00:00.123Z".parse().unwrap())),
        command_sequence: 7,
        command_msg_id: "sales.c-1".to_owned(),
        ..SendResult::default()
    };
    result.set_outcome(SendOutcome::Accepted);
    let bsp = registry::find("infobip").unwrap().profile().id;
    result.event_id = event_id::of_result(bsp, &channel(), "c-1", "SEND_OUTCOME_ACCEPTED", "");
    result
}

#[test]
fn what_is_written_is_read() {
    let intent = State::Intent { at_ms: 5, unknown_since_ms: 5, is_resent: false };
    let decided = record(State::NotSent).decided(&accepted());
    let compact = decided.clone().compacted(identity(&channel(), "c-1", "sales.c-1"));
    assert!(matches!(compact.state, State::Done(Decision::OwedCompact(_))));
    for record in
        [record(intent), record(State::NotSent), record(State::NotSent).answered(), decided, compact]
    {
        assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
    }
    assert_eq!(Record::from_bytes(b"{}"), None);
    for array in [
        r#"[1,7,"d",1,"t","not_sent"]"#,
        r#"{"version":1,"sequence":7,"digest":"d","attempts":1,"token":"t","state":{"intent":[5,5,false]}}"#,
    ] {
        assert_eq!(Record::from_bytes(array.as_bytes()), None, "{array}");
    }
}

/// docs/compatibility.md promises this form: version 0.1 wrote these entries, and they never change.
#[test]
fn what_an_earlier_version_wrote_is_read_and_written_alike() {
    let result = SendResult { command_id: "c".to_owned(), ..SendResult::default() };
    let states = [
        (
            r#"{"intent":{"at_ms":5,"unknown_since_ms":4,"is_resent":false}}"#,
            State::Intent { at_ms: 5, unknown_since_ms: 4, is_resent: false },
        ),
        (r#""not_sent""#, State::NotSent),
        (
            r#"{"done":{"result":"220163","is_answered":false}}"#,
            record(State::NotSent).decided(&result).state,
        ),
        (r#"{"done":{"result":"","is_answered":true}}"#, State::Done(Decision::Answered)),
    ];
    let head = r#"{"version":1,"sequence":7,"digest":"d","attempts":1,"token":"t","state":"#;
    for (written, state) in states {
        let stored = format!("{head}{written}}}");
        assert_eq!(Record::from_bytes(stored.as_bytes()), Some(record(state.clone())), "{stored}");
        assert_eq!(record(state.clone()).to_bytes(), stored.as_bytes());
        // A later version may add a field. An incompatible form has another version number.
        let later = format!("{head}{written},\"added_later\":1}}");
        assert_eq!(Record::from_bytes(later.as_bytes()), Some(record(state)), "{later}");
        let other = stored.replace(r#""version":1"#, r#""version":2"#);
        assert_eq!(Record::from_bytes(other.as_bytes()), None, "{other}");
    }
    // Versions before compact entries kept the result in an answered entry.
    let answered = format!(r#"{head}{{"done":{{"result":"220163","is_answered":true}}}}}}"#);
    assert_eq!(Record::from_bytes(answered.as_bytes()), Some(record(State::Done(Decision::Answered))));
    // An entry whose result cannot be read is left to others.
    let odd = format!(r#"{head}{{"done":{{"result":"22016","is_answered":false}}}}}}"#);
    assert_eq!(Record::from_bytes(odd.as_bytes()), None);
}

/// The compact form, which later versions must read.
const COMPACT: &str = r#"{"version":1,"sequence":7,"digest":"d","attempts":1,"token":"","state":{"intent":{"at_ms":0,"unknown_since_ms":0,"is_resent":true}},"decided":"EgdpbmZvYmlwMAE6PwoBMRIHUEVORElORxoBNyIPUEVORElOR19FTlJPVVRFKh1NZXNzYWdlIHNlbnQgdG8gbmV4dCBpbnN0YW5jZVILCNCcpNgGEMCp0zo"}"#;

#[test]
fn a_compact_entry_is_written_and_read_alike() {
    let (channel, result) = (channel(), accepted());
    let command = identity(&channel, "c-1", "sales.c-1");
    let compact = record(State::NotSent).decided(&result).compacted(command);
    assert_eq!(String::from_utf8(compact.to_bytes().to_vec()).unwrap(), COMPACT);
    let read = Record::from_bytes(COMPACT.as_bytes()).unwrap();
    let NextStep::Publish(owed) = read.next(7, "d") else { panic!("no result") };
    assert_eq!(*owed.of(command), result);
    let whole = record(State::NotSent).decided(&result).to_bytes();
    assert!(compact.to_bytes().len() * 5 < whole.len() * 3, "{} of {}", COMPACT.len(), whole.len());
}

/// What decides in a version without compact entries: sequence and digest first, then the state.
#[test]
fn a_version_without_compact_entries_never_sends_the_command_of_one() {
    let read: before_compact_entries::Record = serde_json::from_str(COMPACT).unwrap();
    let state = before_compact_entries::State::Intent { at_ms: 0, unknown_since_ms: 0, is_resent: true };
    let expected = before_compact_entries::Record {
        version: 1,
        sequence: 7,
        digest: "d".to_owned(),
        attempts: 1,
        token: String::new(),
        state,
    };
    assert_eq!(read, expected);
    let answered: before_compact_entries::Record =
        serde_json::from_slice(&record(State::NotSent).answered().to_bytes()).unwrap();
    let state = before_compact_entries::State::Done { result: String::new(), is_answered: true };
    assert_eq!(answered.state, state);
}

#[test]
fn a_result_that_a_compact_entry_would_change_is_stored_whole() {
    let channel = channel();
    let command = identity(&channel, "c-1", "sales.c-1");
    let is_whole = |result: SendResult| {
        let record = record(State::NotSent).decided(&result).compacted(command);
        matches!(record.state, State::Done(Decision::Owed(_)))
    };
    assert!(!is_whole(accepted()));
    assert!(is_whole(SendResult { event_id: "f".repeat(32), ..accepted() }));
    assert!(is_whole(SendResult { bsp: String::new(), ..accepted() }), "a channel that does not exist");
    assert!(is_whole(SendResult { bsp: "pigeon".to_owned(), ..accepted() }));
    assert!(is_whole(SendResult { message_id: String::new(), ..accepted() }));
    assert!(is_whole(SendResult { attempts: 2, ..accepted() }));
    assert!(is_whole(SendResult { command_sequence: 8, ..accepted() }));
    assert!(is_whole(SendResult { command_msg_id: String::new(), ..accepted() }));
    // A BSP of a later version.
    let other = COMPACT.replace("EgdpbmZvYmlw", "EgdpbmZvYmlx");
    assert_ne!(other, COMPACT);
    assert_eq!(Record::from_bytes(other.as_bytes()), None);
}

prop_compose! {
    fn any_status()(
        group_id in ".{0,4}", group_name in ".{0,12}", id in ".{0,8}", name in ".{0,20}", description in ".{0,60}",
        word in ".{1,12}", is_name in any::<bool>(),
    ) -> ProviderStatus {
        let raw = if is_name { name.clone() } else { word };
        ProviderStatus { group_id, group_name, id, name, description, raw }
    }
}

prop_compose! {
    fn any_result()(
        outcome in 0..6_i32,
        status in proptest::option::of(any_status()),
        error in proptest::option::of((".{0,12}", ".{0,40}", proptest::option::of(any::<bool>()))),
        context in ".{0,80}",
        faults in proptest::collection::vec((".{0,12}", ".{0,30}"), 0..4),
        second in 0_i64..4_000_000_000,
        nanos in 0..1_000_000_000_i32,
    ) -> SendResult {
        SendResult {
            outcome,
            provider_status: status,
            error: error.map(|(code, description, permanent)| {
                ReportError { code, name: String::new(), description, permanent }
            }),
            context,
            faults: faults
                .into_iter()
                .map(|(field, rule)| CommandFault { field, rule })
                .collect(),
            decided_at: Some(bsp::time::to_proto(jiff::Timestamp::new(second, nanos).unwrap())),
            ..SendResult::default()
        }
    }
}

proptest! {
    #[test]
    fn the_result_of_an_entry_is_the_one_that_was_decided(
        rest in any_result(),
        command_id in "[A-Za-z0-9_-]{1,40}",
        msg_id in "[ -~]{0,60}",
        sequence in any::<u64>(),
        attempts in 0..40_u32,
        place in 0..registry::REGISTRY.len(),
        is_theirs in any::<bool>(),
    ) {
        let (channel, bsp) = (channel(), registry::REGISTRY[place].profile().id);
        let message_id = CommandId::parse(&command_id).unwrap().message_id();
        let code = rest.error.as_ref().map(|error| error.code.clone()).unwrap_or_default();
        let result = SendResult {
            event_id: event_id::of_result(bsp, &channel, &command_id, rest.outcome().as_str_name(), &code),
            bsp: bsp.as_str().to_owned(),
            channel_id: channel.as_str().to_owned(),
            message_id: if is_theirs { "an id of the BSP".to_owned() } else { message_id },
            command_id: command_id.clone(),
            command_sequence: sequence,
            command_msg_id: msg_id.clone(),
            attempts,
            ..rest
        };
        let command = identity(&channel, &command_id, &msg_id);
        let whole = Record::new(sequence, "d".to_owned(), "t".to_owned()).called(attempts, State::NotSent).decided(&result);
        let compact = whole.clone().compacted(command);
        prop_assert!(matches!(compact.state, State::Done(Decision::OwedCompact(_))));
        prop_assert!(compact.to_bytes().len() < whole.to_bytes().len());
        for entry in [whole, compact] {
            let read = Record::from_bytes(&entry.to_bytes());
            prop_assert_eq!(read.as_ref(), Some(&entry));
            let NextStep::Publish(owed) = entry.next(sequence, "d") else { panic!("no result") };
            prop_assert_eq!(&*owed.of(command), &result);
        }
    }
}
