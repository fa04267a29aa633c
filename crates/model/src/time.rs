//! Time in ticks. Ages are kept and no times, so that the same situation an hour later is the same state; ages beyond every limit of the
//! protocol are one age.

use std::time::Duration;

use sender::protocol::Moment;
use tokio::time::Instant;

/// A number of ticks.
pub(crate) type Ticks = u8;

/// A tick: the greatest age at which an intent is called is less than one.
pub(crate) const TICK: Duration = sender::protocol::INTENT_AGE_MAX;
/// Timeout of a call.
pub(crate) const SEND_TIMEOUT: Ticks = 3;
/// Delay of the query of the message log, after the intent. It is less than the timeout of a call, which the settings allow.
pub(crate) const LOOKUP_DELAY: Ticks = 2;
/// Ticks for which a request may be on its way to the BSP.
pub(crate) const REQUEST_AGE_MAX: Ticks = 1;
/// The channel's `resend_unknown_after`: by then a request that was written right before its timeout has arrived, and a tick later a
/// prompt message log shows it.
pub(crate) const RESEND_AFTER: Ticks = SEND_TIMEOUT - 1 + REQUEST_AGE_MAX + 1;
/// Time until the deadline of every command, at the start: long enough for a message to be sent again.
pub(crate) const DEADLINE: Ticks = RESEND_AFTER + 2;
/// An age beyond every limit.
pub(crate) const AGE_MAX: Ticks = RESEND_AFTER;

/// The present, in milliseconds since 1970. Ages are differences from it.
const NOW_MS: i64 = 1_800_000_000_000;
const TICK_MS: i64 = 2_000;
const _: () = assert!(TICK.as_millis() == TICK_MS as u128);

/// Returns an age that is a tick higher.
pub(crate) fn older(age: Ticks) -> Ticks {
    (age + 1).min(AGE_MAX)
}

pub(crate) fn duration(ticks: Ticks) -> Duration {
    TICK * u32::from(ticks)
}

/// Returns the ticks after which a wait has ended.
pub(crate) fn ticks(wait: Duration) -> Ticks {
    Ticks::try_from(wait.as_millis().div_ceil(TICK.as_millis())).expect("waits are a few ticks long")
}

/// Returns the time of an age, in milliseconds since 1970.
pub(crate) fn unix_ms(age: Ticks) -> i64 {
    NOW_MS - i64::from(age) * TICK_MS
}

/// Returns the age of a time.
pub(crate) fn age(unix_ms: i64) -> Ticks {
    Ticks::try_from((NOW_MS - unix_ms) / TICK_MS).expect("ages are few ticks").min(AGE_MAX)
}

/// A moment of this age by the wall clock, and the present. The process was suspended for `suspended` of that time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) begun: Moment,
    pub(crate) now: Moment,
}

impl Clocks {
    pub(crate) fn of(age: Ticks, suspended: Ticks) -> Self {
        let instant = Instant::now();
        let begun = Moment { instant, unix_ms: unix_ms(age) };
        let now = Moment { instant: instant + duration(age.saturating_sub(suspended)), unix_ms: NOW_MS };
        Self { begun, now }
    }

    /// Returns the age of the moment.
    pub(crate) fn age(self) -> Option<Duration> {
        self.begun.age_at(self.now)
    }
}
