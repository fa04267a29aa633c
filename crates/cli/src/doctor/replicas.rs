//! Copies of the streams: as many as the cluster can have, and all of them there.

use bus::inspect::StreamSeen;

use super::finding::{Check, Finding, names};
use super::gather::Look;

const REPLICAS: Check = Check("streams.replicas");
const COPIES: Check = Check("streams.copies");

const LEADERLESS: &str = "Without a leader a stream takes and gives nothing: most of its copies are away.";
const BRING_BACK: &str =
    "Bring the servers of the cluster back; their /jsz at the monitoring port shows which are missing.";

/// `cluster_size` is the number of servers, as far as it is known; `is_cluster` whether there are several.
pub(super) fn judge(
    streams: &Look<Vec<StreamSeen>>,
    is_cluster: bool,
    cluster_size: Option<u64>,
) -> Vec<Finding> {
    match streams {
        Ok(streams) => vec![judge_replicas(streams, is_cluster, cluster_size), judge_copies(streams)],
        Err(error) => vec![REPLICAS.unseen(error), judge_unanswered(error)],
    }
}

/// A question that is not allowed gets no answer. Where JetStream itself answers that it cannot say, a majority is away.
fn judge_unanswered(error: &str) -> Finding {
    if !error.contains("jetstream error") {
        return COPIES.unseen(error);
    }
    COPIES.error(format!("JetStream cannot say how a stream is: {error}"), LEADERLESS, BRING_BACK)
}

/// The least that a stream has.
pub(super) fn least(streams: &Look<Vec<StreamSeen>>) -> Option<usize> {
    streams.as_ref().ok()?.iter().map(|stream| stream.replicas.max(1)).min()
}

fn judge_replicas(streams: &[StreamSeen], is_cluster: bool, cluster_size: Option<u64>) -> Finding {
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
        let what = format!("the cluster has {servers}, and there is one copy of {}", names(&single));
        let why = "With the one server that holds it, or its disk, the stream is gone; while that server restarts nothing is taken.";
        return REPLICAS.warning(what, why, remedy).about(single);
    }
    if !even.is_empty() {
        let what = format!("there is an even number of copies of {}", names(&even));
        let why = "A majority must be there to store anything: two copies stop with the loss of one, as one copy does, and four bear no more than three.";
        return REPLICAS.warning(what, why, remedy).about(even);
    }
    if single.is_empty() {
        let least = streams.iter().map(|stream| stream.replicas).min().unwrap_or(1);
        return REPLICAS.ok(format!("there are {least} copies of every stream"));
    }
    REPLICAS.ok("one server holds one copy of every stream: with its disk everything is lost, and while it restarts ingress answers 503")
}

fn judge_copies(streams: &[StreamSeen]) -> Finding {
    let of = |test: &dyn Fn(&StreamSeen) -> bool| -> Vec<String> {
        streams.iter().filter(|stream| test(stream)).map(|stream| stream.name.to_owned()).collect()
    };
    let leaderless = of(&|stream| stream.has_leader == Some(false));
    if !leaderless.is_empty() {
        return COPIES
            .error(format!("no server leads {}", names(&leaderless)), LEADERLESS, BRING_BACK)
            .about(leaderless);
    }
    let gone = |stream: &StreamSeen| {
        stream.peers.iter().any(|peer| peer.is_offline) || stream.peers.len() + 1 < stream.replicas
    };
    let is_behind = |stream: &StreamSeen| stream.peers.iter().any(|peer| !peer.is_current);
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
                format!("copies of {} are away or behind ({})", names(&incomplete), names(&servers)),
                "The loss of one more server may stop the stream.",
                "Bring that server back, or wait until it has caught up, before another one is restarted.",
            )
            .about(incomplete);
    }
    COPIES.ok("every copy of every stream is there and has everything")
}

#[cfg(test)]
mod tests {
    use bus::inspect::PeerSeen;

    use super::*;
    use crate::doctor::fill::tests::stream;
    use crate::doctor::finding::Level;

    fn peer(is_current: bool, is_offline: bool) -> PeerSeen {
        PeerSeen { name: "n2".to_owned(), is_current, is_offline }
    }

    fn with(replicas: usize, peers: Vec<PeerSeen>, has_leader: Option<bool>) -> StreamSeen {
        StreamSeen { replicas, peers, has_leader, ..stream("EVENTS", 0, 1) }
    }

    #[test]
    fn copies_fit_the_cluster() {
        let level = |replicas, is_cluster| {
            judge_replicas(&[with(replicas, Vec::new(), None)], is_cluster, Some(3)).level
        };
        assert_eq!(level(1, false), Level::Ok);
        assert_eq!(level(1, true), Level::Warning);
        assert_eq!(level(2, true), Level::Warning);
        assert_eq!(level(3, true), Level::Ok);
    }

    #[test]
    fn a_majority_that_is_away_is_told_from_a_question_that_is_not_allowed() {
        let level = |error: &str| judge(&Err(error.to_owned()), true, Some(3))[1].level;
        assert_eq!(level("stream EVENTS: jetstream error: stream is offline (code 500)"), Level::Error);
        assert_eq!(level("stream EVENTS: request timed out"), Level::Unknown);
    }

    #[test]
    fn a_stream_needs_a_leader_and_its_copies() {
        let level = |replicas, peers, leader| judge_copies(&[with(replicas, peers, leader)]).level;
        assert_eq!(level(1, vec![], None), Level::Ok);
        assert_eq!(level(3, vec![peer(true, false), peer(true, false)], Some(true)), Level::Ok);
        assert_eq!(level(3, vec![peer(true, false), peer(false, false)], Some(true)), Level::Warning);
        assert_eq!(level(3, vec![peer(true, false), peer(true, true)], Some(true)), Level::Warning);
        assert_eq!(level(3, vec![peer(true, false)], Some(true)), Level::Warning);
        assert_eq!(level(3, vec![peer(true, false), peer(true, false)], Some(false)), Level::Error);
    }
}
