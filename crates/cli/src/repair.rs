//! `imchannel streams repair`: what a server has forgotten after a full disk, and what is done about it.

use anyhow::bail;
use bus::Bus;
use bus::repair::{self, Found};
use bus::streams::StreamDefinition;
use serde_json::json;

use crate::Done;
use crate::confirm::is_confirmed;
use crate::out::{BAD, GOOD, Out, styled, text};

/// What an operator has to know before sends go on.
const LEDGER_WARNING: &str = "The ledger of sends may have lost entries. A command whose entry is lost and that is given out \
again is SENT AGAIN: commands without a result, and those that the back end publishes again. Section 'The ledger has gone back' \
of docs/operations.md says how to find them.";
/// And before services read the channels again.
const CHANNELS_WARNING: &str = "The registry may have lost channels. Apply the channels file first: services know the channels \
that they had, and will take what is stored now instead.";

pub(crate) async fn run(bus: &Bus, named: &[String], yes: bool, out: &Out) -> anyhow::Result<Done> {
    let all = repair::look(bus).await?;
    if let Some(unknown) = named.iter().find(|name| all.iter().all(|found| found.stream != **name)) {
        let names: Vec<_> = all.iter().map(|found| found.stream).collect();
        return Ok(out.faulty(&format!("nothing is known of {unknown}; there are {}", names.join(", "))));
    }
    let is_meant = |found: &&Found| found.has_gone_back() || named.iter().any(|name| name == found.stream);
    let (buckets, streams): (Vec<&Found>, Vec<&Found>) =
        all.iter().filter(is_meant).partition(|found| found.is_bucket());
    if buckets.is_empty() && streams.is_empty() {
        out.say(&text!(
            "{}: no stream ends below the places of its readers",
            styled(GOOD, "nothing to repair")
        ));
        out.say("a stream that a service's /ready names all the same is repaired with --stream NAME");
        out.object(&json!({ "repaired": 0 }));
        return Ok(Done::Well);
    }
    let mut done = Done::Well;
    for found in streams {
        tell(found, out);
        let not_made = repair::make_durables_again(bus, found).await?;
        say_done(found, &format!("durables made again: {}", found.durables.join(", ")), out);
        for error in not_made {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            let advice =
                "its owner makes it from the first message on; imchannel's own are made by `imchannel setup`";
            done = out.faulty(&format!("{error} was removed and not made again ({source}): {advice}"));
        }
    }
    for found in buckets {
        tell(found, out);
        let warning = if found.is_ledger() { LEDGER_WARNING } else { CHANNELS_WARNING };
        out.say(&text!("{} {warning}", styled(BAD, "warning:")));
        let question = if found.is_ledger() { "Let sends go on?" } else { "Let services read the channels?" };
        if !is_confirmed(yes, question)? {
            return Ok(
                out.faulty(&format!("{} stays refused; --yes accepts it without asking", found.stream))
            );
        }
        repair::accept(bus, found).await?;
        say_done(found, "accepted as it is", out);
    }
    Ok(done)
}

/// Refuses to publish to a stream whose readers would not be given what it takes.
///
/// # Errors
/// A text for people, and what the server does not answer.
pub(crate) async fn refuse_gone_back(bus: &Bus, stream: &StreamDefinition) -> anyhow::Result<()> {
    let found = repair::look_at(bus, stream).await?;
    if let Some(Found { stream, reached, last, .. }) = found.filter(Found::has_gone_back) {
        bail!(
            "{stream} had reached sequence {reached} and now ends at {last}: run `imchannel streams repair`"
        );
    }
    Ok(())
}

fn tell(found: &Found, out: &Out) {
    let Found { stream, reached, last, .. } = found;
    out.say(&if found.is_replaced {
        format!("{stream} was made again; it now ends at sequence {last}")
    } else {
        format!("{stream} had reached sequence {reached} and now ends at {last}")
    });
}

fn say_done(found: &Found, what: &str, out: &Out) {
    out.say(&text!("{} {}: {what}", styled(GOOD, "repaired"), found.stream));
    out.object(&json!({
        "stream": found.stream, "reached": found.reached, "last": found.last, "durables": found.durables,
        "repaired": what,
    }));
}
