//! `imchannel streams repair`: repairs streams that lost their sequence on a full disk.

use anyhow::bail;
use bus::Bus;
use bus::repair::{self, StreamPosition};
use bus::streams::StreamDefinition;
use serde_json::json;

use crate::confirm::is_confirmed;
use crate::exit::Exit;
use crate::output::{BAD, GOOD, Out, styled, text};

/// Warning before sends continue.
const LEDGER_WARNING: &str = "The ledger of sends may have lost entries. A command whose entry is lost and that is delivered \
again is SENT AGAIN: commands without a result, and those that the back end publishes again. Section 'The ledger has gone back' \
of docs/operations.md says how to find them.";
/// Warning before services read the channels again.
const CHANNELS_WARNING: &str = "The registry may have lost channels. Apply the channels file first: services keep the channels \
that they had, and will take what is stored now instead.";

pub(crate) async fn run(bus: &Bus, named: &[String], yes: bool, out: &Out) -> anyhow::Result<Exit> {
    let all = repair::inspect_all(bus).await?;
    if let Some(unknown) = named.iter().find(|name| all.iter().all(|found| found.stream.name() != *name)) {
        let names: Vec<_> = all.iter().map(|found| found.stream.name()).collect();
        return Ok(out.faulty(&format!("unknown stream {unknown}; known streams: {}", names.join(", "))));
    }
    let is_meant = |found: &&StreamPosition| {
        found.has_gone_back() || named.iter().any(|name| name == found.stream.name())
    };
    let (buckets, streams): (Vec<&StreamPosition>, Vec<&StreamPosition>) =
        all.iter().filter(is_meant).partition(|found| found.is_bucket());
    if buckets.is_empty() && streams.is_empty() {
        out.print(&text!(
            "{}: no stream ends below the positions of its readers",
            styled(GOOD, "nothing to repair")
        ));
        out.print("to repair a stream that /ready of a service names anyway, use --stream NAME");
        out.object(&json!({ "repaired": 0 }));
        return Ok(Exit::Ok);
    }
    let mut done = Exit::Ok;
    for found in streams {
        print_position(found, out);
        let not_made = repair::recreate_consumers(bus, found).await?;
        say_done(found, &format!("durables created again: {}", found.durables.join(", ")), out);
        for error in not_made {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            let advice = "its owner must create it again from the first message on; `imchannel setup` creates those of imchannel";
            done = out
                .faulty(&format!("{error} was removed and could not be created again ({source}): {advice}"));
        }
    }
    for found in buckets {
        print_position(found, out);
        let warning = if found.is_ledger() { LEDGER_WARNING } else { CHANNELS_WARNING };
        out.print(&text!("{} {warning}", styled(BAD, "warning:")));
        let question =
            if found.is_ledger() { "Continue sending?" } else { "Let services read the channels?" };
        if !is_confirmed(yes, question)? {
            return Ok(out.faulty(&format!(
                "{} is still refused; use --yes to accept it without asking",
                found.stream
            )));
        }
        repair::accept(bus, found).await?;
        say_done(found, "accepted as it is", out);
    }
    Ok(done)
}

/// Fails if new messages of a stream would not be delivered to its readers.
///
/// # Errors
/// A text for people, or that the server does not respond.
pub(crate) async fn refuse_gone_back(bus: &Bus, stream: &StreamDefinition) -> anyhow::Result<()> {
    let found = repair::inspect(bus, stream).await?;
    if let Some(StreamPosition { stream, reached, last, .. }) = found.filter(StreamPosition::has_gone_back) {
        bail!(
            "{stream} had reached sequence {reached} and now ends at {last}: run `imchannel streams repair`"
        );
    }
    Ok(())
}

fn print_position(found: &StreamPosition, out: &Out) {
    let StreamPosition { stream, reached, last, .. } = found;
    out.print(&if found.is_replaced {
        format!("{stream} was created again; it now ends at sequence {last}")
    } else {
        format!("{stream} had reached sequence {reached} and now ends at {last}")
    });
}

fn say_done(found: &StreamPosition, what: &str, out: &Out) {
    out.print(&text!("{} {}: {what}", styled(GOOD, "repaired"), found.stream));
    out.object(&json!({
        "stream": found.stream.name(), "reached": found.reached, "last": found.last, "durables": found.durables,
        "repaired": what,
    }));
}
