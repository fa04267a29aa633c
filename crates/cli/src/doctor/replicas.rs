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

/// What is known of the servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cluster {
    /// Whether there are several.
    pub(super) is_cluster: bool,
    /// Their number, if known.
    pub(super) size: Option<u64>,
    /// Whether JetStream has answered the request for a stream with an error. Then a majority is offline.
    pub(super) refuses_streams: bool,
}

pub(super) fn evaluate(streams: &Probe<Vec<StreamInfo>>, cluster: &Cluster) -> Vec<Finding> {
    match streams {
        Ok(streams) => vec![evaluate_replicas(streams, cluster), evaluate_copies(streams)],
        Err(error) => vec![REPLICAS.unseen(error), evaluate_unanswered(error, cluster)],
    }
}

fn evaluate_unanswered(error: &str, cluster: &Cluster) -> Finding {
    if !cluster.refuses_streams {
        return COPIES.unseen(error);
    }
    COPIES.error(format!("JetStream cannot report the state of a stream: {error}"), LEADERLESS, BRING_BACK)
}

/// Returns the lowest number of replicas of any stream.
pub(super) fn least(streams: &Probe<Vec<StreamInfo>>) -> Option<usize> {
    streams.as_ref().ok()?.iter().map(|stream| stream.replicas.max(1)).min()
}

fn evaluate_replicas(streams: &[StreamInfo], cluster: &Cluster) -> Finding {
    let with = |test: &dyn Fn(usize) -> bool| -> Vec<String> {
        let found = streams.iter().filter(|stream| test(stream.replicas.max(1)));
        found.map(|stream| stream.name().to_owned()).collect()
    };
    let (single, even) = (with(&|replicas| replicas == 1), with(&|replicas| replicas % 2 == 0));
    let servers = cluster.size.map_or_else(|| "several servers".to_owned(), |size| format!("{size} servers"));
    let remedy = "Run `imchannel streams apply --replicas 3` (with the other sizes of this installation).";
    if streams.is_empty() {
        return REPLICAS.unknown("there are no streams", "", "");
    }
    if cluster.is_cluster && !single.is_empty() {
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
        streams.iter().filter(|stream| test(stream)).map(|stream| stream.name().to_owned()).collect()
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
    use bus::StreamId;
    use bus::inspect::PeerInfo;

    use super::*;
    use crate::doctor::capacity::tests::stream;
    use crate::doctor::finding::Level;

    const THREE: Cluster = Cluster { is_cluster: true, size: Some(3), refuses_streams: false };

    fn peer(is_current: bool, is_offline: bool) -> PeerInfo {
        PeerInfo { name: "n2".to_owned(), is_current, is_offline }
    }

    fn with(replicas: usize, peers: Vec<PeerInfo>, has_leader: Option<bool>) -> StreamInfo {
        StreamInfo { replicas, peers, has_leader, ..stream(StreamId::Events, 0, 1) }
    }

    #[test]
    fn copies_fit_the_cluster() {
        let level = |replicas, is_cluster| {
            evaluate_replicas(&[with(replicas, Vec::new(), None)], &Cluster { is_cluster, ..THREE }).level
        };
        assert_eq!(level(1, false), Level::Ok);
        assert_eq!(level(1, true), Level::Warning);
        assert_eq!(level(2, true), Level::Warning);
        assert_eq!(level(3, true), Level::Ok);
    }

    #[test]
    fn an_offline_majority_is_told_from_a_request_without_permission() {
        let level = |refuses_streams| {
            evaluate(&Err("stream EVENTS".to_owned()), &Cluster { refuses_streams, ..THREE })[1].level
        };
        assert_eq!(level(true), Level::Error);
        assert_eq!(level(false), Level::Unknown);
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
