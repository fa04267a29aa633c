//! What an erasure cannot overwrite at once, with the time at which it is gone. Named in every answer, whether or not an installation
//! has it: the timeline does not see the servers' disks.

use jiff::{SignedDuration, Timestamp};

use crate::erasure::commands::LEDGER_KEPT;
use crate::erasure::state::Remaining;

/// Age after which DEADLETTERS, the stream that keeps messages longest, has dropped a message.
const STREAMS_KEPT: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How long a file that came inside a command stays in Redis.
const INLINE_FILES_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Everything that may remain after an erasure that ended at this time.
pub(super) fn everywhere(now: Timestamp) -> Vec<Remaining> {
    let until = |kept: SignedDuration| now.checked_add(kept).ok();
    let remaining = |what: &str, until: Option<Timestamp>| Remaining { what: what.to_owned(), until };
    vec![
        remaining(
            "entries of the ledger of sends: hashes of the commands, and older copies of entries in the files of its bucket",
            until(LEDGER_KEPT),
        ),
        remaining(
            "raft logs of NATS servers, where streams have replicas: until the servers have compacted them, at the latest",
            until(STREAMS_KEPT),
        ),
        remaining(
            "mirrors and sources of the streams, if you have set some up: until they drop the messages by their own limits",
            None,
        ),
        remaining(
            "back-ups and snapshots of NATS, Redis, the timeline and the logs' store: as long as you keep them",
            None,
        ),
        remaining("the append-only file and snapshots of Redis: until its next rewrite", None),
        remaining(
            "files that were inside commands and that no client fetched: no row has their id",
            until(INLINE_FILES_KEPT),
        ),
        remaining(
            "blocks of the disk that SQLite, NATS or the spool of ingress have given back: until they are used again",
            None,
        ),
        remaining("what the back end, the BSP and WhatsApp hold: ask them", None),
    ]
}
