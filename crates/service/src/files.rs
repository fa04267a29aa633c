//! The limit of open files of the process. Each connection is one, and so are those to NATS and Redis, and
//! the ports themselves. If callers took all of them, the admin port with `/ready` would fail too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files reserved for everything but the connections of public ports: the admin port, NATS, Redis, calls to BSPs.
const FILES_RESERVED: u64 = 384;

/// Raises the limit to the maximum that the process may set. Many systems start programs with 1,024 and allow
/// far more.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// The number of connections for a public port that is set to `wanted`: at most half of the files that are
/// available for public ports, because a process may have two ports (`imchannel up`).
pub(crate) fn connections_max(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let room = usize::try_from(files.saturating_sub(FILES_RESERVED) / 2).unwrap_or(usize::MAX).max(1);
    if room < wanted {
        tracing::warn!(
            function = "http",
            "the limit of open files ({files}) is too low for {wanted} connections: the port accepts {room}; raise the limit \
             (ulimit -n, LimitNOFILE)"
        );
    }
    wanted.min(room)
}
