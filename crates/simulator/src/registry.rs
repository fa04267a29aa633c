//! The list of simulated BSPs: the only file that names them all.

use bsp::BspId;

use crate::bsp_client::BspClient;
use crate::{gupshup, infobip, koomessage, twilio};

/// The simulated BSPs, by their names in URLs.
static CLIENTS: [(&str, &dyn BspClient); 4] = [
    ("infobip", &infobip::Infobip),
    ("koomessage", &koomessage::KooMessage),
    ("gupshup", &gupshup::Gupshup),
    ("twilio", &twilio::Twilio),
];

/// The simulated BSP with an id; `None` if it is not simulated.
pub(crate) fn find(bsp: BspId) -> Option<&'static dyn BspClient> {
    CLIENTS.iter().find(|(name, _)| *name == bsp.as_str()).map(|(_, client)| *client)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::StatusCode;

    use super::*;
    use crate::bsp_client::Failure;
    use crate::plan::{Mix, Plan, RunTag, TwilioRetries};

    fn plan(twilio_retries: TwilioRetries) -> Plan {
        let run = RunTag(1);
        Plan { rate_per_s: 1.0, count: None, seed: 1, run, speed: 60.0, mix: Mix::default(), twilio_retries }
    }

    /// The delays of a BSP that is refused in the same way every time.
    fn waits(bsp: &dyn BspClient, failure: Failure, retries: TwilioRetries) -> Vec<u64> {
        let plan = plan(retries);
        (0..100)
            .map_while(|repeat| bsp.retry_delay(repeat, failure, &plan))
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
        assert!(gupshup.is_success(StatusCode::NO_CONTENT, b""));
        assert!(!gupshup.is_success(StatusCode::OK, b"ok"));
        assert_eq!(waits(gupshup, Failure::TimedOut, TwilioRetries::All).len(), 3);
        assert_eq!(gupshup.greetings().len(), 2);
        let koomessage = &koomessage::KooMessage;
        assert!(!koomessage.is_success(StatusCode::NO_CONTENT, b""));
        assert!(waits(koomessage, Failure::Broken, TwilioRetries::All).is_empty());
    }
}
