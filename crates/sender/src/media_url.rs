//! The URL at which the BSP fetches the file of a message. An external URL is used as it is, a stored file has the URL
//! of media, and a file inside the command is stored first.

use std::time::Duration;

use blob::{BlobError, BlobStore, Meta};
use bsp::command::{Command, Source};
use bsp::media::{self, MediaId, MediaKind};
use bsp::sending::MediaLink;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::account::Account;

/// Shortest TTL of a file that is about to be sent: the BSP may fetch it late.
const TTL_MIN: Duration = Duration::from_secs(24 * 3600);

/// URL of a file, for the BSP.
#[derive(Clone)]
pub(crate) struct FileLink {
    pub(crate) url: String,
    /// The name of the uploaded file; empty if it has none.
    file_name: String,
    /// Id of the file if media serves it.
    stored: Option<MediaId>,
}

/// Timeout of one write of bookkeeping about a file. No send depends on it.
const NOTE_LIMIT: Duration = Duration::from_millis(500);

impl FileLink {
    /// Returns the part that the BSP's request needs.
    pub(crate) fn as_link(&self) -> MediaLink<'_> {
        MediaLink { url: &self.url, is_ours: self.stored.is_some(), file_name: &self.file_name }
    }

    /// Records that a message with the file is being sent, so that the file is counted if it expires without a fetch.
    /// If Redis refuses, it is not counted, and the message is sent anyway.
    pub(crate) async fn track_fetch(&self, blobs: &BlobStore, now: Timestamp) {
        let Some(id) = &self.stored else { return };
        let _ = tokio::time::timeout(NOTE_LIMIT, blobs.track_fetch(id, now, TTL_MIN)).await;
    }

    /// Removes that record: the message was not sent.
    pub(crate) async fn untrack_fetch(&self, blobs: &BlobStore) {
        let ids = self.stored.iter();
        let _ = tokio::time::timeout(NOTE_LIMIT, blobs.untrack_fetches(ids)).await;
    }
}

/// Why a file has no URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The file does not exist or belongs to another tenant.
    #[error(
        "file not found: it was not uploaded, has expired, or belongs to another tenant; upload it again"
    )]
    NotFound,
    /// The kind of the file differs from the kind of the message.
    #[error(
        "the file was uploaded as another kind than the message has; upload it with the kind of the message"
    )]
    OtherKind,
    /// Redis is unreachable or full, or lacks its functions. A retry may succeed.
    #[error("Redis: {0}")]
    Store(#[from] BlobError),
}

/// A command whose file is prepared for the BSP.
#[derive(Clone, Copy)]
pub(crate) struct Preparation<'a> {
    pub(crate) blobs: &'a BlobStore,
    /// The URL of media, for BSPs.
    pub(crate) public_url: &'a str,
    pub(crate) account: &'a Account,
    pub(crate) command: &'a Command,
    pub(crate) now: Timestamp,
}

impl Preparation<'_> {
    /// Returns the URL of the command's file, or `None` for a command without one. It extends the TTL of a stored file
    /// and writes the command's name into it.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(crate) async fn link(self) -> Result<Option<FileLink>, LinkError> {
        let Self { blobs, public_url, account, command, .. } = self;
        let Some((kind, file)) = command.content.media() else { return Ok(None) };
        let (id, file_name) = match &file.source {
            Source::Url(url) => {
                return Ok(Some(FileLink { url: url.clone(), file_name: String::new(), stored: None }));
            }
            Source::Stored(id) => {
                let file_name = self.claim(kind, id).await?;
                name_command(blobs, id, command).await?;
                (id.clone(), file_name)
            }
            Source::Inline { data, content_type } => {
                let inline = Inline { kind, data, content_type, file_name: &file.file_name };
                let id = store(blobs, data, &self.about(inline)).await?;
                (id, file.file_name.clone())
            }
        };
        let url = format!("{public_url}{}", media::path(&account.tenant, kind, &id));
        Ok(Some(FileLink { url, file_name, stored: Some(id) }))
    }

    /// Checks that a stored file exists and may be sent, and extends its TTL. Returns the name of the uploaded file.
    async fn claim(self, kind: MediaKind, id: &MediaId) -> Result<String, LinkError> {
        let found = self.blobs.stat(id).await?.ok_or(LinkError::NotFound)?;
        let meta = found.meta.ok_or(LinkError::NotFound)?;
        if meta.tenant != self.account.tenant || meta.size != found.size {
            return Err(LinkError::NotFound);
        }
        if meta.kind != kind {
            return Err(LinkError::OtherKind);
        }
        let ttl = TTL_MIN.min(meta.remaining_ttl(self.now));
        if !self.blobs.extend_ttl(id, ttl).await? {
            return Err(LinkError::NotFound);
        }
        Ok(meta.file_name)
    }

    /// Returns the metadata of a file inside a command.
    fn about(self, inline: Inline<'_>) -> Meta {
        let Inline { kind, data, content_type, file_name } = inline;
        let Self { account, command, now, .. } = self;
        Meta {
            tenant: account.tenant.clone(),
            kind,
            content_type: content_type.to_owned(),
            size: data.len() as u64,
            sha256: hex::encode(Sha256::digest(data)),
            file_name: file_name.to_owned(),
            created_at: now,
            bsp: account.bsp.as_str().to_owned(),
            channel: account.channel.as_str().to_owned(),
            command: command.id.as_str().to_owned(),
        }
    }
}

/// Writes into a stored file which command it belongs to.
async fn name_command(blobs: &BlobStore, id: &MediaId, command: &Command) -> Result<(), BlobError> {
    match blobs.tag_command(id, command.id.as_str()).await {
        Ok(()) => Ok(()),
        // `setup` fixes this, and the fetch of a file that names no command is useless for the back end.
        Err(error @ (BlobError::NoFunctions | BlobError::MayNotCall(_))) => Err(error),
        // A full Redis refuses this. The message does not need it: waiting for memory would block the fetch that frees
        // memory.
        Err(error) => {
            tracing::debug!(
                function = "sender",
                "cannot write the command id {} into its file: {error}",
                command.id
            );
            Ok(())
        }
    }
}

/// A file inside a command.
struct Inline<'c> {
    kind: MediaKind,
    data: &'c [u8],
    content_type: &'c str,
    file_name: &'c str,
}

async fn store(blobs: &BlobStore, data: &[u8], about: &Meta) -> Result<MediaId, LinkError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| LinkError::NotFound)?;
    let id = MediaId::from_random(bits);
    let mut upload = blobs.upload(id.clone());
    upload.append(data).await?;
    upload.finish(about, TTL_MIN).await?;
    Ok(id)
}
