//! Why a stream, consumer or bucket could not be created or read.

use async_nats::jetstream;

use crate::provision::difference::Object;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A stream, consumer or bucket could not be created or read.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The server does not have enough storage for a stream or bucket.
    #[error("{room}")]
    NoRoom {
        /// What does not fit.
        room: InsufficientStorage,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// A cluster has no place for a stream or bucket with that many replicas.
    #[error(
        "{object} cannot have {replicas} replicas: the cluster does not have that many servers with enough storage. `cluster_size` in `/jsz` \
         of a server's monitoring port says how many it has; a server that a new cluster left out joins it when it is restarted"
    )]
    TooFewServers {
        /// What was to be created or updated.
        object: Object,
        /// The replicas that were asked for.
        replicas: usize,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// A stream could not be created or read.
    #[error("cannot create, update or read stream {name}")]
    Stream {
        /// Its name.
        name: &'static str,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// A durable consumer could not be created or read.
    #[error("cannot create, update or read durable {name} of stream {stream}")]
    Durable {
        /// Its stream.
        stream: &'static str,
        /// Its name.
        name: String,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// A bucket could not be created or read.
    #[error("cannot create, update or read bucket {name}")]
    Bucket {
        /// Its name.
        name: &'static str,
        /// Response of the server.
        #[source]
        source: Source,
    },
}

impl ProvisionError {
    /// Whether JetStream has answered the request for a stream with an error: it has no leader, because most of its
    /// replicas are offline. A request without permission gets no answer.
    pub fn is_jetstream_error(&self) -> bool {
        use jetstream::context::{GetStreamError, GetStreamErrorKind};
        let Self::Stream { source, .. } = self else { return false };
        let error = source.downcast_ref::<GetStreamError>();
        error.is_some_and(|error| matches!(error.kind(), GetStreamErrorKind::JetStream(_)))
    }
}

/// A stream (or the stream of a bucket) whose configured size exceeds the server's free file storage. All sizes are in
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsufficientStorage {
    /// What does not fit.
    pub object: Object,
    /// The requested size.
    pub asked: u64,
    /// Its size until now; 0 if it does not exist yet.
    pub had: u64,
    /// Size of all streams and buckets of imchannel together, including this one.
    pub reserved: u64,
}

impl std::fmt::Display for InsufficientStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object, asked, had, reserved } = self;
        write!(
            f,
            "{object} cannot have {}: the limit max_file_store of NATS does not allow it. Imchannel's streams and buckets reserve {} \
             of it, and would reserve {}",
            size(*asked),
            size(*reserved),
            size((reserved + asked).saturating_sub(*had))
        )
    }
}

/// `4.0 GiB`, `256.0 MiB`
fn size(bytes: u64) -> String {
    /// Bytes of a MiB.
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = bytes as f64 / MIB;
    if mib >= 1024.0 { format!("{:.1} GiB", mib / 1024.0) } else { format!("{mib:.1} MiB") }
}

pub(crate) fn stream_error(name: &'static str, source: impl Into<Source>) -> ProvisionError {
    ProvisionError::Stream { name, source: source.into() }
}

pub(crate) fn durable_error(stream: &'static str, name: &str, source: impl Into<Source>) -> ProvisionError {
    ProvisionError::Durable { stream, name: name.to_owned(), source: source.into() }
}
