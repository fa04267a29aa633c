//! `imchannel send`: sends one message and shows its progress until the customer has read it.

mod known;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use bsp::command::{self, ReceivedCommand};
use bsp::media::MediaKind;
use bsp::{ChannelId, registry as bsps};
use bus::read::{self, StartAt};
use bus::registry::StoredChannel;
use bus::streams::{COMMANDS, EVENTS};
use bus::subject::Filter;
use bus::{Bus, Delivery, EventKind, Headers, Priority, Subject, headers};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use prost::Message;
use proto::v1::outbound_media::Source;
use proto::v1::send_command::Content;
use proto::v1::{
    MediaFetched, OutboundMedia, OutboundText, ReportEvent, ReportStatus, SendCommand, SendOutcome,
    SendResult, Template,
};
use sender::IdUse;
use tokio::time::Instant;

use crate::commands::media::{Service, Upload};
use crate::duration;
use crate::exit::Exit;
use crate::mask::PersonalData;
use crate::output::{DIM, ODD, Out, STRONG, Text, styled, text};
use crate::repair::refuse_gone_back;
use crate::show;
use crate::target::Target;
use crate::words::span;

/// Timeout of storing the command.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// State until which the message is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Until {
    /// The command is stored.
    Stored,
    /// The BSP has accepted it.
    Accepted,
    /// It is delivered to the customer's device.
    Delivered,
    /// The customer has read it.
    Read,
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The channel to send through.
    #[arg(long, value_parser = |text: &str| ChannelId::parse(text))]
    channel: ChannelId,
    /// Phone number of the customer.
    #[arg(long, value_name = "NUMBER")]
    to: String,
    #[command(flatten)]
    what: MessageArgs,
    /// Text below an image, a document or a video.
    #[arg(long, conflicts_with_all = ["text", "template", "audio"])]
    caption: Option<String>,
    /// Send as part of a campaign. Messages of agents have priority.
    #[arg(long)]
    bulk: bool,
    /// Id of the command [default: a new one]. A command is sent once even if it is published several times. An id that
    /// was used for another command is rejected.
    #[arg(long)]
    command_id: Option<String>,
    /// Text that the result repeats.
    #[arg(long, default_value = "")]
    context: String,
    /// Do not send it after this time (90s, 15m, 2h).
    #[arg(long, value_name = "SPAN", value_parser = duration::span)]
    not_after: Option<Duration>,
    /// State until which to watch.
    #[arg(long, default_value = "read", value_enum)]
    until: Until,
    /// How long to watch.
    #[arg(long, default_value = "5m", value_name = "SPAN", value_parser = duration::span)]
    timeout: Duration,
    #[command(flatten)]
    media: Service,
}

/// Content of the message.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct MessageArgs {
    /// Text.
    #[arg(long)]
    text: Option<String>,
    /// A picture (JPEG, PNG).
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// A document (PDF, Word, Excel, PowerPoint, text).
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// A recording (AAC, AMR, MP3, M4A, Ogg Opus).
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// A film (MP4, 3GPP).
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// A template as JSON, such as '{"name":"hello","language":"en","placeholders":["Jo"]}'.
    #[arg(long, value_name = "JSON")]
    template: Option<String>,
}

pub(crate) async fn run(command: Send, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let bus = target.connect().await?;
    let id = match &command.command_id {
        Some(id) => id.clone(),
        None => new_id()?,
    };
    if let SendSupport::Unsupported(reason) = check_channel(&bus, &command.channel).await? {
        return Ok(out.faulty(&reason));
    }
    let content = match command.draft() {
        Ok(content) => content,
        Err(fault) => return Ok(out.faulty(&fault)),
    };
    let not_after = command.not_after.map(|span| bsp::time::to_proto(Timestamp::now() + span));
    let mut message = SendCommand {
        command_id: id.clone(),
        channel_id: command.channel.to_string(),
        recipient: command.to.clone(),
        not_after,
        context: command.context.clone(),
        content: Some(content),
    };
    // The same validation as in the sender, without waiting for it.
    if let Err(refused) = command::check(ReceivedCommand { channel: &command.channel, command: &message }) {
        let faults: Vec<_> =
            refused.faults.iter().map(|fault| format!("{} {}", fault.field, fault.rule)).collect();
        return Ok(out.faulty(&faults.join("; ")));
    }
    command.refuse_used_id(&bus, &message).await?;
    if let Some((kind, file)) = command.what.file() {
        let upload = Upload { channel: command.channel.as_str(), kind, file };
        let uploaded = command.media.upload(&bus, upload, target, out).await?;
        out.print(&text!("{} file {} is stored", styled(STRONG, "0"), uploaded.id));
        out.object(&uploaded.answer);
        message.content = Some(command.file_content(kind, file, uploaded.id.as_str()));
    }
    refuse_gone_back(&bus, &COMMANDS).await?;
    let filter = Filter { bsp: None, channel: Some(command.channel.clone()) };
    // The result of an id that was used before may be stored already, and is not published again.
    let from = if command.command_id.is_some() { StartAt::Start } else { StartAt::Now };
    let events = read::subscribe(&bus, &EVENTS, filter.all_events(), from).await?;
    let queue = if command.bulk { Priority::Bulk } else { Priority::Interactive };
    let subject = Subject::Command(queue, command.channel.clone());
    // The ids of the stream are shared by all channels.
    let publish_id = format!("{}.{id}", command.channel);
    let headers = || {
        Headers::new().with(headers::MESSAGE_ID, &publish_id).with(headers::CONTENT_TYPE, headers::PROTOBUF)
    };
    let deadline = Instant::now() + STORE_LIMIT;
    let stored = bus.store(&subject, headers, &message.encode_to_vec().into(), deadline).await?;
    if stored.is_duplicate() {
        let first = bus::message_store::get(&bus, &COMMANDS, stored.sequence()).await?;
        if first.is_some_and(|first| !sender::is_same(&first, &message)) {
            bail!(used_for_another(&id));
        }
    }
    let word = if stored.is_duplicate() { "was already stored" } else { "is stored" };
    out.print(&text!(
        "{} command {id} {word} as {} of stream COMMANDS",
        styled(STRONG, "1"),
        stored.sequence()
    ));
    out.object(&serde_json::json!({ "command_id": id, "sequence": stored.sequence(), "duplicate": stored.is_duplicate() }));
    if command.until == Until::Stored {
        return Ok(Exit::Ok);
    }
    let sequence = stored.sequence();
    let watched = Watched { bus: &bus, channel: &command.channel, command: &message, sequence };
    watched.follow(events, command.until, command.timeout, out).await
}

fn used_for_another(id: &str) -> String {
    format!(
        "the id {id} was already used for another command (its content, recipient, context or deadline differs): this command will not be \
         sent, and the result under that id belongs to the other one. Use a new id, or omit --command-id"
    )
}

/// Whether a channel can send.
#[derive(Debug)]
pub(crate) enum SendSupport {
    /// It can.
    Supported,
    /// It cannot, for this reason.
    Unsupported(String),
}

/// Checks whether a channel can send.
pub(crate) async fn check_channel(bus: &Bus, id: &ChannelId) -> anyhow::Result<SendSupport> {
    let stored = bus::registry::list(bus).await?;
    let Some(StoredChannel { record, .. }) = stored.into_iter().find(|stored| stored.id == id.as_str())
    else {
        return Ok(SendSupport::Unsupported(format!(
            "channel {id} does not exist; `imchannel channel list` shows all channels"
        )));
    };
    let channel = record?.to_channel()?;
    let bsp = channel.bsp.profile().id;
    let Some(sending) = channel.bsp.sending() else {
        let others = bsps::REGISTRY.iter().filter(|bsp| bsp.sending().is_some());
        let others: Vec<_> = others.map(|bsp| bsp.profile().id.as_str()).collect();
        return Ok(SendSupport::Unsupported(format!(
            "channel {id} cannot send: imchannel only receives from {bsp}; it sends through {}",
            others.join(", ")
        )));
    };
    Ok(match sending.account(&channel.settings) {
        Some(_) => SendSupport::Supported,
        None => SendSupport::Unsupported(format!(
            "channel {id} cannot send: its settings have no account; complete [channel.{bsp}] in the channels file \
             and apply it"
        )),
    })
}

/// Placeholder id of a file that is not uploaded yet, so that everything else is validated first.
const NO_FILE_YET: &str = "00000000-0000-4000-8000-000000000000";

impl MessageArgs {
    fn file(&self) -> Option<(MediaKind, &Path)> {
        let files = [
            (MediaKind::Image, &self.image),
            (MediaKind::Document, &self.document),
            (MediaKind::Audio, &self.audio),
            (MediaKind::Video, &self.video),
        ];
        files.into_iter().find_map(|(kind, file)| Some((kind, file.as_deref()?)))
    }
}

impl Send {
    /// Fails if the ledger has the id for another command. A file has a new id in every command, so it is not compared.
    async fn refuse_used_id(&self, bus: &Bus, message: &SendCommand) -> anyhow::Result<()> {
        let Some(id) = &self.command_id else { return Ok(()) };
        match sender::used(bus, &self.channel, message).await? {
            IdUse::ForAnother => bail!(used_for_another(id)),
            IdUse::ForThis | IdUse::NotYet => Ok(()),
        }
    }

    /// Returns the content before its file is uploaded.
    fn draft(&self) -> Result<Content, String> {
        if let Some(body) = &self.what.text {
            return Ok(Content::Text(OutboundText { body: body.clone(), preview_url: false }));
        }
        if let Some(json) = &self.what.template {
            let template = command::read_json::<Template>(json).map(Content::Template);
            return template.map_err(|fault| {
                let field = if fault.field.is_empty() { "it" } else { &fault.field };
                format!("invalid --template: {field} {}", fault.rule)
            });
        }
        let (kind, file) =
            self.what.file().ok_or("the message has no content; pass --text, --template or a file")?;
        Ok(self.file_content(kind, file, NO_FILE_YET))
    }

    fn file_content(&self, kind: MediaKind, file: &Path, id: &str) -> Content {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let media = OutboundMedia {
            source: Some(Source::MediaId(id.to_owned())),
            caption: self.caption.clone().unwrap_or_default(),
            file_name: name,
            content_type: String::new(),
        };
        match kind {
            MediaKind::Image => Content::Image(media),
            MediaKind::Document => Content::Document(media),
            MediaKind::Audio => Content::Audio(media),
            MediaKind::Video => Content::Video(media),
        }
    }
}

/// What an event shows about the watched command.
enum Step {
    Other,
    Note,
    /// It is unknown whether it was sent.
    Unknown,
    Reached(Until),
    Failed,
}

/// A command whose results are awaited.
struct Watched<'c> {
    bus: &'c Bus,
    channel: &'c ChannelId,
    command: &'c SendCommand,
    /// Its sequence in COMMANDS.
    sequence: u64,
}

impl Watched<'_> {
    async fn follow(
        &self,
        mut events: read::Messages,
        until: Until,
        timeout: Duration,
        out: &Out,
    ) -> anyhow::Result<Exit> {
        let id = self.command.command_id.as_str();
        let deadline = Instant::now() + timeout;
        let began = Instant::now();
        let mut progress = known::Progress::Nothing;
        loop {
            let next = tokio::time::timeout_at(deadline, events.next()).await;
            let Ok(next) = next else {
                let known = known::words(self.bus, self.channel, progress).await;
                let wanted = known::wanted(until);
                bail!("command {id} {wanted} within {}; {known}", span(timeout))
            };
            let Some(event) = next else { bail!("event stream closed") };
            let delivery = event?.delivery;
            let (step, (object, line)) = read_progress(&delivery, id, self.sequence);
            if matches!(step, Step::Other) {
                continue;
            }
            // The result may belong to a command that was still pending when this one was published.
            if sender::used(self.bus, self.channel, self.command).await? == IdUse::ForAnother {
                bail!(used_for_another(id));
            }
            out.object(&object);
            out.print(&text!("{} {line}", styled(DIM, &format!("+{:.3} s", began.elapsed().as_secs_f64()))));
            match step {
                Step::Reached(reached) if reached >= until => return Ok(Exit::Ok),
                Step::Reached(reached) => progress = known::Progress::Reached(reached),
                Step::Unknown => progress = known::Progress::Unknown,
                Step::Failed => bail!("the message was not sent or did not arrive"),
                Step::Other | Step::Note => {}
            }
        }
    }
}

type Shown = (serde_json::Value, Text);

/// A result without an id is identified by the sequence of its command.
fn read_progress(delivery: &Delivery, id: &str, sequence: u64) -> (Step, Shown) {
    let payload = delivery.payload.clone();
    let nothing = (Step::Other, (serde_json::Value::Null, Text::default()));
    let kind = match delivery.address() {
        Some(Subject::Event(kind, bsp, _)) if bsps::get(bsp).sending().is_some() => kind,
        // The channel was removed, or never existed.
        Some(Subject::ResultWithoutBsp(_)) => EventKind::SendResult,
        _ => return nothing,
    };
    match kind {
        EventKind::SendResult => match SendResult::decode(payload) {
            Ok(result) if result.command_id == id || result.command_sequence == sequence => {
                let step = match result.outcome() {
                    SendOutcome::Accepted => Step::Reached(Until::Accepted),
                    SendOutcome::Unknown | SendOutcome::Unspecified => Step::Unknown,
                    SendOutcome::Rejected | SendOutcome::Expired => Step::Failed,
                };
                let mut shown = show::sent(delivery, PersonalData::Masked);
                if result.outcome() == SendOutcome::Unknown {
                    shown.1 = text!("{}{}", shown.1, styled(ODD, " (a report may still resolve it)"));
                }
                (step, shown)
            }
            _ => nothing,
        },
        EventKind::Report => match ReportEvent::decode(payload) {
            Ok(report) if report.command_id == id => {
                let step = match report.status() {
                    ReportStatus::Delivered => Step::Reached(Until::Delivered),
                    ReportStatus::Read => Step::Reached(Until::Read),
                    ReportStatus::Failed => Step::Failed,
                    _ => Step::Note,
                };
                (step, show::report(delivery, PersonalData::Masked))
            }
            _ => nothing,
        },
        EventKind::Media => match MediaFetched::decode(payload) {
            Ok(fetched) if fetched.command_id == id => (Step::Note, show::fetched(delivery)),
            _ => nothing,
        },
        EventKind::Message | EventKind::Account | EventKind::Customer => nothing,
    }
}

fn new_id() -> anyhow::Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|error| anyhow::anyhow!("cannot get random numbers from the system: {error}"))?;
    Ok(hex::encode(bits))
}
