//! `imchannel trace`: what happened to a message, and what is missing in it. It asks the timeline over HTTP, and needs neither NATS
//! nor a key.

mod client;
mod follow;
mod life;
mod list;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde_json::Value;
use timeline::http::answer::{MessagesAnswer, ProblemsAnswer, TimelineAnswer};

use crate::commands::trace::client::{Client, Found};
use crate::duration::{self, Moment};
use crate::exit::Exit;
use crate::output::Out;
use crate::target::{self, Target};

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
    /// URL of the timeline [default: that of the `up` in this folder, else http://127.0.0.1:8082].
    #[arg(long, env = "IMCHANNEL_CONSOLE_URL", value_name = "URL")]
    console_url: Option<String>,
    /// Bearer token of the timeline, if it asks for one.
    #[arg(long, env = "IMCHANNEL_CONSOLE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    console_token: Option<String>,
    /// File that contains the token.
    #[arg(long, env = "IMCHANNEL_CONSOLE_TOKEN_FILE", conflicts_with = "console_token", value_name = "FILE")]
    console_token_file: Option<PathBuf>,
}

// The token is secret, the number personal.
impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("problems", &self.problems)
            .field("follow", &self.follow)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn run(command: Trace, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let client = Client::new(&command.url(target), command.token()?)?;
    match (&command.id, &command.to) {
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

impl Trace {
    fn url(&self, target: &Target) -> String {
        // Compose files set variables to empty values.
        let given = self.console_url.clone().filter(|url| !url.is_empty());
        let url = given.or_else(|| target.console_of_up());
        url.unwrap_or_else(|| "http://127.0.0.1:8082".to_owned()).trim_end_matches('/').to_owned()
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        match self.console_token_file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
            Some(file) => Ok(Some(target::read_secret(file)?)),
            None => Ok(self.console_token.clone().filter(|token| !token.is_empty())),
        }
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
