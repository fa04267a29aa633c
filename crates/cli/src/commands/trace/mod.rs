//! `imchannel trace`: what happened to a message, and what is missing in it. It asks the timeline over HTTP, and needs neither NATS
//! nor a key.

mod follow;
mod life;
mod list;
mod unmask;
#[cfg(test)]
mod tests;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde_json::Value;
use timeline::http::answer::{MessagesAnswer, ProblemsAnswer, TimelineAnswer, UnmaskRequest};

use crate::duration::{self, Moment};
use crate::exit::Exit;
use crate::output::Out;
use crate::target::Target;
use crate::timeline_client::{Client, Found};
use crate::timeline_target::TimelineTarget;

/// Most messages or problems that are printed.
const LISTED_MAX: usize = 50;

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["id", "to", "problems", "follow"]))]
pub(crate) struct Trace {
    /// Id of a command, message, event or file, wamid.…, or place of a stored message such as WEBHOOKS/123.
    #[arg(conflicts_with_all = ["to", "problems"])]
    id: Option<String>,
    /// List the messages of a customer's number, the newest first.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["problems", "follow"])]
    to: Option<String>,
    /// With --to: only messages since this long ago (90s, 15m, 2h, 3d) or a time (2026-03-01T10:00:00Z).
    #[arg(long, value_name = "WHEN", value_parser = duration::moment, requires = "to")]
    since: Option<Moment>,
    /// List what is missing, the longest overdue first.
    #[arg(long, conflicts_with = "follow")]
    problems: bool,
    /// Print what happens from now on, until Ctrl-C; with an ID only to that message.
    #[arg(long)]
    follow: bool,
    /// Show the messages behind the id with numbers and texts. The timeline writes into its audit log who saw them, and why. Needs the
    /// timeline's role `unmask`.
    #[arg(long, requires_all = ["id", "reason"], conflicts_with_all = ["to", "problems", "follow"])]
    unmask: bool,
    /// With --unmask: why, for the audit log, such as the number of a ticket. Write no name or number of a customer.
    #[arg(long, value_name = "TEXT", requires = "unmask")]
    reason: Option<String>,
    #[command(flatten)]
    timeline: TimelineTarget,
}

// The number is personal, and ids and reasons may be.
impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("problems", &self.problems)
            .field("follow", &self.follow)
            .field("unmask", &self.unmask)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn run(command: Trace, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let client = command.timeline.client(target)?;
    match (&command.id, &command.to) {
        (Some(id), _) if command.unmask => {
            let reason = command.reason.clone().unwrap_or_default();
            unmask::show(&client, &UnmaskRequest { id: id.clone(), reason }, out).await
        }
        (Some(id), _) if command.follow => follow::message(&client, id, out).await,
        (Some(id), _) => one(&client, id, out).await,
        (None, Some(number)) => {
            let since = command.since.map(|since| since.from(Timestamp::now()));
            of_number(&client, number, since, out).await
        }
        (None, None) if command.follow => follow::everything(&client, out).await,
        (None, None) => problems(&client, out).await,
    }
}

async fn one(client: &Client, id: &str, out: &Out) -> anyhow::Result<Exit> {
    let body = match client.timeline(id).await? {
        Found::Body(body) => body,
        Found::Nothing(problem) => return Ok(nothing(&problem, out)),
    };
    out.object(&body);
    let answer: TimelineAnswer = client.parsed(body)?;
    life::lines(&answer).iter().for_each(|line| out.print(line));
    Ok(exit(answer.lives.iter().all(|life| life.missing.is_empty())))
}

async fn of_number(
    client: &Client,
    number: &str,
    since: Option<Timestamp>,
    out: &Out,
) -> anyhow::Result<Exit> {
    let body = client.messages_of(number, since, LISTED_MAX).await?;
    out.object(&body);
    let answer: MessagesAnswer = client.parsed(body)?;
    list::messages(&answer).iter().for_each(|line| out.print(line));
    if answer.messages.is_empty() && answer.next.is_none() {
        return Ok(Exit::NotFound);
    }
    Ok(exit(answer.messages.iter().all(|message| message.missing.is_empty())))
}

async fn problems(client: &Client, out: &Out) -> anyhow::Result<Exit> {
    let body = client.problems(LISTED_MAX).await?;
    out.object(&body);
    let answer: ProblemsAnswer = client.parsed(body)?;
    list::problems(&answer).iter().for_each(|line| out.print(line));
    Ok(exit(answer.problems.is_empty() && answer.waiting.is_empty()))
}

fn exit(is_whole: bool) -> Exit {
    if is_whole { Exit::Ok } else { Exit::Drift }
}

/// Says that nothing was found: the body for programs, its text for people.
fn nothing(problem: &Value, out: &Out) -> Exit {
    if out.is_json() {
        out.object(problem);
    } else {
        out.error(&life::not_found(problem));
    }
    Exit::NotFound
}
