//! Puts rows together to lives.
//!
//! Rows of one channel that share a command's or message's id are of one message: two channels may have commands and messages with
//! the same ids. A command, its result and its dead letter also share the command's place in its stream, which is needed where an
//! id could not be decoded. A webhook is in the life of every message that it reports on; its dead letters are a life of their own.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::life::missing::missing;
use crate::life::notes::notes;
use crate::life::order::order;
use crate::life::source::{is_made_from, stored_in};
use crate::life::{Life, View};
use crate::row::{IdKind, LookupKey, Pointer, Row, RowKind, StreamNumber};

/// The lives of rows, the oldest first. The order of the rows does not matter, and each may be there several times.
pub fn assemble(mut rows: Vec<Row>, view: &View) -> Vec<Life> {
    rows.sort_by_key(place);
    rows.dedup_by_key(|row| place(row));
    let (webhooks, others): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.kind == RowKind::Webhook);
    let mut groups = grouped(others);
    attach(webhooks, &mut groups);
    // Groups with the same webhook stay in the order of their other rows, because the sort is stable.
    groups.sort_by_key(|rows| rows.iter().map(place).min());
    groups.into_iter().map(|rows| life(rows, view)).collect()
}

fn place(row: &Row) -> (Timestamp, Pointer) {
    (row.stored_at, row.pointer)
}

fn life(mut rows: Vec<Row>, view: &View) -> Life {
    show_as_command(&mut rows);
    order(&mut rows);
    let missing = missing(&rows, view);
    let notes = notes(&rows, &missing, view);
    Life { rows, missing, notes }
}

/// Shows the ids of a message in every row as its command shows them. Only the command says which digits are the customer's number,
/// so that other rows hide all that may be one.
fn show_as_command(rows: &mut [Row]) {
    let commands = rows.iter().filter(|row| row.kind == RowKind::Command);
    let links = commands.flat_map(|row| &row.links).filter(|link| link.kind.is_of_one_message());
    let shown: HashMap<LookupKey, String> = links.map(|link| (link.key, link.shown.clone())).collect();
    for row in
        rows.iter_mut().filter(|row| matches!(row.kind, RowKind::Result | RowKind::Attempt | RowKind::Fetch))
    {
        for link in &mut row.links {
            if let Some(shown) = shown.get(&link.key) {
                link.shown.clone_from(shown);
            }
        }
    }
}

/// What rows of one message have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Shared {
    /// A command's id in a channel.
    Command(String, LookupKey),
    /// One of the BSP's ids of a message in a channel.
    Message(String, LookupKey),
    /// A webhook of which dead letters came in a channel.
    Webhook(String, LookupKey),
}

fn shared(row: &Row) -> Vec<Shared> {
    let of_link = |kind: IdKind, key: LookupKey| match kind {
        IdKind::Command => Some(Shared::Command(row.channel.clone(), key)),
        IdKind::Message | IdKind::ProviderMessage => Some(Shared::Message(row.channel.clone(), key)),
        IdKind::Event | IdKind::Media | IdKind::Stored => None,
    };
    let shared: Vec<Shared> = row.links.iter().filter_map(|link| of_link(link.kind, link.key)).collect();
    if shared.is_empty() && row.kind == RowKind::DeadLetter {
        let of_webhook = |key| Shared::Webhook(row.channel.clone(), key);
        return stored_in(row, StreamNumber::Webhooks).map(of_webhook).collect();
    }
    shared
}

/// The rows of each message.
fn grouped(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut sets = Sets::of(rows.len());
    let mut first_with: HashMap<Shared, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        for shared in shared(row) {
            let first = *first_with.entry(shared).or_insert(index);
            sets.join(first, index);
        }
    }
    join_by_command(&rows, &mut sets);
    let mut groups: HashMap<usize, Vec<Row>> = HashMap::new();
    for (index, row) in rows.into_iter().enumerate() {
        groups.entry(sets.root(index)).or_default().push(row);
    }
    let mut groups: Vec<Vec<Row>> = groups.into_values().collect();
    groups.sort_by_key(|rows| rows.iter().map(place).min());
    groups
}

/// Joins results and dead letters with the command at the place that they name. Without the command they are joined with each other.
fn join_by_command(rows: &[Row], sets: &mut Sets) {
    let mut at: HashMap<LookupKey, Vec<usize>> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        for key in stored_in(row, StreamNumber::Commands) {
            at.entry(key).or_default().push(index);
        }
    }
    for indices in at.into_values() {
        let (commands, made): (Vec<usize>, Vec<usize>) =
            indices.into_iter().partition(|index| rows[*index].kind == RowKind::Command);
        let mut without = None;
        for index in made {
            let command = commands.iter().rev().find(|command| is_made_from(&rows[index], &rows[**command]));
            match command {
                Some(command) => sets.join(*command, index),
                None => sets.join(*without.get_or_insert(index), index),
            }
        }
    }
}

/// Puts each webhook into the groups of what was made from it, or into one of its own.
fn attach(webhooks: Vec<Row>, groups: &mut Vec<Vec<Row>>) {
    let mut made: HashMap<LookupKey, Vec<usize>> = HashMap::new();
    for (group, rows) in groups.iter().enumerate() {
        for key in rows.iter().flat_map(|row| stored_in(row, StreamNumber::Webhooks)) {
            made.entry(key).or_default().push(group);
        }
    }
    for webhook in webhooks {
        let own: Vec<LookupKey> = stored_in(&webhook, StreamNumber::Webhooks).collect();
        let mut named: Vec<usize> = own.iter().filter_map(|key| made.get(key)).flatten().copied().collect();
        named.dedup();
        named.retain(|group| groups[*group].iter().any(|row| is_made_from(row, &webhook)));
        if named.is_empty() {
            groups.push(vec![webhook]);
            continue;
        }
        for group in named {
            groups[group].push(webhook.clone());
        }
    }
}

/// Disjoint sets of indices.
struct Sets(Vec<usize>);

impl Sets {
    fn of(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    /// Joins two sets; the smaller root stays, so that the result depends on the indices only.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}
