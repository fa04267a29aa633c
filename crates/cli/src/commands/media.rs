//! `imchannel media`: uploads and fetches files of messages over HTTP, like any other client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bsp::media::{MediaId, MediaKind, OGG_OPUS};
use bus::{Bus, registry};
use clap::{Args, Subcommand, ValueEnum};
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::exit::Exit;
use crate::output::{self, GOOD, Out, styled, text};
use crate::target::{self, Target};

/// Bytes of one read of a file.
const PIECE_BYTES: usize = 256 * 1024;

/// Timeout of a connection to media.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the next bytes of a response.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum MediaCommand {
    /// Upload a file, and print its id and its URL.
    Put {
        /// The file.
        file: PathBuf,
        /// Channel through which it will be sent.
        #[arg(long)]
        channel: String,
        /// Kind of the file [default: by its name].
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        #[command(flatten)]
        service: Service,
    },
    /// Fetch a file by its URL. This counts as a fetch and shortens its TTL.
    Get {
        /// Its URL.
        url: String,
        /// File to write it to [default: standard output].
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Show the properties of a file, by HEAD.
    Stat {
        /// Its URL.
        url: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Image,
    Document,
    Audio,
    Video,
}

impl Kind {
    fn to_media(self) -> MediaKind {
        match self {
            Self::Image => MediaKind::Image,
            Self::Document => MediaKind::Document,
            Self::Audio => MediaKind::Audio,
            Self::Video => MediaKind::Video,
        }
    }
}

/// Options of uploads.
#[derive(Args)]
pub(crate) struct Service {
    /// URL of media [default: that of the `up` in this folder, else http://127.0.0.1:8081].
    #[arg(long, env = "IMCHANNEL_MEDIA_URL", value_name = "URL")]
    media_url: Option<String>,
    /// Bearer token of uploads [default: that of the `up` in this folder].
    #[arg(long, env = "IMCHANNEL_MEDIA_UPLOAD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    media_upload_token: Option<String>,
    /// File that contains the token.
    #[arg(
        long,
        env = "IMCHANNEL_MEDIA_UPLOAD_TOKEN_FILE",
        conflicts_with = "media_upload_token",
        value_name = "FILE"
    )]
    media_upload_token_file: Option<PathBuf>,
    /// Folder with a token file for each tenant; it is used if it has one for the channel's tenant.
    #[arg(long, env = "IMCHANNEL_MEDIA_UPLOAD_TOKENS_DIR", value_name = "DIR")]
    media_upload_tokens_dir: Option<PathBuf>,
}

// The token is secret.
impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("media_url", &self.media_url).finish_non_exhaustive()
    }
}

/// A file to upload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload<'u> {
    /// Id of the channel that the file is sent through.
    pub(crate) channel: &'u str,
    pub(crate) kind: MediaKind,
    pub(crate) file: &'u Path,
}

/// Where files are uploaded to, and the token for it.
struct Endpoint {
    url: String,
    token: String,
}

/// An uploaded file.
#[derive(Debug)]
pub(crate) struct Uploaded {
    pub(crate) id: MediaId,
    pub(crate) answer: Value,
}

pub(crate) async fn run(command: MediaCommand, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    match command {
        MediaCommand::Put { file, channel, kind, service } => {
            let bus = target.connect().await?;
            let kind = match kind {
                Some(kind) => kind.to_media(),
                None => kind_of(&file)
                    .context("cannot determine the kind of the file from its name; pass --kind")?,
            };
            let uploaded =
                service.upload(&bus, Upload { channel: &channel, kind, file: &file }, target, out).await?;
            out.object(&uploaded.answer);
            let url = uploaded.answer["url"].as_str().unwrap_or_default();
            out.print(&text!("{} {} {url}", styled(GOOD, "stored"), uploaded.id));
        }
        MediaCommand::Get { url, output } => get(&url, output.as_deref(), out).await?,
        MediaCommand::Stat { url } => stat(&url, out).await?,
    }
    Ok(Exit::Ok)
}

impl Service {
    /// Returns URL and token for the uploads of a tenant. Those of the `up` in this folder are only used together.
    fn endpoint(&self, target: &Target, tenant: &str) -> anyhow::Result<Endpoint> {
        let is_of_up = self.media_url.is_none() && target.nats_url.is_none();
        let of_up = |file| if is_of_up { read_of_up(file) } else { None };
        let url = self.media_url.clone().or_else(|| of_up(target::MEDIA_URL_FILE));
        let url = url.unwrap_or_else(|| "http://127.0.0.1:8081".to_owned()).trim_end_matches('/').to_owned();
        if let Some(token) = self.token_of(tenant)? {
            return Ok(Endpoint { url, token });
        }
        let token = match &self.media_upload_token_file {
            Some(file) => Some(target::read_secret(file)?),
            None => self.media_upload_token.clone().or_else(|| of_up(target::MEDIA_TOKEN_FILE)),
        };
        let token = token.context(
            "no upload token: set IMCHANNEL_MEDIA_UPLOAD_TOKEN, --media-upload-token or --media-upload-token-file, or the folder of tokens \
             (IMCHANNEL_MEDIA_UPLOAD_TOKENS_DIR)",
        )?;
        Ok(Endpoint { url, token })
    }

    /// Returns the tenant's token: the first line of its file.
    fn token_of(&self, tenant: &str) -> anyhow::Result<Option<String>> {
        let folder = self.media_upload_tokens_dir.as_ref().filter(|folder| !folder.as_os_str().is_empty());
        let Some(file) = folder.map(|folder| folder.join(tenant)).filter(|file| file.exists()) else {
            return Ok(None);
        };
        let text = target::read_secret(&file)?;
        let token = text.lines().next().filter(|token| !token.is_empty());
        let token = token.with_context(|| format!("{} is empty", file.display()))?;
        Ok(Some(token.trim().to_owned()))
    }

    /// Uploads a file and shows the progress.
    pub(crate) async fn upload(
        &self,
        bus: &Bus,
        upload: Upload<'_>,
        target: &Target,
        out: &Out,
    ) -> anyhow::Result<Uploaded> {
        let Upload { channel, kind, file } = upload;
        let stored = registry::list(bus).await?;
        let record = stored.into_iter().find(|stored| stored.id == channel).map(|stored| stored.record);
        let tenant = record
            .with_context(|| {
                format!("channel {channel} does not exist; `imchannel channel list` shows all channels")
            })??
            .tenant;
        let Endpoint { url: media_url, token } = self.endpoint(target, &tenant)?;
        let content_type = content_type(kind, file).with_context(|| {
            format!("WhatsApp does not accept the type of {} as {}", file.display(), kind.name())
        })?;
        let opened = tokio::fs::File::open(file).await;
        let mut opened = opened.with_context(|| format!("cannot read {}", file.display()))?;
        let size = opened.metadata().await?.len();
        if size == 0 {
            bail!("{} is empty", file.display());
        }
        if size > kind.bytes_max() {
            bail!(
                "{} has {size} bytes; the limit for {} is {} bytes",
                file.display(),
                kind.name(),
                kind.bytes_max()
            );
        }
        let bar = bar(size, out);
        let progress = bar.clone();
        let body = async_stream(move |mut send| async move {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = opened.read(&mut piece).await?;
                if read == 0 || send.send(bytes::Bytes::copy_from_slice(&piece[..read])).await.is_err() {
                    return Ok(());
                }
                progress.inc(read as u64);
            }
        });
        let url = format!("{}/{tenant}/imchannel/media?channel={channel}&kind={}", media_url, kind.name());
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let answer = client()?
            .post(&url)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_LENGTH, size)
            .header(CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", percent_encoded(&name)))
            .body(reqwest::Body::wrap_stream(body))
            .send()
            .await
            .with_context(|| format!("no response from media at {media_url}"))?;
        bar.finish_and_clear();
        if answer.status() != 201 {
            return Err(refused(answer).await);
        }
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let id = answer["id"].as_str().and_then(MediaId::parse).context("the response of media has no id")?;
        Ok(Uploaded { id, answer })
    }
}

/// A body that a task writes in pieces, so that a file is never completely in memory.
fn async_stream<F, Fut>(
    write: F,
) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static
where
    F: FnOnce(Sender) -> Fut,
    Fut: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let (send, receive) = tokio::sync::mpsc::channel(2);
    let (failed, failure) = tokio::sync::oneshot::channel();
    let writing = write(Sender(send));
    tokio::spawn(async move {
        if let Err(error) = writing.await {
            let _ = failed.send(error);
        }
    });
    let pieces = futures_util::stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|piece| (Ok(piece), receive))
    });
    let last =
        futures_util::stream::once(failure).filter_map(|failed| std::future::ready(failed.ok().map(Err)));
    pieces.chain(last)
}

struct Sender(tokio::sync::mpsc::Sender<bytes::Bytes>);

impl Sender {
    async fn send(&mut self, piece: bytes::Bytes) -> Result<(), ()> {
        self.0.send(piece).await.map_err(drop)
    }
}

fn read_of_up(file: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(target::DATA_FOLDER_DEFAULT).join(file)).ok()?;
    Some(text.trim().to_owned())
}

fn client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    Ok(client.connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).no_proxy().build()?)
}

/// Returns why an upload was refused: media's text if there is one (RFC 9457), otherwise the meaning of the status.
async fn refused(answer: reqwest::Response) -> anyhow::Error {
    let status = answer.status();
    let body = answer.bytes().await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let why = problem["detail"].as_str().unwrap_or_else(|| meaning(status.as_u16()));
    anyhow::anyhow!("media answered {status}: {why}")
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 => "the token is wrong or belongs to another tenant",
        404 => "the channel is unknown, or the file has expired",
        413 => "the file is too large",
        415 => "WhatsApp does not accept the type of the file",
        503 => "Redis is unreachable, or media is busy; retry",
        507 => "Redis is full",
        _ => "see the log of media",
    }
}

fn percent_encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| {
            let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        })
        .collect()
}

/// Media types by file name extension.
const TYPES: [(&str, &str); 22] = [
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("doc", "application/msword"),
    ("xls", "application/vnd.ms-excel"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("aac", "audio/aac"),
    ("amr", "audio/amr"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg", OGG_OPUS),
    ("oga", OGG_OPUS),
    ("opus", OGG_OPUS),
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("3gp", "video/3gpp"),
    ("3gpp", "video/3gpp"),
];

fn type_by_name(file: &Path) -> Option<&'static str> {
    let end = file.extension()?.to_str()?.to_ascii_lowercase();
    TYPES.iter().find(|(known, _)| *known == end).map(|(_, content_type)| *content_type)
}

fn kind_of(file: &Path) -> Option<MediaKind> {
    let content_type = type_by_name(file)?;
    MediaKind::ALL.into_iter().find(|kind| kind.allowed(content_type).is_some())
}

fn content_type(kind: MediaKind, file: &Path) -> Option<&'static str> {
    type_by_name(file).filter(|content_type| kind.allowed(content_type).is_some())
}

fn bar(size: u64, out: &Out) -> indicatif::ProgressBar {
    if out.is_json() {
        return indicatif::ProgressBar::hidden();
    }
    let style =
        indicatif::ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = indicatif::ProgressBar::new(size);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

async fn get(url: &str, output: Option<&Path>, out: &Out) -> anyhow::Result<()> {
    let answer = client()?.get(url).send().await.context("no response from media")?;
    if answer.status() != 200 {
        bail!("media answered {}: {}", answer.status(), meaning(answer.status().as_u16()));
    }
    let described = describe(url, answer.headers());
    let bar = match output {
        Some(_) => bar(answer.content_length().unwrap_or(0), out),
        None => indicatif::ProgressBar::hidden(),
    };
    let written = write_to(output, answer, &bar).await;
    bar.finish_and_clear();
    if let (Err(_), Some(path)) = (&written, output) {
        // A partial file looks like a complete one.
        let _ = std::fs::remove_file(path);
    }
    written?;
    if let Some(path) = output {
        out.object(&described);
        out.print(&text!("{} {}", styled(GOOD, "wrote"), path.display()));
    }
    Ok(())
}

async fn write_to(
    output: Option<&Path>,
    answer: reqwest::Response,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<()> {
    let mut pieces = answer.bytes_stream();
    let mut sink: Box<dyn tokio::io::AsyncWrite + Unpin> = match output {
        Some(path) => {
            let file = tokio::fs::File::create(path).await;
            Box::new(file.with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => Box::new(output::bytes()?),
    };
    while let Some(piece) = pieces.next().await {
        let piece = piece.context("the connection was lost before the end of the file")?;
        sink.write_all(&piece).await?;
        bar.inc(piece.len() as u64);
    }
    sink.flush().await?;
    Ok(())
}

async fn stat(url: &str, out: &Out) -> anyhow::Result<()> {
    let answer = client()?.head(url).send().await.context("no response from media")?;
    if answer.status() != 200 {
        bail!("media answered {}: {}", answer.status(), meaning(answer.status().as_u16()));
    }
    let described = describe(url, answer.headers());
    out.object(&described);
    out.lines(&serde_json::to_string_pretty(&described)?);
    Ok(())
}

fn describe(url: &str, headers: &HeaderMap) -> Value {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    json!({
        "url": url, "content_type": text("content-type"), "size": text("content-length").parse::<u64>().ok(),
        "etag": text("etag"), "disposition": text("content-disposition"),
    })
}
