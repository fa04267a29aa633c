//! What happens from now on: to everything, by the stream of new rows, or to one message, by asking again.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use timeline::http::answer::{LifeAnswer, LiveAnswer, MissedAnswer, TimelineAnswer};

use crate::commands::trace::life;
use crate::exit::Exit;
use crate::output::{DIM, ODD, Out, Text, styled, text};
use crate::timeline_client::{Client, Found};

/// Interval at which the timeline of a message is read again.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most bytes of an event.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Columns of a status and summary, so that the places of most rows are aligned.
const WHAT_WIDTH: usize = 32;

/// Prints what the timeline of a message has, and then what is new in it, until Ctrl-C. It may not have anything yet.
pub(super) async fn message(client: &Client, id: &str, out: &Out) -> anyhow::Result<Exit> {
    let mut seen = Seen::default();
    loop {
        if let Found::Body(body) = client.timeline(id).await? {
            let answer: TimelineAnswer = client.parsed(body.clone())?;
            let new: Vec<Text> = answer.lives.iter().flat_map(|life| seen.new_lines(life)).collect();
            if !new.is_empty() {
                out.object(&body);
                new.iter().for_each(|line| out.print(line));
            }
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// What was printed of the lives of an id.
#[derive(Debug, Default)]
struct Seen {
    heads: HashSet<String>,
    rows: HashSet<(String, u32)>,
    missing: HashSet<(String, Timestamp)>,
}

impl Seen {
    /// The lines of a life that were not printed yet.
    fn new_lines(&mut self, of: &LifeAnswer) -> Vec<Text> {
        let head = life::headline(of);
        let mut lines: Vec<Text> = self.heads.insert(head.to_string()).then_some(head).into_iter().collect();
        for (index, row) in of.rows.iter().enumerate() {
            if self.rows.insert((row.pointer.clone(), row.part)) {
                lines.extend(life::row(of, index, WHAT_WIDTH));
            }
        }
        let new = of.missing.iter().filter(|of| self.missing.insert((of.rule.clone(), of.since)));
        lines.extend(new.flat_map(life::missing));
        lines
    }
}

/// Prints every new row, until Ctrl-C.
pub(super) async fn everything(client: &Client, out: &Out) -> anyhow::Result<Exit> {
    let mut answer = client.live().await?;
    let mut events = Events::default();
    loop {
        let piece = tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
            piece = answer.chunk() => piece?,
        };
        let Some(piece) = piece else {
            bail!("the timeline ended the stream of new rows; it was stopped or restarted")
        };
        for Event { name, data } in events.take(&piece)? {
            match name.as_str() {
                "row" => {
                    let row = serde_json::from_str(&data)?;
                    out.object(&row);
                    out.print(&line(&client.parsed(row)?));
                }
                "missed" => {
                    let missed: MissedAnswer = serde_json::from_str(&data)?;
                    out.object(&serde_json::json!({ "missed": missed.rows }));
                    let words =
                        format!("{} rows came faster than they were printed, and are left out", missed.rows);
                    out.print(&text!("{}", styled(ODD, &words)));
                }
                _ => {}
            }
        }
    }
}

fn line(row: &LiveAnswer) -> Text {
    let channel = format!("channel {}", row.channel);
    let ids = row.row.ids.iter().filter(|id| id.kind == "command" || id.kind == "message");
    let words = std::iter::once(channel.as_str()).chain(row.recipient.as_deref());
    let words: Vec<_> = words.chain(ids.map(|id| id.id.as_str())).collect();
    let of = styled(DIM, &words.join("  "));
    text!("{}  {of}", life::step(&row.row, WHAT_WIDTH))
}

/// An event of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

/// Reads server-sent events (WHATWG HTML, section 9.2.6) of the pieces in which they come. The timeline ends lines with LF.
#[derive(Debug, Default)]
struct Events {
    rest: Vec<u8>,
    name: String,
    data: String,
}

impl Events {
    fn take(&mut self, piece: &[u8]) -> anyhow::Result<Vec<Event>> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                if !data.is_empty() {
                    events.push(Event { name, data });
                }
            } else if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut self.name);
            } else if let Some(data) = line.strip_prefix("data:") {
                self.data.push_str(data.trim_start());
            }
        }
        if self.rest.len() + self.data.len() > EVENT_BYTES_MAX {
            bail!("the timeline sent an event of more than {EVENT_BYTES_MAX} bytes");
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_from_pieces_of_any_size() {
        let stream = b": a comment\n\nevent: read_until\ndata: [1]\n\nevent: row\r\ndata: {\"a\":\"\xe2\x80\xa6\"}\n\n";
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        for size in 1..stream.len() {
            let mut events = Events::default();
            let all: Vec<_> = stream.chunks(size).flat_map(|piece| events.take(piece).unwrap()).collect();
            assert_eq!(all, [event("read_until", "[1]"), event("row", "{\"a\":\"…\"}")]);
        }
        assert!(Events::default().take(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
    }
}
