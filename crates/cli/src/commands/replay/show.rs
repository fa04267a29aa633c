//! Shows differences: the first few in full, and the number of all by what they change.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compare::{Change, Compared};
use crate::exit::Exit;
use crate::output::{BAD, DIM, GOOD, Out, STRONG, styled, text};
use crate::words::pluralize;

/// Totals of a comparison.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) webhooks: u64,
    same: u64,
    not_stored: u64,
    waiting: u64,
    /// Differences by what they change, with their number and the first webhook.
    shapes: BTreeMap<String, (u64, u64)>,
    examples_left: usize,
}

impl Summary {
    pub(crate) fn new(examples: usize) -> Self {
        Self {
            webhooks: 0,
            same: 0,
            not_stored: 0,
            waiting: 0,
            shapes: BTreeMap::new(),
            examples_left: examples,
        }
    }

    /// Counts an item, and prints it if it is among the first that differ.
    pub(crate) fn add(&mut self, channel: &str, sequence: u64, item: &Compared, out: &Out) {
        match &item.change {
            Change::Same => return self.same += 1,
            Change::NotStored => return self.not_stored += 1,
            Change::Waiting => return self.waiting += 1,
            _ => {}
        }
        // Each BSP has a separate row, because it has a separate parser.
        let bsp = channel.split('/').next().unwrap_or_default();
        let shape = format!("{bsp} {}: {}", item.kind, shape(&item.change));
        let (count, _) = self.shapes.entry(shape).or_insert((0, sequence));
        *count += 1;
        out.object(&json!({
            "webhook": sequence, "item": item.index, "channel": channel, "kind": item.kind,
            "message_id": item.message_id, "change": to_json(&item.change),
        }));
        // The first examples of every kind are more useful than many of one kind.
        if self.examples_left > 0 && *count <= 3 {
            self.examples_left -= 1;
            self.example(channel, sequence, item, out);
        }
    }

    fn example(&self, channel: &str, sequence: u64, item: &Compared, out: &Out) {
        let name = styled(STRONG, &format!("webhook {sequence} item {}", item.index));
        out.print(&text!("{name} {} {} {}", styled(DIM, channel), item.kind, item.message_id));
        let (then, now) = match &item.change {
            Change::Changed(fields) => {
                for field in fields {
                    out.print(&styled(BAD, &format!("- {}: {}", field.path, field.then)));
                    out.print(&styled(GOOD, &format!("+ {}: {}", field.path, field.now)));
                }
                return;
            }
            Change::New(Some(reason)) => (format!("dead letter: {reason}"), "an event".to_owned()),
            Change::New(None) => ("nothing".to_owned(), "an event".to_owned()),
            Change::Gone(reason) => ("an event".to_owned(), format!("none: {reason}")),
            Change::OtherReason { then, now } => {
                (format!("dead letter: {then}"), format!("dead letter: {now}"))
            }
            Change::Same | Change::NotStored | Change::Waiting => return,
        };
        out.print(&styled(BAD, &format!("- {then}")));
        out.print(&styled(GOOD, &format!("+ {now}")));
    }

    /// Prints the counts.
    pub(crate) fn finish(self, out: &Out) -> Exit {
        let different: u64 = self.shapes.values().map(|(count, _)| count).sum();
        let shapes: Vec<Value> = self
            .shapes
            .iter()
            .map(|(what, (count, first))| json!({ "what": what, "items": count, "first_webhook": first }))
            .collect();
        out.object(&json!({
            "webhooks": self.webhooks, "same": self.same, "different": different,
            "no_longer_stored": self.not_stored, "not_processed_yet": self.waiting, "differences": shapes,
        }));
        let rows: Vec<_> = self
            .shapes
            .iter()
            .map(|(what, (count, first))| [what.clone(), count.to_string(), first.to_string()])
            .collect();
        if !rows.is_empty() {
            out.table(&["Difference (then → now)", "Items", "First webhook"], &rows);
        }
        let mut line = format!(
            "{}: {} as published, {different} different",
            pluralize(self.webhooks, "webhook"),
            pluralize(self.same, "item")
        );
        if self.not_stored > 0 {
            line.push_str(&format!(", {} whose events are no longer stored", self.not_stored));
        }
        if self.waiting > 0 {
            line.push_str(&format!(", {} not processed yet", self.waiting));
        }
        out.print(&line);
        if different == 0 { Exit::Ok } else { Exit::Drift }
    }
}

/// Returns what a change changes, without the values of one message.
fn shape(change: &Change) -> String {
    match change {
        Change::Changed(fields) => {
            let parts = fields.iter().map(|field| {
                let is_word = |text: &str| {
                    text.len() <= 40 && !text.contains(|c: char| c.is_ascii_digit() && text.len() > 4)
                };
                if is_word(&field.then) && is_word(&field.now) {
                    format!("{}: {} → {}", field.path, field.then, field.now)
                } else {
                    field.path.clone()
                }
            });
            parts.collect::<Vec<_>>().join("; ")
        }
        Change::New(Some(_)) => "a dead letter → an event".to_owned(),
        Change::New(None) => "nothing → an event".to_owned(),
        Change::Gone(reason) => format!("an event → none ({reason})"),
        Change::OtherReason { then, now } => format!("dead letter: {then} → {now}"),
        Change::Same | Change::NotStored | Change::Waiting => String::new(),
    }
}

fn to_json(change: &Change) -> Value {
    match change {
        Change::Changed(fields) => {
            let field = |field: &super::compare::Field| json!({ "path": field.path, "then": field.then, "now": field.now });
            json!({ "type": "changed", "fields": fields.iter().map(field).collect::<Vec<_>>() })
        }
        Change::New(reason) => json!({ "type": "new", "dead_letter": reason }),
        Change::Gone(reason) => json!({ "type": "gone", "reason": reason }),
        Change::OtherReason { then, now } => json!({ "type": "other_reason", "then": then, "now": now }),
        Change::Same | Change::NotStored | Change::Waiting => Value::Null,
    }
}
