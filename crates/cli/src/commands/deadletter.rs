//! `imchannel deadletter`: lists, shows, replays and drops dead letters.

mod command;
mod replay;

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use bsp::{BspId, ChannelId, ItemRanges, Outcome, Parsed, RejectedItem, Webhook, registry};
use bus::read::{self, StartAt};
use bus::streams::{DEADLETTERS, WEBHOOKS};
use bus::subject::Filter;
use bus::{Bus, Delivery, Origin, Subject, headers, message_store};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use self::replay::{ReplayOptions, replay_letters};
use crate::commands::replay as webhooks;
use crate::commands::replay::by::By;
use crate::commands::replay::history::parse_origin;
use crate::commands::tail;
use crate::confirm::is_confirmed;
use crate::duration::{self, Moment};
use crate::exit::Exit;
use crate::mask::PersonalData;
use crate::output::{self, BAD, Out, styled, text};
use crate::show;
use crate::target::Target;
use crate::words::pluralize;

/// Most rows of the list for people. The counts include all dead letters.
const ROWS_MAX: usize = 50;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List dead letters and count them by reason.
    List(Selection),
    /// Show one dead letter with its headers and bytes.
    Show {
        /// Its sequence.
        sequence: u64,
        /// Show phone numbers, names and texts.
        #[arg(long)]
        unmask: bool,
        /// Write only its exact bytes.
        #[arg(long)]
        raw: bool,
    },
    /// Parse dead letters with this version and show the result. With --publish, publish what can be parsed now and
    /// remove its dead letter. A command is published as a command: it is sent, unless the ledger of sends has an entry
    /// for it.
    Replay {
        #[command(flatten)]
        which: DeadLetterSelector,
        /// Publish and remove nothing. This is the default.
        #[arg(long, conflicts_with = "publish")]
        dry_run: bool,
        /// Publish what can be parsed now and remove its dead letters, after asking.
        #[arg(long)]
        publish: bool,
        /// Do not ask.
        #[arg(long, requires = "publish")]
        yes: bool,
        /// Keep the dead letters of what was published. Commands are not published then.
        #[arg(long, requires = "publish")]
        keep: bool,
        #[command(flatten)]
        by: By,
    },
    /// Remove dead letters permanently.
    Drop {
        #[command(flatten)]
        which: DeadLetterSelector,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Selection of dead letters by their properties.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only this channel.
    #[arg(long, value_parser = |text: &str| ChannelId::parse(text))]
    channel: Option<ChannelId>,
    /// Only this BSP.
    #[arg(long, value_parser = tail::parse_bsp)]
    bsp: Option<BspId>,
    /// Only this error code, as shown in the list.
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Stored at this time or later (90s, 15m, 2h, 3d ago, or a time).
    #[arg(long, value_name = "WHEN", value_parser = duration::moment)]
    since: Option<Moment>,
    /// Stored before this time.
    #[arg(long, value_name = "WHEN", value_parser = duration::moment)]
    until: Option<Moment>,
}

/// Selection of dead letters by sequence, or by their properties.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterSelector {
    /// Their sequences.
    #[arg(required_unless_present = "all")]
    sequences: Vec<u64>,
    /// All of them, or all that match the other options.
    #[arg(long, conflicts_with = "sequences")]
    all: bool,
    #[command(flatten)]
    selection: Selection,
}

pub(crate) async fn run(command: DeadLetters, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let bus = target.connect().await?;
    match command {
        DeadLetters::List(selection) => list(&bus, &selection, out).await,
        DeadLetters::Show { sequence, unmask, raw } => {
            let form = if raw { Form::RawBody } else { Form::Readable(PersonalData::of_flag(unmask)) };
            show(&bus, sequence, form, out).await
        }
        DeadLetters::Replay { which, publish, yes, keep, by, .. } => {
            let letters = which.letters(&bus, Part::Whole).await?;
            let question = format!("Publish what {} hold?", pluralize(letters.len(), "dead letter"));
            if publish && !letters.is_empty() && !is_confirmed(yes, &question)? {
                return Ok(out.faulty("nothing was published; use --yes to publish without asking"));
            }
            let run = by.run(webhooks::number_of_now());
            replay_letters(&bus, letters, ReplayOptions { dry_run: !publish, keep, run }, out).await
        }
        DeadLetters::Drop { which, yes } => {
            drop_letters(&bus, which.letters(&bus, Part::Heads).await?, yes, out).await
        }
    }
}

impl Selection {
    async fn letters(&self, bus: &Bus, part: Part) -> anyhow::Result<Vec<Delivery>> {
        let now = Timestamp::now();
        let filter = Filter { bsp: None, channel: self.channel.clone() }.dead_letters();
        let from = self.since.map_or(StartAt::Start, |since| StartAt::Time(since.from(now)));
        let until = self.until.map(|until| until.from(now));
        // Bodies that are not shown are not read.
        let mut messages = match part {
            Part::Heads => read::subscribe_headers(bus, &DEADLETTERS, filter, from).await?,
            Part::Whole => read::subscribe(bus, &DEADLETTERS, filter, from).await?,
        };
        let mut letters = Vec::new();
        while let Some(letter) = messages.next_stored().await? {
            if until.is_some_and(|until| letter.stored_at >= until) {
                break;
            }
            if self.takes(&letter) {
                letters.push(letter);
            }
        }
        if letters.is_empty() {
            tail::refuse_unknown(bus, self.channel.as_ref()).await?;
        }
        Ok(letters)
    }

    fn is_empty(&self) -> bool {
        let Self { channel, bsp, reason, since, until } = self;
        channel.is_none() && bsp.is_none() && reason.is_none() && since.is_none() && until.is_none()
    }

    fn takes(&self, letter: &Delivery) -> bool {
        let is =
            |name, wanted: Option<&str>| wanted.is_none_or(|wanted| letter.headers.get(name) == Some(wanted));
        is(headers::BSP, self.bsp.map(BspId::as_str)) && is(headers::REASON_KIND, self.reason.as_deref())
    }
}

/// Which part of the dead letters is read.
#[derive(Debug, Clone, Copy)]
enum Part {
    Heads,
    Whole,
}

impl DeadLetterSelector {
    async fn letters(&self, bus: &Bus, part: Part) -> anyhow::Result<Vec<Delivery>> {
        if self.all {
            return self.selection.letters(bus, part).await;
        }
        if !self.selection.is_empty() {
            bail!("the options that select dead letters need --all and cannot be combined with sequences");
        }
        let mut letters = Vec::new();
        for sequence in &self.sequences {
            match message_store::get(bus, &DEADLETTERS, *sequence).await? {
                Some(letter) => letters.push(letter),
                None => bail!("dead letter {sequence} does not exist; `imchannel deadletter list` shows all"),
            }
        }
        Ok(letters)
    }
}

async fn list(bus: &Bus, selection: &Selection, out: &Out) -> anyhow::Result<Exit> {
    // Only programs get the bodies here.
    let part = if out.is_json() { Part::Whole } else { Part::Heads };
    let letters = selection.letters(bus, part).await?;
    for letter in &letters {
        out.object(&show::dead_letter(letter, PersonalData::Masked).0);
    }
    let header = |letter: &Delivery, name| letter.headers.get(name).unwrap_or_default().to_owned();
    let rows = letters.iter().rev().take(ROWS_MAX).map(|letter| {
        [
            letter.sequence.to_string(),
            format!("{:.0}", letter.stored_at),
            format!("{}/{}", header(letter, headers::BSP), channel_of(letter)),
            header(letter, headers::REASON_KIND),
            header(letter, headers::REASON),
            header(letter, headers::ORIGIN),
        ]
    });
    let rows: Vec<_> = rows.collect();
    out.table(&["Sequence", "Time", "Channel", "Word", "Reason", "From"], &rows);
    if letters.len() > ROWS_MAX {
        out.print(&format!("showing the newest {ROWS_MAX} of {}", letters.len()));
    }
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for letter in &letters {
        let key = (header(letter, headers::REASON_KIND), header(letter, headers::BSP));
        *counts.entry(key).or_default() += 1;
    }
    for ((word, bsp), count) in &counts {
        out.object(&json!({ "reason_kind": word, "bsp": bsp, "count": count }));
    }
    let rows: Vec<_> =
        counts.into_iter().map(|((word, bsp), count)| [word, bsp, count.to_string()]).collect();
    out.table(&["Word", "BSP", "Count"], &rows);
    Ok(Exit::Ok)
}

fn channel_of(letter: &Delivery) -> String {
    letter.address().map(|address| address.channel_token().to_owned()).unwrap_or_default()
}

/// How a dead letter is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Headers and body.
    Readable(PersonalData),
    /// The exact bytes of the body.
    RawBody,
}

async fn show(bus: &Bus, sequence: u64, form: Form, out: &Out) -> anyhow::Result<Exit> {
    let Some(letter) = message_store::get(bus, &DEADLETTERS, sequence).await? else {
        bail!("dead letter {sequence} does not exist; `imchannel deadletter list` shows all");
    };
    let Form::Readable(personal) = form else {
        let mut sink = output::bytes()?;
        sink.write_all(&letter.payload).await.context("cannot write to standard output")?;
        sink.flush().await.context("cannot write to standard output")?;
        return Ok(Exit::Ok);
    };
    let (mut object, _) = show::dead_letter(&letter, personal);
    let mut headers = letter.headers.sorted();
    let message_id = letter.message_id().map(|id| (headers::MESSAGE_ID.to_string(), id.to_owned()));
    headers.extend(message_id);
    headers.sort();
    object["headers"] = headers.iter().cloned().map(|(name, value)| (name, json!(value))).collect();
    out.object(&object);
    let of = |key: &str| {
        object[key].as_str().filter(|text| !text.is_empty()).unwrap_or(output::UNKNOWN).to_owned()
    };
    let name = styled(BAD, &format!("dead letter {sequence}"));
    out.print(&text!("{name} of channel {}/{}, from {}", of("bsp"), of("channel"), of("origin")));
    out.print("");
    for (name, value) in &headers {
        out.print(&text!("{name}: {value}"));
    }
    out.print("");
    out.lines(object["body"].as_str().unwrap_or_default());
    Ok(Exit::Ok)
}

/// Result of parsing a dead letter with this version.
enum Now {
    /// It can be published, or its items are ignored by design.
    Understood(Box<Delivery>, Parsed),
    /// A command that can be published again.
    Command(command::Again),
    /// Some items of a dead letter of several items. The others are still refused, this number of them, for this
    /// reason.
    InPart(Box<Delivery>, Parsed, StillRefused),
    /// It is still refused.
    Refused(String),
}

struct StillRefused {
    items: usize,
    reason: String,
}

/// Parses the item within its webhook while that is stored, and alone after that.
async fn parse(bus: &Bus, letter: &Delivery) -> anyhow::Result<Now> {
    if let Some(Subject::DeadLetter(Origin::Command, _)) = letter.address() {
        return Ok(match command::read(bus, letter).await? {
            command::Checked::Publishable(again) => Now::Command(again),
            command::Checked::Refused(reason) => Now::Refused(reason),
        });
    }
    let origin = letter.headers.get(headers::ORIGIN).and_then(parse_origin);
    let Some((sequence, index)) = origin else {
        return Ok(Now::Refused("its origin header is missing or invalid".to_owned()));
    };
    let listed = match letter.headers.get(headers::ITEMS).map(ItemRanges::parse) {
        Some(None) => return Ok(Now::Refused("its list of items cannot be parsed".to_owned())),
        listed => listed.flatten(),
    };
    let webhook =
        message_store::get(bus, &WEBHOOKS, sequence).await?.filter(|webhook| is_origin(webhook, letter));
    let is_item = letter.headers.get(headers::PART) == Some(headers::PART_ITEM);
    let parsed = match &webhook {
        Some(webhook) => webhooks::parse(webhook).map(|(_, _, mut parsed)| {
            // A body that was refused as a whole may have any number of items now.
            parsed.items.retain(|item| !is_item || item.index == index);
            parsed
        }),
        None => parse_alone(letter, sequence, is_item),
    };
    let Some(mut parsed) = parsed else {
        return Ok(Now::Refused("its BSP is unknown to this version".to_owned()));
    };
    if let Some(listed) = &listed {
        parsed.items.retain(|item| listed.contains(item.index));
    }
    if parsed.items.is_empty() {
        return Ok(Now::Refused("this version does not find the item in its webhook".to_owned()));
    }
    let reason = |item: &bsp::Item| match &item.outcome {
        Outcome::Rejected(RejectedItem { reason, .. }) => Some(reason.clone()),
        _ => None,
    };
    let reasons: Vec<String> = parsed.items.iter().filter_map(reason).collect();
    let is_all_refused = reasons.len() == parsed.items.len();
    let webhook = Box::new(webhook.unwrap_or_else(|| letter.clone()));
    Ok(match reasons.first() {
        None => Now::Understood(webhook, parsed),
        Some(reason) if listed.is_some() && !is_all_refused => {
            let refused = StillRefused { items: reasons.len(), reason: reason.clone() };
            parsed.items.retain(|item| !matches!(item.outcome, Outcome::Rejected(_)));
            Now::InPart(webhook, parsed, refused)
        }
        Some(reason) => Now::Refused(reason.clone()),
    })
}

/// Whether a dead letter belongs to this webhook. The stream may have been created again, with other webhooks at the
/// same
/// sequences.
fn is_origin(webhook: &Delivery, letter: &Delivery) -> bool {
    let Some(Subject::Webhook(bsp, channel)) = webhook.address() else { return false };
    let is_same_channel = letter.address().is_some_and(|address| address.channel() == Some(&channel));
    let is_same_bsp = letter.headers.get(headers::BSP) == Some(bsp.as_str());
    let (whole, part) = (&webhook.payload[..], &letter.payload[..]);
    let holds = part.is_empty() || whole.windows(part.len()).any(|window| window == part);
    is_same_channel && is_same_bsp && holds
}

fn parse_alone(letter: &Delivery, sequence: u64, is_item: bool) -> Option<Parsed> {
    let bsp = registry::find(letter.headers.get(headers::BSP)?)?;
    let body = if is_item { bsp.wrap_item(&letter.payload) } else { letter.payload.clone() };
    let address = letter.address()?;
    let channel = address.channel()?;
    let received_at = normalizer::received_at(letter);
    Some(normalizer::parse(bsp, &Webhook { channel, body: &body, received_at, sequence }))
}

impl StillRefused {
    fn detail(&self, understood: usize) -> String {
        let Self { items, reason } = self;
        format!("{understood} items; {items} are still refused, and their dead letter is kept: {reason}")
    }
}

async fn drop_letters(bus: &Bus, letters: Vec<Delivery>, yes: bool, out: &Out) -> anyhow::Result<Exit> {
    let question = format!("Remove {} permanently?", pluralize(letters.len(), "dead letter"));
    if !letters.is_empty() && !is_confirmed(yes, &question)? {
        return Ok(out.faulty("nothing was removed; use --yes to remove without asking"));
    }
    let mut removed = 0_u64;
    for letter in &letters {
        let was_there = message_store::drop_dead_letter(bus, letter.sequence).await?;
        removed += u64::from(was_there);
        let action = if was_there { "removed" } else { "gone already" };
        out.object(&json!({ "sequence": letter.sequence, "action": action }));
    }
    out.print(&text!("{} {}", styled(BAD, "removed"), pluralize(removed, "dead letter")));
    Ok(Exit::Ok)
}
