//! Checks of the replicas of streams: their number fits the cluster, and all of them are online and current.

use bus::inspect::StreamInfo;

use super::finding::{Check, Finding, names};
use super::probe::Probe;

const REPLICAS: Check = Check("streams.replicas");
const COPIES: Check = Check("streams.copies");

const LEADERLESS: &str =
    "Without a leader a stream accepts and delivers nothing: most of its replicas are offline.";
const BRING_BACK: &str =
    "Restart the missing servers of the cluster; /jsz of the monitoring port shows which ones.";

/// `cluster_size` is the number of servers, if known; `is_cluster` is whether there are several.
pub(super) fn evaluate(
    streams: &Probe<Vec<StreamInfo>>,
    is_cluster: bool,
    cluster_size: Option<u64>,
) -> Vec<Finding> {
    match streams {
        Ok(streams) => vec![evaluate_replicas(streams, is_cluster, cluster_size), evaluate_copies(streams)],
        Err(error) => vec![REPLICAS.unseen(error), evaluate_unanswered(error)],
    }
}

/// A request without permission gets no response. If JetStream itself responds with an error, a majority is offline.
fn evaluate_unanswered(error: &str) -> Finding {
    if !error.contains("jetstream error") {
        return COPIES.unseen(error);
    }
    COPIES.error(format!("JetStream cannot report the state of a stream: {error}"), LEADERLESS, BRING_BACK)
}

/// Returns the lowest number of replicas of any stream.
pub(super) fn least(streams: &Probe<Vec<StreamInfo>>) -> Option<usize> {
    streams.as_ref().ok()?.iter().map(|stream| stream.replicas.max(1)).min()
}

fn evaluate_replicas(streams: &[StreamInfo], is_cluster: bool, cluster_size: Option<u64>) -> Finding {
    let with = |test: &dyn Fn(usize) -> bool| -> Vec<String> {
        let found = streams.iter().filter(|stream| test(stream.replicas.max(1)));
        found.map(|stream| stream.name.to_owned()).collect()
    };
    let (single, even) = (with(&|replicas| replicas == 1), with(&|replicas| replicas % 2 == 0));
    let servers = cluster_size.map_or_else(|| "several servers".to_owned(), |size| format!("{size} servers"));
    let remedy = "Run `imchannel streams apply --replicas 3` (with the other sizes of this installation).";
    if streams.is_empty() {
        return REPLICAS.unknown("there are no streams", "", "");
    }
    if is_cluster && !single.is_empty() {
        let what =
            format!("the cluster has {servers}, and these streams have one replica: {}", names(&single));
        let why = "If the only server with the stream loses its disk, the stream is lost. While that server restarts, publishes are refused.";
        return REPLICAS.warning(what, why, remedy).about(single);
    }
    if !even.is_empty() {
        let what = format!("these streams have an even number of replicas: {}", names(&even));
        let why = "A stream needs a majority of its replicas. Two replicas tolerate no failure, like one, and four tolerate one, like three.";
        return REPLICAS.warning(what, why, remedy).about(even);
    }
    if single.is_empty() {
        let least = streams.iter().map(|stream| stream.replicas).min().unwrap_or(1);
        return REPLICAS.ok(format!("every stream has at least {least} replicas"));
    }
    REPLICAS.ok("one server stores one replica of every stream: if its disk fails, everything is lost, and while it restarts, ingress answers 503")
}

fn evaluate_copies(streams: &[StreamInfo]) -> Finding {
    let of = |test: &dyn Fn(&StreamInfo) -> bool| -> Vec<String> {
        streams.iter().filter(|stream| test(stream)).map(|stream| stream.name.to_owned()).collect()
    };
    let leaderless = of(&|stream| stream.has_leader == Some(false));
    if !leaderless.is_empty() {
        return COPIES
            .error(format!("no leader for {}", names(&leaderless)), LEADERLESS, BRING_BACK)
            .about(leaderless);
    }
    let gone = |stream: &StreamInfo| {
        stream.peers.iter().any(|peer| peer.is_offline) || stream.peers.len() + 1 < stream.replicas
    };
    let is_behind = |stream: &StreamInfo| stream.peers.iter().any(|peer| !peer.is_current);
    let incomplete = of(&|stream| gone(stream) || is_behind(stream));
    if !incomplete.is_empty() {
        let servers = streams.iter().flat_map(|stream| &stream.peers);
        let mut servers: Vec<String> = servers
            .filter(|peer| peer.is_offline || !peer.is_current)
            .map(|peer| peer.name.clone())
            .collect();
        servers.sort_unstable();
        servers.dedup();
        return COPIES
            .warning(
                format!("replicas of {} are offline or behind ({})", names(&incomplete), names(&servers)),
                "The loss of one more server may stop the stream.",
                "Restart that server, or wait until it has caught up, before you restart another one.",
            )
            .about(incomplete);
    }
    COPIES.ok("every replica of every stream is online and current")
}

#[cfg(test)]
mod tests {
    use bus::inspect::PeerInfo;

    use super::*;
    use crate::doctor::capacity::tests::stream;
    use crate::doctor::finding::Level;

    fn peer(is_current: bool, is_offline: bool) -> PeerInfo {
        PeerInfo { name: "n2".to_owned(), is_current, is_offline }
    }

    fn with(replicas: usize, peers: Vec<PeerInfo>, has_leader: Option<bool>) -> StreamInfo {
        StreamInfo { replicas, peers, has_leader, ..stream("EVENTS", 0, 1) }
    }

    #[test]
    fn copies_fit_the_cluster() {
        let level = |replicas, is_cluster| {
            evaluate_replicas(&[with(replicas, Vec::new(), None)], is_cluster, Some(3)).level
        };
        assert_eq!(level(1, false), Level::Ok);
        assert_eq!(level(1, true), Level::Warning);
        assert_eq!(level(2, true), Level::Warning);
        assert_eq!(level(3, true), Level::Ok);
    }

    #[test]
    fn an_offline_majority_is_told_from_a_request_without_permission() {
        let level = |error: &str| evaluate(&Err(error.to_owned()), true, Some(3))[1].level;
        assert_eq!(level("stream EVENTS: jetstream error: stream is offline (code 500)"), Level::Error);
        assert_eq!(level("stream EVENTS: request timed out"), Level::Unknown);
    }

    #[test]
    fn a_stream_needs_a_leader_and_its_replicas() {
        let level = |replicas, peers, leader| evaluate_copies(&[with(replicas, peers, leader)]).level;
        assert_eq!(level(1, vec![], None), Level::Ok);
        assert_eq!(level(3, vec![peer(true, false), peer(true, false)], Some(true)), Level::Ok);
        assert_eq!(level(3, vec![peer(true, false), peer(false, false)], Some(true)), Level::Warning);
        assert_eq!(level(3, vec![peer(true, false), peer(true, true)], Some(true)), Level::Warning);
        assert_eq!(level(3, vec![peer(true, false)], Some(true)), Level::Warning);
        assert_eq!(level(3, vec![peer(true, false), peer(true, false)], Some(false)), Level::Error);
    }
}
