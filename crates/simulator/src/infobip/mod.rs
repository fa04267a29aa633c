//! Infobip: batches, a long series of retries, `AccountKey`.
//!
//! Sources: Infobip's OpenAPI of the OMNI failover and WhatsApp APIs (3.210.0) for the bodies, its registry of status
//! codes, and the documents of `notifyUrl` for the retries (all read 2026-11). Its timeout is not published.

mod entry;
mod notice;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;

use crate::bsp_client::{self, Body, BspClient, Failure};
use crate::endpoint::Endpoint;
use crate::event::{Event, Ids, Notice, Step};
use crate::plan::{Plan, RunTag};

#[derive(Debug)]
pub(crate) struct Infobip;

/// Most retries of one webhook. After the last one, 41 h 30 min after the first attempt, the data is lost.
const RETRIES_MAX: u32 = 20;
/// One minute.
const MINUTE: Duration = Duration::from_secs(60);
/// Timeout of one webhook. Not published: assumed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// One in this many messages was sent through the gateway, which chose its id.
const OUR_IDS_ONE_IN: u64 = 4;

impl BspClient for Infobip {
    fn reports(&self, _step: Step) -> bool {
        true
    }

    fn batch_max(&self, plan: &Plan) -> usize {
        plan.mix.batch_max
    }

    fn ids(&self, run: RunTag, number: u64, random: &mut fastrand::Rng) -> Ids {
        let uuid = bsp_client::uuid(run, number, random);
        let message = if number.is_multiple_of(OUR_IDS_ONE_IN) { format!("imc-{uuid}") } else { uuid };
        Ids { message, whatsapp: String::new() }
    }

    fn body(&self, endpoint: &Endpoint, events: &[Event]) -> Body {
        let mut entries = Vec::new();
        let mut expected = Vec::new();
        for event in events {
            let (entry, outcome) = entry::entry(endpoint, event);
            entries.push(entry);
            expected.push(outcome);
        }
        let bytes = Bytes::from(format!("{{\"results\":[{}]}}", entries.join(",")));
        let all_messages = events.iter().all(|event| matches!(event, Event::Message(_)));
        Body { route: if all_messages { "message" } else { "report" }, bytes, expected: expected.into() }
    }

    fn notice(&self, endpoint: &Endpoint, notice: &Notice) -> Option<Body> {
        Some(notice::body(endpoint, notice))
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    /// One minute, and one more for the square of the retry's number.
    fn retry_delay(&self, repeat: u32, _failure: Failure, _plan: &Plan) -> Option<Duration> {
        (repeat < RETRIES_MAX).then(|| MINUTE * (1 + repeat * repeat))
    }

    fn headers(&self, endpoint: &Endpoint, _body: &Body) -> HeaderMap {
        bsp_client::headers(&[
            ("accountkey", &endpoint.password),
            ("content-type", "application/json; charset=utf-8"),
            ("user-agent", "java/socket"),
        ])
    }
}
