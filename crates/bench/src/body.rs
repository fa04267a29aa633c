//! Request bodies: one report each, all different, so that deduplication makes neither side cheaper.

use std::sync::atomic::{AtomicU64, Ordering};

/// Unique bodies for all connections.
#[derive(Debug)]
pub(crate) struct Bodies {
    run: u32,
    next: AtomicU64,
}

impl Bodies {
    pub(crate) fn new() -> Self {
        let now = jiff::Timestamp::now().as_nanosecond();
        Self { run: (now / 1000) as u32, next: AtomicU64::new(0) }
    }

    /// The number of the next body.
    pub(crate) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the body of a number, in the form of Infobip's reports in the AICC's document.
    pub(crate) fn write(&self, number: u64, into: &mut Vec<u8>) {
        let run = self.run;
        into.extend_from_slice(b"{ \"results\": [ { \"messageId\": \"");
        into.extend_from_slice(format!("{run:08x}-c9e9-4eda-b5c0-{number:012}").as_bytes());
        into.extend_from_slice(
            b"\", \"bulkId\": \"111111\", \"to\": \"8618257518838\", \"status\": { \"groupName\": \"UNDELIVERABLE\", \
              \"groupId\": 4, \"description\": \"UNDELIVERABLE\" } } ] }",
        );
    }

    /// Returns the number in a message id, if it belongs to one of these bodies.
    pub(crate) fn number_of(&self, message_id: &str) -> Option<u64> {
        let rest = message_id.strip_prefix(&format!("{:08x}-", self.run))?;
        rest.rsplit('-').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_told_by_its_message_id() {
        let bodies = Bodies::new();
        for number in [0, 1, 999_999_999_999] {
            let mut body = Vec::new();
            bodies.write(number, &mut body);
            let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            let message_id = json["results"][0]["messageId"].as_str().expect("an id");
            assert_eq!(bodies.number_of(message_id), Some(number));
        }
        assert_eq!(bodies.number_of("another"), None);
    }
}
