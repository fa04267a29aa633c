//! Delivery of an accepted message: its file is fetched, with HEAD and then with GET; the customer receives and reads
//! it; and reports are posted to the gateway.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use sha2::{Digest, Sha256};

use super::schema;
use super::{Fetched, InfobipApi};
use crate::delivery::{self, Destination};
use crate::event::{Event, Ids, Report, Step};

/// The business number in reports.
const BUSINESS: &str = "447860099299";
/// Time from the message to its delivery, and from its delivery to its reading.
const STEP_PAUSE: Duration = Duration::from_millis(150);
/// EC_MEDIA_HOSTING_ERROR and similar errors are reported as a failure; this is the index in the list of failures.
const FAILURE: usize = 0;

impl InfobipApi {
    /// Delivers the message with this number of accepted messages before it.
    pub(super) async fn deliver(self, count: usize) {
        let Some(message) = self.state().taken_after(count).cloned() else { return };
        let mut step = Step::Delivered;
        if let Some(url) = schema::file_url(&message.content) {
            let fetched = self.fetch(url).await;
            if fetched.is_err() {
                step = Step::Failed(FAILURE);
            }
            if let Some(entry) = self.state().taken_after(count) {
                match fetched {
                    Ok(file) => entry.file = Some(file),
                    Err(fault) => entry.fault = Some(fault),
                }
            }
        }
        if self.state().faults.of(&message.recipient).without_reports {
            return;
        }
        let Some(Some(target)) = self.scenarios.get(&message.scenario) else { return };
        let steps = if step == Step::Delivered { &[Step::Delivered, Step::Read][..] } else { &[step][..] };
        for step in steps {
            tokio::time::sleep(STEP_PAUSE).await;
            let report = Event::Report(Report {
                ids: Ids { message: message.message_id.clone(), whatsapp: String::new() },
                customer: message.recipient.clone(),
                business: BUSINESS.to_owned(),
                step: *step,
                callback_data: message.callback_data.clone(),
                at: now_in_milliseconds(),
            });
            let body = target.client.body(&target.endpoint, &[report]);
            delivery::post(&self.caller, &self.plan, Destination { position: 0, target }, &body, &self.tally)
                .await;
        }
    }

    /// Fetches a file like Infobip: first HEAD, whose type and length the GET must repeat.
    async fn fetch(&self, url: &str) -> Result<Fetched, String> {
        let head = self.caller.client.head(url).send().await.map_err(|error| error.to_string())?;
        if head.status() != 200 {
            return Err(format!("HEAD was answered {}", head.status()));
        }
        let text = |headers: &reqwest::header::HeaderMap, name| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let announced = (text(head.headers(), CONTENT_TYPE), text(head.headers(), CONTENT_LENGTH));
        let mut answer = self.caller.client.get(url).send().await.map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            return Err(format!("GET was answered {}", answer.status()));
        }
        let content_type = text(answer.headers(), CONTENT_TYPE);
        let mut hash = Sha256::new();
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
            hash.update(&piece);
            bytes += piece.len() as u64;
        }
        let got = (content_type.clone(), bytes.to_string());
        if got != announced {
            return Err(format!("HEAD announced {announced:?} and GET delivered {got:?}"));
        }
        Ok(Fetched { content_type, bytes, sha256: hex::encode(hash.finalize()) })
    }
}

fn now_in_milliseconds() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default()
}
