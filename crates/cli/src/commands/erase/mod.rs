//! `imchannel erase`: erases a customer. The timeline does it, over HTTP; this command asks, waits and says what came of it.
//!
//! The number is personal: it is sent in a body, and is in no output, error or log of this command.

mod show;
mod watch;
#[cfg(test)]
mod tests;

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use timeline::erasure::{ErasureAnswer, ErasureStep};
use timeline::http::ErasureBody;

use crate::confirm::is_confirmed;
use crate::exit::Exit;
use crate::output::{self, Out};
use crate::target::Target;
use crate::timeline_client::{Client, is_erasure_id};
use crate::timeline_target::TimelineTarget;

/// Most bytes that are read from standard input, with what follows the number. The timeline takes fewer.
const INPUT_BYTES_MAX: usize = 1024;
/// What is said of a text that is not an id.
const NO_ID: &str = "--watch: this is not an id of an erasure, which has 18 digits from 0 to f; `imchannel erase --to` prints it when it begins";

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).args(["to", "watch"]))]
pub(crate) struct Erase {
    /// The customer's number, or another id of theirs; `-` reads it from standard input, so that no history of a shell has it.
    #[arg(long, value_name = "NUMBER")]
    to: Option<String>,
    /// Follow an erasure that was asked for before, by its id.
    #[arg(long, value_name = "ID", conflicts_with_all = ["dry_run", "force", "reason", "yes"])]
    watch: Option<String>,
    /// Only count what would be erased.
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the back end: erase events that it has not acknowledged, and name them.
    #[arg(long)]
    force: bool,
    /// Why, for the audit log, such as the number of the request. Write no name or number of a customer.
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["dry_run", "watch"])]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// The rest of a number with spaces. It is taken so that no error quotes it.
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    timeline: TimelineTarget,
}

// The number is personal.
impl std::fmt::Debug for Erase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Erase")
            .field("dry_run", &self.dry_run)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn run(command: Erase, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    if !command.rest.is_empty() {
        return Ok(out.faulty(
            "there are words that belong to no option; put quotes around a number with spaces: --to '+49 151 …'",
        ));
    }
    // What is pasted by a slip may be a number: it is in no URL, and not in the error.
    if command.watch.as_deref().is_some_and(|id| !is_erasure_id(id)) {
        return Ok(out.faulty(NO_ID));
    }
    let client = command.timeline.client(target)?;
    if let Some(id) = &command.watch {
        return finish(&watch::follow(&client, id, out).await?, &client, out);
    }
    // Before the number is read: a program that pipes it cannot be asked.
    let is_asked = !command.dry_run && !command.yes;
    if is_asked && !std::io::stdin().is_terminal() {
        return Ok(out.faulty("nothing was erased; use --yes to erase without asking"));
    }
    let number = match command.to.as_deref() {
        Some("-") => match only_number(&read_input()?) {
            Ok(number) => number,
            Err(why) => return Ok(out.faulty(why)),
        },
        number => number.unwrap_or_default().to_owned(),
    };
    if number.trim().is_empty() {
        return Ok(out.faulty("the number is empty"));
    }
    let reason = command.reason.clone().unwrap_or_default();
    let request = ErasureBody { number, dry_run: false, force: command.force, reason };
    if command.dry_run {
        return finish(&count(&client, &request, out).await?, &client, out);
    }
    if is_asked {
        let counted: ErasureAnswer = client.parsed(count(&client, &request, out).await?)?;
        show::counts(&counted, out);
        if !is_confirmed(command.yes, &show::question(&counted))? {
            return Ok(out.faulty("nothing was erased; use --yes to erase without asking"));
        }
    }
    let begun = client.erase(&request).await?;
    let begun: ErasureAnswer = client.parsed(begun)?;
    show::begun(&begun, out);
    finish(&watch::follow(&client, &begun.id, out).await?, &client, out)
}

/// Counts what would be erased: the last answer.
async fn count(client: &Client, request: &ErasureBody, out: &Out) -> anyhow::Result<serde_json::Value> {
    let body = client.erase(&ErasureBody { dry_run: true, ..request.clone() }).await?;
    let begun: ErasureAnswer = client.parsed(body)?;
    watch::Watch::of_count(client, &begun.id).until_over(out).await
}

/// Prints what came of an erasure that is over.
fn finish(body: &serde_json::Value, client: &Client, out: &Out) -> anyhow::Result<Exit> {
    let answer: ErasureAnswer = client.parsed(body.clone())?;
    if answer.step == ErasureStep::Interrupted {
        let why = answer.error.as_deref().unwrap_or("the timeline was stopped");
        if out.is_json() {
            out.object(body);
        } else {
            out.error(&format!("erasure {} has erased nothing: {why}", answer.id));
        }
        return Ok(Exit::Failed);
    }
    out.object(body);
    show::result(&answer, out);
    Ok(Exit::Ok)
}

/// Reads standard input: the line that a person types, or everything that a program writes. At most one byte more than is allowed.
fn read_input() -> anyhow::Result<Vec<u8>> {
    let is_typed = std::io::stdin().is_terminal();
    if is_typed {
        output::prompt("Number of the customer: ")?;
    }
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock().take(INPUT_BYTES_MAX as u64 + 1);
    let read = if is_typed { input.read_until(b'\n', &mut bytes) } else { input.read_to_end(&mut bytes) };
    read.context("cannot read the number from standard input")?;
    Ok(bytes)
}

/// The number in standard input: its first line, with nothing but blanks after it. An error does not quote it.
fn only_number(input: &[u8]) -> Result<String, &'static str> {
    if input.len() > INPUT_BYTES_MAX {
        return Err(
            "standard input has more than a number; nothing was erased: give one number, on one line",
        );
    }
    let text = std::str::from_utf8(input)
        .map_err(|_| "standard input is not UTF-8; nothing was erased: give one number, on one line")?;
    let (number, rest) = text.split_once('\n').unwrap_or((text, ""));
    if !rest.trim().is_empty() {
        return Err(
            "standard input has more than one line; nothing was erased: give one number, and run the command for each number",
        );
    }
    Ok(number.trim().to_owned())
}
