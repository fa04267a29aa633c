//! Where the BSP will find the file of a message: a foreign URL as it is, a stored file under its own, and a file that
//! came inside the command stored first.

use std::time::Duration;

use blob::{BlobError, BlobStore, Meta};
use bsp::command::{Command, Source};
use bsp::media::{self, MediaId, MediaKind};
use bsp::sending::Link;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::account::Account;

/// Shortest TTL of a file that is about to be sent: the BSP may fetch it late.
const LIFE_MIN: Duration = Duration::from_secs(24 * 3600);

/// A URL for the BSP.
#[derive(Clone)]
pub(crate) struct FileLink {
    pub(crate) url: String,
    /// The name that it was uploaded under; empty for none.
    file_name: String,
    /// The file, where media serves it.
    stored: Option<MediaId>,
}

/// Timeout of writing a note about a file. Nothing depends on it.
const NOTE_LIMIT: Duration = Duration::from_millis(500);

impl FileLink {
    /// What the BSP's request needs of it.
    pub(crate) fn as_link(&self) -> Link<'_> {
        Link { url: &self.url, is_ours: self.stored.is_some(), file_name: &self.file_name }
    }

    /// Notes that a message goes out with the file, so that it is counted when nobody comes for it. Redis may refuse: then it is
    /// not counted, and the message goes out all the same.
    pub(crate) async fn expect_fetch(&self, blobs: &BlobStore, now: Timestamp) {
        let Some(id) = &self.stored else { return };
        let _ = tokio::time::timeout(NOTE_LIMIT, blobs.expect_fetch(id, now, LIFE_MIN)).await;
    }

    /// Takes that back: the message did not go out.
    pub(crate) async fn expect_nothing(&self, blobs: &BlobStore) {
        let ids = self.stored.iter();
        let _ = tokio::time::timeout(NOTE_LIMIT, blobs.expect_no_fetch(ids)).await;
    }
}

/// There is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The file is not there, or not this tenant's.
    #[error("the file is not stored, has expired, or is another tenant's")]
    NotFound,
    /// The file is of another kind than the message.
    #[error("the file was uploaded as another kind")]
    OtherKind,
    /// Redis is away or full, or lacks its functions: later it may be there.
    #[error("Redis: {0}")]
    Store(#[from] BlobError),
}

/// The link for a command's file; `None` for a command without one. What is stored gets the life that it needs and the
/// command's name.
///
/// # Errors
/// [`LinkError`].
pub(crate) async fn prepare(
    blobs: &BlobStore,
    public_url: &str,
    account: &Account,
    command: &Command,
    now: Timestamp,
) -> Result<Option<FileLink>, LinkError> {
    let Some((kind, file)) = command.content.media() else { return Ok(None) };
    let (id, file_name) = match &file.source {
        Source::Url(url) => {
            return Ok(Some(FileLink { url: url.clone(), file_name: String::new(), stored: None }));
        }
        Source::Stored(id) => {
            let file_name = claim(blobs, account, kind, id, now).await?;
            name_command(blobs, id, command).await?;
            (id.clone(), file_name)
        }
        Source::Inline { data, content_type } => {
            let inline = Inline { kind, data, content_type, file_name: &file.file_name };
            let about = about(account, command, inline, now);
            let id = store(blobs, data, &about).await?;
            (id, file.file_name.clone())
        }
    };
    let url = format!("{public_url}{}", media::path(&account.tenant, kind, &id));
    Ok(Some(FileLink { url, file_name, stored: Some(id) }))
}

/// Makes sure that a stored file is there, may be sent, and stays for long enough; gives the name that it was uploaded under.
async fn claim(
    blobs: &BlobStore,
    account: &Account,
    kind: MediaKind,
    id: &MediaId,
    now: Timestamp,
) -> Result<String, LinkError> {
    let found = blobs.look(id).await?.ok_or(LinkError::NotFound)?;
    let meta = found.meta.ok_or(LinkError::NotFound)?;
    if meta.tenant != account.tenant || meta.size != found.size {
        return Err(LinkError::NotFound);
    }
    if meta.kind != kind {
        return Err(LinkError::OtherKind);
    }
    let life = LIFE_MIN.min(meta.life_left(now));
    if !blobs.lengthen(id, life).await? {
        return Err(LinkError::NotFound);
    }
    Ok(meta.file_name)
}

/// Notes in a stored file the command that its message is of.
async fn name_command(blobs: &BlobStore, id: &MediaId, command: &Command) -> Result<(), BlobError> {
    match blobs.name_command(id, command.id.as_str()).await {
        Ok(()) => Ok(()),
        // `setup` mends this, and the fetch of a file that names no command tells the back end nothing.
        Err(error @ (BlobError::NoFunctions | BlobError::MayNotCall(_))) => Err(error),
        // A Redis that is full refuses this, and the message needs it not: it would wait for room that only its own fetch makes.
        Err(error) => {
            tracing::debug!(function = "sender", "the file of {} does not name it: {error}", command.id);
            Ok(())
        }
    }
}

/// A file that came inside a command.
struct Inline<'c> {
    kind: MediaKind,
    data: &'c [u8],
    content_type: &'c str,
    file_name: &'c str,
}

/// What is known of a file that came inside a command.
fn about(account: &Account, command: &Command, inline: Inline<'_>, now: Timestamp) -> Meta {
    let Inline { kind, data, content_type, file_name } = inline;
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

async fn store(blobs: &BlobStore, data: &[u8], about: &Meta) -> Result<MediaId, LinkError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| LinkError::NotFound)?;
    let id = MediaId::from_random(bits);
    let mut upload = blobs.upload(id.clone());
    upload.append(data).await?;
    upload.finish(about, LIFE_MIN).await?;
    Ok(id)
}
