//! The form of a record, and finding the next one among damaged bytes. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the segment's marker, which is random and in the name of its file |
//! | 1 | version: 1 |
//! | 8 | sequence |
//! | 8 | time of arrival, in milliseconds since 1970 |
//! | 4 | length of the payload |
//! | 8 | XXH3 of the bytes above |
//! | length | the payload: an entry |
//! | 8 | XXH3 of the payload, seeded with the sequence |
//!
//! A damaged payload costs its record only, because the head says where the next one begins. After a damaged head the next
//! head is searched. A body that contains the bytes of a record is not taken for one: its author does not know the marker.

use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::entry::Entry;
use crate::limits::ENTRY_BYTES_MAX;

/// Version of a record.
pub(crate) const VERSION: u8 = 1;
/// Bytes of a head.
pub(crate) const HEAD_BYTES: usize = 37;
/// Bytes after the payload.
const TAIL_BYTES: usize = 8;
/// Bytes of a head that its checksum covers.
const CHECKED_BYTES: usize = HEAD_BYTES - 8;

/// The random bytes with which every record of a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker(pub(crate) u64);

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: u8,
    pub(crate) sequence: u64,
    pub(crate) arrived_ms: i64,
    pub(crate) length: usize,
}

impl Head {
    /// Reads the head with which `bytes` begin, if it is undamaged.
    pub(crate) fn parse(bytes: &[u8], marker: Marker) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?;
        if head[..8] != marker.0.to_le_bytes()
            || number(&head[CHECKED_BYTES..]) != xxh3_64(&head[..CHECKED_BYTES])
        {
            return None;
        }
        let length = u32::from_le_bytes(head[25..29].try_into().expect("four bytes")) as usize;
        let head = Self {
            version: head[8],
            sequence: number(&head[9..17]),
            arrived_ms: number(&head[17..25]) as i64,
            length,
        };
        (length <= ENTRY_BYTES_MAX).then_some(head)
    }

    /// Bytes of the record.
    pub(crate) fn total(&self) -> usize {
        HEAD_BYTES + self.length + TAIL_BYTES
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Bytes of the record of an entry; `None` if it is too large.
pub(crate) fn length_of(entry: &Entry) -> Option<usize> {
    let length = entry.encoded_length().filter(|length| *length <= ENTRY_BYTES_MAX)?;
    Some(HEAD_BYTES + length + TAIL_BYTES)
}

/// Appends the record of an entry, whose [`length_of`] is known.
pub(crate) fn append(into: &mut Vec<u8>, marker: Marker, sequence: u64, entry: &Entry) {
    let start = into.len();
    into.extend_from_slice(&marker.0.to_le_bytes());
    into.push(VERSION);
    into.extend_from_slice(&sequence.to_le_bytes());
    into.extend_from_slice(&entry.arrived_ms.to_le_bytes());
    let length = entry.encoded_length().unwrap_or_default() as u32;
    into.extend_from_slice(&length.to_le_bytes());
    let check = xxh3_64(&into[start..]);
    into.extend_from_slice(&check.to_le_bytes());
    let payload = into.len();
    entry.encode(into);
    let check = xxh3_64_with_seed(&into[payload..], sequence);
    into.extend_from_slice(&check.to_le_bytes());
}

/// What `bytes` begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record whose checksums are right. Its payload is in that range.
    Record(Head, Range<usize>),
    /// A record that cannot be read: its payload is damaged, or its version unknown.
    Damaged(Head),
    /// This many bytes that belong to no readable head.
    Unknown(usize),
    /// The begin of a record whose rest is not among the bytes.
    Incomplete,
}

/// Reads what `bytes` begin with.
pub(crate) fn next(bytes: &[u8], marker: Marker) -> Found {
    let Some(head) = Head::parse(bytes, marker) else {
        return unknown(bytes, marker);
    };
    if bytes.len() < head.total() {
        return Found::Incomplete;
    }
    let payload = HEAD_BYTES..HEAD_BYTES + head.length;
    let check = number(&bytes[payload.end..]);
    if head.version != VERSION || check != xxh3_64_with_seed(&bytes[payload.clone()], head.sequence) {
        return Found::Damaged(head);
    }
    Found::Record(head, payload)
}

/// Length of what is before the next head. Fewer bytes than a head are incomplete: more may follow.
fn unknown(bytes: &[u8], marker: Marker) -> Found {
    if bytes.len() < HEAD_BYTES {
        return Found::Incomplete;
    }
    let last = bytes.len() - HEAD_BYTES;
    let begin = (1..=last).find(|start| Head::parse(&bytes[*start..], marker).is_some());
    Found::Unknown(begin.unwrap_or(last + 1))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// A record of version 1.
    const VERSION_1: &str = concat!(
        "efcdab8967452301010700000000000000008844709e0100003f000000e325651563fbf876",
        "1c00696d6368616e6e656c2e776562686f6f6b2e7477696c696f2e632d3101000b004e6174732d4d73672d4964040069",
        "642d314d6573736167655369643d310c8f97f41779baf0",
    );

    const MARKER: Marker = Marker(0x0123_4567_89ab_cdef);

    fn entries() -> impl Strategy<Value = Entry> {
        let headers = proptest::collection::vec((".{0,20}", ".{0,40}"), 0..6);
        let body = proptest::collection::vec(any::<u8>(), 0..300);
        (".{0,60}", headers, any::<i64>(), body).prop_map(|(subject, headers, arrived_ms, body)| Entry {
            subject,
            headers,
            arrived_ms,
            body: body.into(),
        })
    }

    fn log(entries: &[Entry]) -> Vec<u8> {
        let mut log = Vec::new();
        for (sequence, entry) in (1..).zip(entries) {
            let before = log.len();
            append(&mut log, MARKER, sequence, entry);
            assert_eq!(Some(log.len() - before), length_of(entry));
        }
        log
    }

    /// Every record that can be read, with its sequence.
    fn read(log: &[u8]) -> Vec<(u64, Entry)> {
        let (mut at, mut all) = (0, Vec::new());
        while at < log.len() {
            at += match next(&log[at..], MARKER) {
                Found::Record(head, payload) => {
                    let form = Bytes::copy_from_slice(&log[at..][payload]);
                    all.push((head.sequence, Entry::decode(form, head.arrived_ms).unwrap()));
                    head.total()
                }
                Found::Damaged(head) => head.total(),
                Found::Unknown(bytes) => bytes,
                Found::Incomplete => break,
            };
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(entries(), 0..8)) {
            let expected: Vec<_> = (1..).zip(entries.clone()).collect();
            prop_assert_eq!(read(&log(&entries)), expected);
        }

        #[test]
        fn a_changed_byte_costs_its_record_only(
            entries in proptest::collection::vec(entries(), 1..8),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut log = log(&entries);
            let at = at.index(log.len());
            log[at] ^= 1 << bit;
            let (mut end, mut damaged) = (0, 0);
            for (sequence, entry) in (1..).zip(&entries) {
                end += length_of(entry).unwrap();
                if at < end {
                    damaged = sequence;
                    break;
                }
            }
            let expected: Vec<_> = (1..).zip(entries).filter(|(sequence, _)| *sequence != damaged).collect();
            prop_assert_eq!(read(&log), expected);
        }

        #[test]
        fn a_log_that_was_cut_off_keeps_what_is_complete(
            entries in proptest::collection::vec(entries(), 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let whole = log(&entries);
            let cut = at.index(whole.len());
            let mut end = 0;
            let complete = entries.iter().take_while(|entry| { end += length_of(entry).unwrap(); end <= cut }).count();
            let expected: Vec<_> = (1..).zip(entries).take(complete).collect();
            prop_assert_eq!(read(&whole[..cut]), expected);
        }

        #[test]
        fn no_bytes_are_more_than_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(read(&bytes), Vec::new());
        }
    }

    /// The bytes of a record within a body are no record, also when the head before them is damaged: the marker is secret.
    #[test]
    fn a_record_within_a_body_is_not_read() {
        let of = |body: Bytes| Entry { subject: "s".into(), headers: Vec::new(), arrived_ms: 0, body };
        let mut forged = Vec::new();
        append(&mut forged, Marker(1), 9, &of("forged".into()));
        let mut log = log(&[of(forged.into()), of("next".into())]);
        log[3] ^= 1;
        assert_eq!(read(&log), [(2, of("next".into()))]);
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read_and_written_alike() {
        let entry = Entry {
            subject: "imchannel.webhook.twilio.c-1".into(),
            headers: vec![("Nats-Msg-Id".into(), "id-1".into())],
            arrived_ms: 1_780_000_000_000,
            body: "MessageSid=1".into(),
        };
        let mut written = Vec::new();
        append(&mut written, MARKER, 7, &entry);
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, VERSION_1);
        assert_eq!(read(&written), [(7, entry)]);
    }

    #[test]
    fn a_record_of_an_unknown_version_is_not_read() {
        let mut log =
            log(&[Entry { subject: "s".into(), headers: Vec::new(), arrived_ms: 0, body: "b".into() }]);
        log[8] = VERSION + 1;
        let check = xxh3_64(&log[..CHECKED_BYTES]);
        log[CHECKED_BYTES..HEAD_BYTES].copy_from_slice(&check.to_le_bytes());
        assert!(matches!(next(&log, MARKER), Found::Damaged(head) if head.version == 2));
    }
}
