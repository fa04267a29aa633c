//! The parts that can be measured alone, and what the page says about each.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A part of the measurements, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// Ingress against the baseline receiver.
    Ingress,
    /// The same two at a series of rates, up to more than they carry.
    Rates,
    /// Ingress against FastAPI with nats-py.
    Fastapi,
    /// Ingress against Fastify with nats.js.
    Fastify,
    /// Ingress against a Go program over Benthos.
    Benthos,
    /// The normalizer against the baseline loop.
    Normalizer,
    /// From the first byte to the readable event.
    EndToEnd,
    /// Sends a second, and a channel beside a slow one.
    Sender,
    /// Sends a second on a server that syncs every message.
    SenderSynced,
    /// Ingress and sender on servers that sync every message, with batches and without.
    GroupCommit,
    /// Media against the baseline handler.
    Media,
    /// The timeline's embedded store: rows a second, look-ups, bytes.
    Timeline,
    /// The same for its store in PostgreSQL, with a quarter of the rows.
    TimelinePostgres,
    /// From the first byte to the readable event with the timeline beside, against without.
    TimelineBeside,
}

impl Part {
    /// Its name on the command line and in JSON.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no part is hidden").get_name().to_owned()
    }

    /// Whether its figures depend on the time of a disk's sync.
    pub(crate) fn syncs(self) -> bool {
        matches!(self, Self::SenderSynced | Self::GroupCommit | Self::Timeline | Self::TimelinePostgres)
    }

    /// Whether the measured code runs in the benchmark's own process, which then may use all CPUs.
    pub(crate) fn is_in_process(self) -> bool {
        matches!(self, Self::Timeline | Self::TimelinePostgres)
    }

    /// Heading of its table. Consecutive parts with the same heading share one.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Rates => "Ingress at a series of rates",
            Self::Fastapi | Self::Fastify | Self::Benthos => {
                "Ingress against what people would write instead"
            }
            Self::Normalizer => "Normalizer",
            Self::EndToEnd => "From the first byte to the readable event",
            Self::Sender => "Sender",
            Self::SenderSynced => "Sender on a server that syncs every message",
            Self::GroupCommit => "Group commit on servers that sync every message",
            Self::Media => "Media",
            Self::Timeline => "The timeline's store",
            Self::TimelinePostgres => "The timeline's store in PostgreSQL",
            Self::TimelineBeside => "The path of messages with the timeline beside it",
        }
    }

    /// Name of the program that imchannel is compared with, as the head of a column.
    pub(crate) fn other(self) -> &'static str {
        match self {
            Self::Fastapi | Self::Fastify | Self::Benthos => "the other",
            Self::Sender => "alone",
            Self::GroupCommit => "without batches",
            Self::TimelineBeside => "without the timeline",
            Self::SenderSynced => "the stream alone",
            _ => "bare",
        }
    }

    /// What is measured, and how.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Ingress => {
                "Ingress in a process of its own against the bare receiver (`crates/bench/src/baseline.rs`: credential \
                 compared, body published, acknowledgement awaited; no id, no headers, no limits, no metrics), 64 \
                 connections. The constant rate is half of what the bare receiver answers."
            }
            Self::Rates => {
                "The same two programs at constant rates, as shares of what the bare receiver answers as fast as it can. \
                 The latency of a request that waits for a free connection counts from when it was due."
            }
            Self::Fastapi | Self::Fastify | Self::Benthos => {
                "Receivers of the same guarantees (constant-time comparison, id by hash, 200 after the acknowledgement, \
                 a limit of the body; `bench/comparison`), one process each, 64 connections."
            }
            Self::Normalizer => {
                "One normalizer against a bare loop that pulls, parses the JSON, publishes the payload without headers \
                 and acknowledges, all in one task. The normalizer works in a lane for each core; its log goes to a file. \
                 The CPU time of a webhook is compared between many that wait (`--backlog`) and 10,000, with new servers \
                 each time."
            }
            Self::EndToEnd => {
                "Ingress, normalizer, nats-server, the load and a reader of EVENTS beside each other, measured at half \
                 of what they carry together; then the bare receiver, the bare loop and a reader at the same rate."
            }
            Self::Sender => {
                "One sender process over 20 channels against a simulated account whose every answer takes 50 ms; the \
                 commands wait already. Intent, call, outcome, result and acknowledgement of each; the account shares \
                 the machine. The server's default sync. The memory of 1,000 channels without commands is read when all of \
                 their lanes are ready to send."
            }
            Self::SenderSynced => {
                "The same on one server with `sync_interval: always`, which is what compose runs, beside what the \
                 ledger's stream stores alone before and after each round, 500 writes in flight. A send writes the \
                 ledger twice, its result and its acknowledgement, so a ratio of 0.5 cannot be exceeded."
            }
            Self::GroupCommit => {
                "`sync_interval: always`. Ingress and sender with batches against the same programs with \
                 `IMCHANNEL_GROUP_COMMIT=off` on one server, which then syncs every message alone; and on three \
                 servers, where imchannel uses no batches, because they sync together what comes at the same time."
            }
            Self::Media => {
                "Files of 100 KB over 64 connections and of 10 MB over 8, against a bare axum handler that returns the \
                 value out of Redis. Media also asks for what is known of the file, checks whose it is, sets its expiry, \
                 writes three lines and publishes an event. The last row is of a process that serves nothing else: no \
                 client reads on before all have the head of their response."
            }
            Self::Timeline => {
                "SQLite, filled in large batches with the lives of sent messages (command, attempt, result, three \
                 reports and their webhooks) over 30 days; then look-ups of random messages by three ids, and listings \
                 of random customers, one after the other, of the store and, with the program `imchannel-timeline` \
                 over it, by HTTP."
            }
            Self::TimelinePostgres => {
                "The same, one batch after the other, into a PostgreSQL server on the same machine that syncs each \
                 commit; a quarter of the rows."
            }
            Self::TimelineBeside => {
                "From the first byte to the readable event, with `imchannel-timeline` reading the streams into SQLite on \
                 the same machine, against the same programs without it. 300 and 3,000 webhooks/s: three reports of each of \
                 100 and 1,000 messages/s. Each round measures twice without the timeline. The largest ratio of the two, in either \
                 direction, is the noise, and the aim is to be within it."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_on_the_command_line_and_in_json_are_the_same() {
        for part in Part::value_variants() {
            assert_eq!(serde_json::to_value(part).expect("JSON"), part.name());
        }
    }

    #[test]
    fn parts_of_one_table_are_beside_each_other() {
        let mut headings: Vec<&str> = Part::value_variants().iter().map(|part| part.heading()).collect();
        headings.dedup();
        let count = headings.len();
        headings.sort_unstable();
        headings.dedup();
        assert_eq!(headings.len(), count);
    }
}
