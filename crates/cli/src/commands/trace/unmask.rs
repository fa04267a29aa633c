//! The messages behind an id with numbers and texts, as the timeline's page shows them. The timeline decides who may see them, and writes
//! its audit log before it answers.

use serde_json::Value;
use timeline::http::answer::{UnmaskAnswer, UnmaskRequest, UnmaskedAnswer};

use crate::commands::trace::{life, nothing};
use crate::exit::Exit;
use crate::output::{DIM, ODD, Out, STRONG, Text, styled, text};
use crate::timeline_client::{Client, Found};

/// Asks for the messages and prints them.
pub(super) async fn show(client: &Client, request: &UnmaskRequest, out: &Out) -> anyhow::Result<Exit> {
    let body = match client.unmask(request).await? {
        Found::Body(body) => body,
        Found::Nothing(problem) => return Ok(nothing(&problem, out)),
    };
    out.object(&body);
    let answer: UnmaskAnswer = client.parsed(body)?;
    lines(&answer).iter().for_each(|line| out.print(line));
    Ok(Exit::Ok)
}

/// Everything that is shown.
pub(super) fn lines(answer: &UnmaskAnswer) -> Vec<Text> {
    let notice = format!("Personal data of {}. This is entry {} of the audit log.", answer.id, answer.audit);
    let mut lines = vec![text!("{}", styled(ODD, &notice))];
    lines.extend(answer.messages.iter().flat_map(message));
    if answer.cut {
        let words = "There is more than is shown here: ask for the id of one message.";
        lines.push(text!("{}", styled(ODD, words)));
    }
    lines
}

fn message(message: &UnmaskedAnswer) -> Vec<Text> {
    let kept = if message.source.as_deref() == Some("row") {
        "  as the row kept it; its stream did not give it"
    } else {
        ""
    };
    let place = format!("{}  {}{kept}", life::time(message.at), message.pointer);
    let head = text!("{}  {}", styled(STRONG, &life::words_of(&message.kind)), styled(DIM, &place));
    let mut lines = vec![Text::default(), head];
    match &message.content {
        Some(content) => lines.extend(pretty(content).lines().map(|line| text!("  {line}"))),
        None => {
            let why = message.detail.as_deref().unwrap_or("no content");
            lines.push(text!("  {}", styled(ODD, &format!("Not shown: {why}."))));
        }
    }
    lines
}

/// A content in lines. A line break in a text stays escaped.
fn pretty(content: &Value) -> String {
    serde_json::to_string_pretty(content).expect("a JSON value is always JSON")
}
