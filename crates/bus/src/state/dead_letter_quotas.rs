//! State of the channels whose dead letters are stored: the bytes that each uses, and the bytes that this process is
//! about to store. Pure but for the lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::schema::headers::{self, Headers};
use crate::schema::subject::Subject;

/// Divisor of a share below which a channel, or the whole stream, is far from its limit and is checked less often: half
/// of it.
pub(crate) const FAR_BELOW: u64 = 2;
/// Divisor of the free bytes of the last check: a process uses at most this part of them, or the dead letters of one
/// message, before the next check.
const SHARE_OF_ROOM: u64 = 8;
/// Interval of the checks of a channel that is storing dead letters and is near its share.
const RECHECK_NEAR_LIMIT: Duration = Duration::from_secs(1);
/// Interval of the checks of a channel that is storing dead letters and is far below its share.
const RECHECK_FAR_FROM_LIMIT: Duration = Duration::from_secs(10);
/// Time without further checks after one that failed.
const READ_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Most channels that are cached. Above it, those without a dead letter in flight are dropped, and checked again.
const ACCOUNTS_MAX: usize = 10_000;

/// Totals that were written under a subject, including one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) letters: u64,
    pub(crate) bytes: u64,
}

impl Written {
    /// `17/9342`
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (letters, bytes) = text.split_once('/')?;
        Some(Self { letters: letters.parse().ok()?, bytes: bytes.parse().ok()? })
    }

    pub(crate) fn of(letter: &Headers) -> Option<Self> {
        letter.get(headers::WRITTEN).and_then(Self::parse)
    }
}

/// State of a channel.
#[derive(Debug, Clone, Copy)]
struct ChannelQuota {
    /// Bytes at the last check: its own, or those of all channels.
    bytes: u64,
    is_exact: bool,
    /// Limit of the channel; `None` if the stream has no limit.
    part: Option<u64>,
    looked_at: Instant,
    /// Bytes that this process has stored, and those of them that the last check has seen: bytes that were stored
    /// during the check may be missing in its result.
    stored: u64,
    seen: u64,
    /// Bytes that are about to be stored.
    reserved: u64,
    /// Totals of the subject that this process writes to. `None` if they could not be read.
    written: Option<Written>,
}

impl ChannelQuota {
    fn is_fresh(&self, now: Instant) -> bool {
        let is_far = self.part.is_none_or(|part| self.taken() < part / FAR_BELOW);
        now - self.looked_at < if is_far { RECHECK_FAR_FROM_LIMIT } else { RECHECK_NEAR_LIMIT }
    }

    fn since(&self) -> u64 {
        self.stored - self.seen
    }

    fn taken(&self) -> u64 {
        self.bytes + self.since() + self.reserved
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.part.is_none_or(|part| self.taken() + bytes <= part)
    }

    /// Whether the process uses no more of the free bytes than others may use too.
    fn is_own_share(&self, bytes: u64) -> bool {
        let used = self.since() + self.reserved;
        let room = self.part.map_or(u64::MAX, |part| part.saturating_sub(self.bytes));
        used == 0 || used + bytes <= room / SHARE_OF_ROOM
    }
}

/// The dead letters of a channel have used their share of the stream.
#[derive(Debug)]
pub(crate) struct ChannelFull;

/// State of all channels.
#[derive(Debug, Default)]
pub(crate) struct DeadLetterQuotas {
    accounts: Mutex<HashMap<String, ChannelQuota>>,
    /// One check at a time: a task that waits for it usually finds that the check was made.
    pub(crate) looking: tokio::sync::Mutex<()>,
    blind_until: Mutex<Option<Instant>>,
}

/// Room that is reserved for the dead letters of one message, until they are stored or it is dropped.
#[derive(Debug)]
pub struct Reservation {
    letters: Arc<DeadLetterQuotas>,
    pub(crate) subject: Subject,
    reserved: u64,
    pub(crate) stored: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut accounts = self.letters.accounts();
        if let Some(account) = accounts.get_mut(self.subject.channel_token()) {
            account.reserved = account.reserved.saturating_sub(self.reserved);
            account.stored += self.stored;
        }
    }
}

impl DeadLetterQuotas {
    fn accounts(&self) -> MutexGuard<'_, HashMap<String, ChannelQuota>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves room by the known state; `None` if the channel has to be checked first.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        subject: &Subject,
        bytes: u64,
        now: Instant,
    ) -> Option<Result<Reservation, ChannelFull>> {
        let mut accounts = self.accounts();
        let account = accounts.get_mut(subject.channel_token()).filter(|account| account.is_fresh(now))?;
        if !account.has_room(bytes) {
            // The bytes of all channels together do not show those of this one.
            return account.is_exact.then_some(Err(ChannelFull));
        }
        account.is_own_share(bytes).then(|| Ok(self.take(account, subject, bytes)))
    }

    /// The same right after a check.
    pub(crate) fn reserve_seen(
        self: &Arc<Self>,
        subject: &Subject,
        bytes: u64,
    ) -> Result<Reservation, ChannelFull> {
        let mut accounts = self.accounts();
        let account = accounts.get_mut(subject.channel_token()).filter(|account| account.has_room(bytes));
        Ok(self.take(account.ok_or(ChannelFull)?, subject, bytes))
    }

    fn take(self: &Arc<Self>, account: &mut ChannelQuota, subject: &Subject, bytes: u64) -> Reservation {
        account.reserved += bytes;
        Reservation { letters: Arc::clone(self), subject: subject.clone(), reserved: bytes, stored: 0 }
    }

    /// Returns the bytes of a channel that this process has stored, for [`Self::looked`]. Called before the check
    /// begins.
    pub(crate) fn stored(&self, channel: &str) -> u64 {
        self.accounts().get(channel).map_or(0, |account| account.stored)
    }

    /// Records the result of a check that began when this process had stored `before_look` bytes.
    pub(crate) fn looked(&self, channel: &str, seen: Seen, before_look: u64, now: Instant) {
        let mut accounts = self.accounts();
        if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(channel) {
            accounts.retain(|_, account| account.reserved > 0);
        }
        let before = accounts.get(channel);
        let reserved = before.map_or(0, |account| account.reserved);
        let known = before.and_then(|account| account.written);
        // Another process may have written more.
        let written = match (known, seen.written) {
            (Some(known), Some(seen)) if known.letters >= seen.letters => Some(known),
            (known, seen) => seen.or(known),
        };
        let stored = before.map_or(before_look, |account| account.stored);
        let Seen { bytes, is_exact, part, .. } = seen;
        let account = ChannelQuota {
            bytes,
            is_exact,
            part,
            looked_at: now,
            stored,
            seen: before_look,
            reserved,
            written,
        };
        accounts.insert(channel.to_owned(), account);
    }

    /// Returns the totals for the next dead letter of this size.
    pub(crate) fn write(&self, channel: &str, bytes: u64) -> Option<Written> {
        let mut accounts = self.accounts();
        let written = accounts.get_mut(channel)?.written.as_mut()?;
        *written = Written { letters: written.letters + 1, bytes: written.bytes + bytes };
        Some(*written)
    }

    pub(crate) fn is_blind(&self, now: Instant) -> bool {
        let until = *self.blind_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }

    pub(crate) fn set_blind(&self, now: Instant) {
        *self.blind_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + READ_RETRY_INTERVAL);
    }
}

/// Result of checking a channel.
pub(crate) struct Seen {
    pub(crate) bytes: u64,
    pub(crate) is_exact: bool,
    pub(crate) part: Option<u64>,
    pub(crate) written: Option<Written>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::subject::Origin;

    #[test]
    fn room_is_for_all_of_it_or_none_and_comes_back() {
        let letters = Arc::new(DeadLetterQuotas::default());
        let subject = Subject::DeadLetter(Origin::Webhook, None);
        let now = Instant::now();
        assert!(letters.reserve(&subject, 1, now).is_none(), "it has to be checked first");
        let seen =
            || Seen { bytes: 600, is_exact: true, part: Some(1000), written: Some(Written::default()) };
        letters.looked("unknown", seen(), 0, now);
        // The dead letters of one message, or a part of the free bytes, because another process may see the same free
        // bytes.
        let room = letters.reserve(&subject, 300, now).unwrap().unwrap();
        assert!(letters.reserve(&subject, 1, now).is_none());
        assert!(matches!(letters.reserve(&subject, 101, now), Some(Err(ChannelFull))));
        drop(room);
        let mut small = letters.reserve(&subject, 20, now).unwrap().unwrap();
        small.stored = 20;
        drop(small);
        drop(letters.reserve(&subject, 30, now).unwrap().unwrap());
        assert!(letters.reserve(&subject, 31, now).is_none());
        assert!(matches!(letters.reserve(&subject, 381, now), Some(Err(ChannelFull))));
        drop(letters.reserve_seen(&subject, 380).unwrap());
        assert!(
            letters.reserve(&subject, 1, now + RECHECK_NEAR_LIMIT).is_none(),
            "others may have stored more"
        );
        // Reserved bytes are added to the result of a check.
        let _room = letters.reserve_seen(&subject, 300).unwrap();
        let look = |stored| letters.looked("unknown", Seen { part: Some(950), ..seen() }, stored, now);
        look(letters.stored("unknown"));
        assert!(matches!(letters.reserve(&subject, 51, now), Some(Err(ChannelFull))));
        // Bytes that are stored during a check may be missing in its result.
        let before = letters.stored("unknown");
        let mut meanwhile = letters.reserve_seen(&subject, 20).unwrap();
        meanwhile.stored = 20;
        drop(meanwhile);
        look(before);
        assert!(matches!(letters.reserve(&subject, 31, now), Some(Err(ChannelFull))));
        assert_eq!(letters.write("unknown", 7), Some(Written { letters: 1, bytes: 7 }));
    }
}
