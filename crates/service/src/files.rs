//! How many files a process may have open. Each connection is one, and so are those to NATS and to Redis, and the ports
//! themselves: callers that took all of them would also take the one on which `/ready` is asked.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files reserved for everything but the connections of public ports: the admin port, NATS, Redis, calls to BSPs.
const FILES_RESERVED: u64 = 384;

/// Raises the limit to as much as the process may raise it. Many systems start programs with 1,024 and allow far more.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// How many connections a public port may have that is set to `wanted`: half of what is left for such ports at most, as a
/// process may have two of them (`imchannel up`).
pub(crate) fn connections_max(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let room = usize::try_from(files.saturating_sub(FILES_RESERVED) / 2).unwrap_or(usize::MAX).max(1);
    if room < wanted {
        tracing::warn!(
            function = "http",
            "{wanted} connections are more than the limit of open files ({files}) has room for: {room} are taken; raise the \
             limit (ulimit -n, LimitNOFILE)"
        );
    }
    wanted.min(room)
}
