//! Where the next page of a list begins. A client gets it as an opaque text and returns it. It is signed together with the list and
//! its filters, so that a forged one, or one of another list, is refused and never read by the store.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use crate::row::keys::KEY_BYTES;
use crate::row::{Keys, LookupKey, Pointer, StreamNumber};
use crate::rules::{DueOrder, RuleName};
use crate::store::Place;

/// Bytes of a time: nanoseconds since 1970.
const TIME_BYTES: usize = 16;
/// Bytes of a place: a time, a stream, a sequence and a part.
const PLACE_BYTES: usize = TIME_BYTES + 1 + 8 + 4;
/// Fewest bytes of an expectation's place: a time, a key and a rule. A channel follows.
const DUE_BYTES_MIN: usize = TIME_BYTES + KEY_BYTES + 1;

/// A text that is not a cursor of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forged;

/// The cursors of one list.
#[derive(Debug)]
pub(crate) struct Cursors<'k> {
    keys: &'k Keys,
    /// The path and every filter.
    list: String,
}

impl<'k> Cursors<'k> {
    /// The cursors of a list. `list` has its path and every filter that changes which entries it has.
    pub(crate) fn of(keys: &'k Keys, list: String) -> Self {
        Self { keys, list }
    }

    /// The cursor of a place in the order of rows.
    pub(crate) fn at_place(&self, place: Place) -> String {
        let mut bytes = Vec::with_capacity(PLACE_BYTES + KEY_BYTES);
        bytes.extend(place.stored_at.as_nanosecond().to_be_bytes());
        bytes.push(place.pointer.stream as u8);
        bytes.extend(place.pointer.sequence.to_be_bytes());
        bytes.extend(place.pointer.part.to_be_bytes());
        self.signed(bytes)
    }

    /// The place of a cursor.
    ///
    /// # Errors
    /// [`Forged`] when it is not one of this list.
    pub(crate) fn place(&self, cursor: &str) -> Result<Place, Forged> {
        let bytes: [u8; PLACE_BYTES] = self.checked(cursor)?.try_into().map_err(|_| Forged)?;
        let (time, rest) = bytes.split_at(TIME_BYTES);
        let stream = StreamNumber::of_stored(i64::from(rest[0])).ok_or(Forged)?;
        let sequence = u64::from_be_bytes(rest[1..9].try_into().map_err(|_| Forged)?);
        let part = u32::from_be_bytes(rest[9..].try_into().map_err(|_| Forged)?);
        Ok(Place { stored_at: time_of(time)?, pointer: Pointer { stream, sequence, part } })
    }

    /// The cursor of a place in the order of expectations.
    pub(crate) fn at_due(&self, place: &DueOrder) -> String {
        let mut bytes = Vec::with_capacity(DUE_BYTES_MIN + place.channel.len() + KEY_BYTES);
        bytes.extend(place.due.as_nanosecond().to_be_bytes());
        bytes.extend(place.key.0);
        bytes.push(place.rule as u8);
        bytes.extend(place.channel.as_bytes());
        self.signed(bytes)
    }

    /// The place of a cursor in the order of expectations.
    ///
    /// # Errors
    /// [`Forged`] when it is not one of this list.
    pub(crate) fn due(&self, cursor: &str) -> Result<DueOrder, Forged> {
        let bytes = self.checked(cursor)?;
        let (time, rest) = bytes.split_at_checked(TIME_BYTES).ok_or(Forged)?;
        let (key, rest) = rest.split_at_checked(KEY_BYTES).ok_or(Forged)?;
        let (rule, channel) = rest.split_first().ok_or(Forged)?;
        Ok(DueOrder {
            due: time_of(time)?,
            key: LookupKey(key.try_into().map_err(|_| Forged)?),
            rule: RuleName::of_stored(i64::from(*rule)).ok_or(Forged)?,
            channel: String::from_utf8(channel.to_vec()).map_err(|_| Forged)?,
        })
    }

    /// The cursor of a number in the order of the audit log.
    pub(crate) fn at_number(&self, number: u64) -> String {
        self.signed(number.to_be_bytes().to_vec())
    }

    /// The number of a cursor.
    ///
    /// # Errors
    /// [`Forged`] when it is not one of this list.
    pub(crate) fn number(&self, cursor: &str) -> Result<u64, Forged> {
        self.checked(cursor)?.try_into().map(u64::from_be_bytes).map_err(|_| Forged)
    }

    fn signed(&self, mut bytes: Vec<u8>) -> String {
        bytes.extend(self.signature(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn checked(&self, cursor: &str) -> Result<Vec<u8>, Forged> {
        let mut bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Forged)?;
        let end = bytes.len().checked_sub(KEY_BYTES).ok_or(Forged)?;
        let signature = bytes.split_off(end);
        if !bool::from(self.signature(&bytes).as_slice().ct_eq(&signature)) {
            return Err(Forged);
        }
        Ok(bytes)
    }

    fn signature(&self, bytes: &[u8]) -> [u8; KEY_BYTES] {
        // The length keeps the two parts apart.
        let mut signed = (bytes.len() as u64).to_be_bytes().to_vec();
        signed.extend(bytes);
        signed.extend(self.list.as_bytes());
        self.keys.signature(&signed)
    }
}

fn time_of(bytes: &[u8]) -> Result<Timestamp, Forged> {
    let nanoseconds = i128::from_be_bytes(bytes.try_into().map_err(|_| Forged)?);
    Timestamp::from_nanosecond(nanoseconds).map_err(|_| Forged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::keys::SECRET_BYTES;

    fn place() -> Place {
        let stored_at = "2026-03-01T10:00:00.123456789Z".parse().unwrap();
        Place { stored_at, pointer: Pointer { stream: StreamNumber::Events, sequence: u64::MAX, part: 3 } }
    }

    #[test]
    fn a_cursor_gives_its_place_again_only_in_its_list_and_under_its_key() {
        let keys = Keys::of_secret(&[1; SECRET_BYTES]);
        let list = Cursors::of(&keys, "messages channel=c".to_owned());
        let cursor = list.at_place(place());
        assert_eq!(list.place(&cursor), Ok(place()));
        assert_eq!(list.due(&cursor), Err(Forged));
        assert_eq!(Cursors::of(&keys, "messages channel=d".to_owned()).place(&cursor), Err(Forged));
        let other = Keys::of_secret(&[2; SECRET_BYTES]);
        assert_eq!(Cursors::of(&other, "messages channel=c".to_owned()).place(&cursor), Err(Forged));
        for due in [Timestamp::MIN, Timestamp::MAX, place().stored_at] {
            let (key, channel) = (keys.id("a"), "sales".to_owned());
            let order = DueOrder { due, key, rule: RuleName::NoResult, channel };
            let cursor = list.at_due(&order);
            assert_eq!(list.due(&cursor), Ok(order));
            assert_eq!(list.place(&cursor), Err(Forged));
        }
        assert_eq!(list.number(&list.at_number(7)), Ok(7));
        assert_eq!(list.number(&cursor), Err(Forged));
    }

    proptest! {
        #[test]
        fn a_forged_cursor_is_refused(text in ".{0,80}", at in 0usize..60, to in any::<u8>()) {
            let keys = Keys::of_secret(&[1; SECRET_BYTES]);
            let list = Cursors::of(&keys, String::new());
            prop_assert_eq!(list.place(&text), Err(Forged));
            let mut cursor = list.at_place(place()).into_bytes();
            if let Some(byte) = cursor.get_mut(at) && *byte != to {
                *byte = to;
                prop_assert_eq!(list.place(&String::from_utf8_lossy(&cursor)), Err(Forged));
            }
        }
    }
}
