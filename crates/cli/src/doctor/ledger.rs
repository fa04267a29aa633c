//! Checks whether a full ledger of sends fits into the memory of the NATS servers. A server reports its memory limit
//! only if it runs with GOMEMLIMIT, from version 2.11.

use bus::inspect::StreamInfo;
use bus::ledger_size;
use bus::streams::SENDS_BUCKET;

use super::finding::{Check, Finding, bytes};
use super::monitor::Monitor;
use super::probe::Probe;

const MEMORY: Check = Check("nats.memory");

/// Returns the finding about the server with the least memory, or `None` if no server reports a limit.
pub(super) fn evaluate(
    streams: &Probe<Vec<StreamInfo>>,
    monitors: &[(String, Probe<Monitor>)],
) -> Option<Finding> {
    let ledger = streams.iter().flatten().find(|stream| stream.name == SENDS_BUCKET.stream)?;
    let limit = monitors.iter().filter_map(|(_, monitor)| monitor.as_ref().ok()?.memory_limit).min()?;
    let max = ledger.max_bytes?;
    let need = ledger_size::server_memory(max);
    let what = format!(
        "a full ledger of {} needs about {} of memory on a NATS server, whose limit is {}",
        bytes(max),
        bytes(need),
        bytes(limit)
    );
    if need <= limit {
        return Some(MEMORY.ok(what));
    }
    Some(MEMORY.warning(
        what,
        "A server keeps every key of the ledger in memory. It would be killed for its memory use before the ledger is full.",
        "Give the servers more memory (the container's limit and GOMEMLIMIT), or lower IMCHANNEL_SENDS_MAX_SIZE.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::capacity::tests::stream;
    use crate::doctor::finding::Level;
    use crate::doctor::monitor::tests::with_memory;

    /// Bytes of a MiB.
    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_ledger_that_does_not_fit_the_servers_memory_is_reported() {
        let streams = Ok(vec![stream("KV_imchannel_sends", 0, 4096 * MIB)]);
        let level = |limits: &[Option<u64>]| {
            let monitors: Vec<_> =
                limits.iter().map(|limit| ("url".to_owned(), Ok(with_memory(*limit)))).collect();
            evaluate(&streams, &monitors).map(|finding| finding.level)
        };
        assert_eq!(level(&[]), None);
        assert_eq!(level(&[None]), None);
        assert_eq!(level(&[Some(4200 * MIB)]), Some(Level::Ok));
        assert_eq!(level(&[Some(4200 * MIB), Some(800 * MIB)]), Some(Level::Warning));
    }
}
