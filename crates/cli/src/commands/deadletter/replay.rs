//! Publishes again what dead letters hold, if this version can parse it.

use anyhow::Context as _;
use bsp::{Parsed, registry};
use bus::replay::ReplayRun;
use bus::{Bus, Delivery, headers, message_store};
use serde_json::json;

use super::{Now, command, parse};
use crate::commands::replay::{bar, publish};
use crate::exit::Exit;
use crate::output::{GOOD, ODD, Out, styled, text};
use crate::words::pluralize;

/// Options of a replay of dead letters.
#[derive(Debug, Clone)]
pub(super) struct ReplayOptions {
    /// Publish and remove nothing.
    pub(super) dry_run: bool,
    /// Keep the dead letters of what is published.
    pub(super) keep: bool,
    /// Who does it, and why.
    pub(super) run: ReplayRun,
}

pub(super) async fn replay_letters(
    bus: &Bus,
    letters: Vec<Delivery>,
    options: ReplayOptions,
    out: &Out,
) -> anyhow::Result<Exit> {
    let _room = publish::Room::watch(bus).await?;
    let progress = bar(letters.len() as u64, "replaying", out);
    let mut done = Replayed::default();
    for letter in &letters {
        let replay = Replay { bus, letter, options: &options };
        let (what, detail) = replay.run(&mut done).await?;
        out.object(&json!({ "sequence": letter.sequence, "outcome": what, "reason": detail }));
        let style = if what == "refused" { ODD } else { GOOD };
        progress.suspend(|| {
            out.print(&text!("dead letter {} {} {detail}", letter.sequence, styled(style, what)))
        });
        progress.inc(1);
    }
    progress.finish_and_clear();
    let Replayed { events, commands, refused } = done;
    let count = letters.len();
    out.object(
        &json!({ "letters": count, "events": events, "commands": commands, "refused": refused, "dry_run": options.dry_run }),
    );
    let note =
        if options.dry_run { "; nothing was published or removed; use --publish to do so" } else { "" };
    out.print(&format!(
        "{}: {} and {} published, {refused} still refused{note}",
        pluralize(count, "dead letter"),
        pluralize(events, "event"),
        pluralize(commands, "command")
    ));
    Ok(Exit::Ok)
}

/// Totals of a replay of dead letters.
#[derive(Debug, Default)]
struct Replayed {
    events: u64,
    commands: u64,
    /// Dead letters that are still refused.
    refused: u64,
}

/// The replay of one dead letter.
struct Replay<'r> {
    bus: &'r Bus,
    letter: &'r Delivery,
    options: &'r ReplayOptions,
}

impl Replay<'_> {
    /// Returns the outcome for the dead letter, and details.
    async fn run(&self, done: &mut Replayed) -> anyhow::Result<(&'static str, String)> {
        Ok(match parse(self.bus, self.letter).await? {
            Now::Refused(reason) => {
                done.refused += 1;
                ("refused", reason)
            }
            Now::Command(_) if self.options.keep => {
                done.refused += 1;
                let reason = "a command is not published with --keep: its dead letter could be sent again after the ledger of sends \
                              has removed its entry";
                ("refused", reason.to_owned())
            }
            Now::Understood(..) | Now::Command(_) if self.options.dry_run => {
                ("would be published", String::new())
            }
            Now::InPart(_, parsed, still) if self.options.dry_run => {
                ("would be published in part", still.detail(parsed.items.len()))
            }
            Now::Command(again) => {
                command::publish(self.bus, self.letter, &again, &self.options.run).await?;
                done.commands += 1;
                ("published", String::new())
            }
            Now::Understood(webhook, parsed) => {
                done.events += self.publish(&webhook, &parsed).await?;
                if !self.options.keep {
                    message_store::drop_dead_letter(self.bus, self.letter.sequence).await?;
                }
                ("published", String::new())
            }
            // The items that are still refused have no other dead letter.
            Now::InPart(webhook, parsed, still) => {
                done.events += self.publish(&webhook, &parsed).await?;
                ("published in part", still.detail(parsed.items.len()))
            }
        })
    }

    /// Publishes the events, and returns their number.
    async fn publish(&self, webhook: &Delivery, parsed: &Parsed) -> anyhow::Result<u64> {
        let address =
            self.letter.address().context("the subject of the dead letter is not a subject of imchannel")?;
        let channel = address.channel().context("the dead letter names no channel")?;
        let bsp = registry::find(self.letter.headers.get(headers::BSP).unwrap_or_default());
        let bsp = bsp.context("the BSP of the dead letter is unknown")?.profile().id;
        let mut events = 0;
        let replay = publish::WebhookReplay { webhook, bsp, channel, run: &self.options.run };
        for item in &parsed.items {
            events += u64::from(replay.publish_item(self.bus, item).await?);
        }
        Ok(events)
    }
}
