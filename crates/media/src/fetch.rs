//! One fetch of a file by the BSP, while it is served and for what is recorded of it.

use std::ops::Range;
use std::time::Duration;

use blob::Opened;
use bsp::media::{MediaId, MediaKind};
use bsp::{BspId, ChannelId, registry};
use jiff::Timestamp;

/// A fetch, with the data of its log line and event.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) kind: MediaKind,
    pub(crate) id: MediaId,
    pub(crate) is_head: bool,
    /// Empty if the whole file was requested.
    pub(crate) range: String,
    pub(crate) bytes: u64,
    /// Time until the longest TTL ends; `None` if the file's upload time is unknown.
    pub(crate) ttl_left: Option<Duration>,
    pub(crate) channel: Option<(BspId, ChannelId)>,
    pub(crate) command: String,
    pub(crate) ended_at: Timestamp,
}

impl Fetch {
    pub(crate) fn new(
        kind: MediaKind,
        id: MediaId,
        is_head: bool,
        opened: &Opened,
        bytes: Range<u64>,
    ) -> Self {
        let meta = opened.meta.as_ref();
        let channel = meta.and_then(|meta| {
            let bsp = registry::find(&meta.bsp)?.profile().id;
            Some((bsp, ChannelId::parse(&meta.channel).ok()?))
        });
        let is_whole = bytes == (0..opened.size);
        Self {
            kind,
            id,
            is_head,
            range: if is_whole { String::new() } else { format!("{}-{}", bytes.start, bytes.end - 1) },
            bytes: 0,
            ttl_left: meta.map(|meta| meta.remaining_ttl(Timestamp::now())),
            channel,
            command: meta.map(|meta| meta.command.clone()).unwrap_or_default(),
            ended_at: Timestamp::now(),
        }
    }

    pub(crate) fn id(&self) -> &MediaId {
        &self.id
    }

    /// Counts bytes that were written to the connection.
    pub(crate) fn handed_over(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

/// The function name in a fetch's log lines.
pub(crate) fn log_function(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "onGetImageMessage",
        MediaKind::Document => "onGetDocumentMessage",
        MediaKind::Audio => "onGetAudioMessage",
        MediaKind::Video => "onGetVideoMessage",
    }
}
