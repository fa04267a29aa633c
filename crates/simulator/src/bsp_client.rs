//! The interface of a simulated BSP: format, authentication and timeouts.

use std::sync::Arc;
use std::time::Duration;

use bsp::BspId;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::event::{Event, Ids, Notice, Step};
use crate::expected::Expected;
use crate::plan::{Plan, RunTag};
use crate::target::Target;
use crate::{gupshup, infobip, koomessage, twilio};

/// A body and the expected events.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// `report` or `message`: the URL that this BSP posts it to.
    pub(crate) route: &'static str,
    pub(crate) bytes: Bytes,
    pub(crate) expected: Arc<[Expected]>,
}

/// Result of a call that was not answered 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Another status.
    Status(u16),
    /// The connection was refused.
    NotConnected,
    /// The BSP's timeout has passed.
    TimedOut,
    /// The connection was lost: it is unknown whether the webhook was accepted.
    Broken,
}

/// A simulated BSP.
pub(crate) trait BspClient: Sync {
    /// Whether it reports such a step.
    fn reports(&self, step: Step) -> bool;

    /// Most items in one of its bodies.
    fn batch_max(&self, _plan: &Plan) -> usize {
        1
    }

    /// Ids of a new message, in this BSP's form. Both contain the run's tag and end with the number as twelve
    /// hexadecimal digits.
    fn ids(&self, run: RunTag, number: u64, random: &mut fastrand::Rng) -> Ids;

    /// One body for these happenings.
    fn body(&self, target: &Target, happenings: &[Event]) -> Body;

    /// One body about the account or a customer; `None` if the BSP does not report it here.
    fn notice(&self, _target: &Target, _notice: &Notice) -> Option<Body> {
        None
    }

    /// Body that it posts before anything else.
    fn greetings(&self) -> Vec<Body> {
        Vec::new()
    }

    /// Whether it treats a response as success.
    fn is_satisfied(&self, status: StatusCode, _body: &[u8]) -> bool {
        status == StatusCode::OK
    }

    /// Timeout of a call.
    fn timeout(&self) -> Duration;

    /// Delay before the retry of this number, from 0; `None` if it gives up.
    fn wait_before(&self, repeat: u32, failure: Failure, plan: &Plan) -> Option<Duration>;

    /// The headers of its call.
    fn headers(&self, target: &Target, body: &Body) -> HeaderMap;

    /// Headers of the second call, if the response to the first requested a credential.
    fn answer_challenge(&self, _target: &Target, _challenge: &str) -> Option<HeaderMap> {
        None
    }
}

/// The only list of simulated BSPs.
static SENDERS: [(&str, &dyn BspClient); 4] = [
    ("infobip", &infobip::Infobip),
    ("koomessage", &koomessage::KooMessage),
    ("gupshup", &gupshup::Gupshup),
    ("twilio", &twilio::Twilio),
];

pub(crate) fn find(bsp: BspId) -> Option<&'static dyn BspClient> {
    SENDERS.iter().find(|(name, _)| *name == bsp.as_str()).map(|(_, sender)| *sender)
}

/// Creates headers from names and values that are known to be valid.
pub(crate) fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let Ok(value) = value.parse() {
            headers.insert(*name, value);
        }
    }
    headers
}

/// An id in the form of a UUID, with the run's tag at the beginning and the number at its end.
pub(crate) fn uuid(run: RunTag, number: u64, random: &mut fastrand::Rng) -> String {
    format!(
        "{run}-{:04x}-4{:03x}-8{:03x}-{number:012x}",
        random.u16(..),
        random.u16(..0x1000),
        random.u16(..0x1000)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Mix, TwilioRetries};

    fn plan(twilio_retries: TwilioRetries) -> Plan {
        let run = RunTag(1);
        Plan { rate_per_s: 1.0, count: None, seed: 1, run, speed: 60.0, mix: Mix::default(), twilio_retries }
    }

    /// The delays of a BSP that is refused in the same way every time.
    fn waits(bsp: &dyn BspClient, failure: Failure, retries: TwilioRetries) -> Vec<u64> {
        let plan = plan(retries);
        (0..100)
            .map_while(|repeat| bsp.wait_before(repeat, failure, &plan))
            .map(|wait| wait.as_secs())
            .collect()
    }

    #[test]
    fn infobip_goes_on_for_41_hours_and_a_half() {
        let waits = waits(&infobip::Infobip, Failure::Status(503), TwilioRetries::All);
        let minutes: Vec<u64> = waits.iter().map(|wait| wait / 60).collect();
        assert_eq!(minutes[..6], [1, 2, 5, 10, 17, 26]);
        assert_eq!((minutes.len(), minutes[19], minutes.iter().sum::<u64>()), (20, 362, 2490));
        assert_eq!(plan(TwilioRetries::All).scaled(Duration::from_secs(60)), Duration::from_secs(1));
    }

    #[test]
    fn twilio_repeats_what_its_url_asks_for() {
        let twilio = |failure, retries| waits(&twilio::Twilio, failure, retries).len();
        assert_eq!(twilio(Failure::Status(503), TwilioRetries::Default), 0);
        assert_eq!(twilio(Failure::TimedOut, TwilioRetries::Default), 0);
        assert_eq!(twilio(Failure::NotConnected, TwilioRetries::Default), 1);
        assert_eq!(twilio(Failure::Status(503), TwilioRetries::All), 5);
    }

    #[test]
    fn gupshup_waits_ten_seconds_for_an_empty_2xx_and_koomessage_repeats_nothing() {
        let gupshup = &gupshup::Gupshup;
        assert_eq!(gupshup.timeout(), Duration::from_secs(10));
        assert!(gupshup.is_satisfied(StatusCode::NO_CONTENT, b""));
        assert!(!gupshup.is_satisfied(StatusCode::OK, b"ok"));
        assert_eq!(waits(gupshup, Failure::TimedOut, TwilioRetries::All).len(), 3);
        assert_eq!(gupshup.greetings().len(), 2);
        let koomessage = &koomessage::KooMessage;
        assert!(!koomessage.is_satisfied(StatusCode::NO_CONTENT, b""));
        assert!(waits(koomessage, Failure::Broken, TwilioRetries::All).is_empty());
    }
}
