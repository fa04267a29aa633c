//! Follows an erasure until it is over, and says what it waits for. A timeline that is restarted goes on with an erasure, so that one that
//! does not answer for a moment is asked again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use timeline::erasure::{ErasureAnswer, ErasureStep};

use crate::output::{DIM, ODD, Out, Text, styled, text};
use crate::timeline_client::{self, Client};

/// Interval at which the erasure is read.
const INTERVAL: Duration = Duration::from_millis(500);
/// Shortest interval at which it is said that a wait goes on: what is waited for has numbers that change.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a timeline may not answer, such as during a restart.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Follows an erasure: the body of its last answer. Ctrl-C ends the command, and not the erasure.
///
/// # Errors
/// The timeline does not know it, or does not answer for a minute; or Ctrl-C.
pub(super) async fn follow(client: &Client, id: &str, out: &Out) -> anyhow::Result<Value> {
    let mut watch = Watch { client, id, what: What::Erasure };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => bail!("stopped waiting: {}", watch.what.goes_on(id)),
        ended = watch.until_over(out) => ended,
    }
}

/// What the timeline does. It keeps an erasure over a restart, and not a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Erasure,
    Count,
}

/// An erasure, or a count, that is read until it is over.
pub(super) struct Watch<'w> {
    client: &'w Client,
    id: &'w str,
    what: What,
}

impl<'w> Watch<'w> {
    /// Of a dry run.
    pub(super) fn of_count(client: &'w Client, id: &'w str) -> Self {
        Self { client, id, what: What::Count }
    }

    /// The last answer. Ctrl-C ends the process as always: a question may follow, and would not see it.
    pub(super) async fn until_over(&mut self, out: &Out) -> anyhow::Result<Value> {
        let mut progress = Progress::default();
        let mut away_since = None;
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            match self.client.erasure(self.id).await {
                Ok(body) => {
                    away_since = None;
                    let answer: ErasureAnswer = self.client.parsed(body.clone())?;
                    self.what = if answer.dry_run { What::Count } else { What::Erasure };
                    if answer.step.is_over() {
                        return Ok(body);
                    }
                    progress.lines(&answer, Instant::now()).iter().for_each(|line| out.print(line));
                }
                Err(error) if timeline_client::is_away(&error) => {
                    let since = *away_since.get_or_insert_with(|| {
                        out.print(&text!("  {}", styled(ODD, "the timeline does not answer; asking again")));
                        Instant::now()
                    });
                    if since.elapsed() > AWAY_MAX {
                        return Err(error).context(self.what.goes_on(self.id));
                    }
                }
                Err(error) if timeline_client::is_unknown(&error) => {
                    return Err(error).context(self.what.unknown(self.id));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl What {
    /// What becomes of one that is no longer waited for.
    pub(super) fn goes_on(self, id: &str) -> String {
        match self {
            Self::Erasure => {
                format!(
                    "erasure {id} goes on while the timeline runs; `imchannel erase --watch {id}` follows it"
                )
            }
            Self::Count => {
                format!(
                    "count {id} erases nothing, and ends when the timeline restarts; run the command again"
                )
            }
        }
    }

    /// What may have become of one that the timeline does not know.
    pub(super) fn unknown(self, id: &str) -> String {
        match self {
            Self::Erasure => format!(
                "the timeline does not know erasure {id}: it may have ended before the timeline restarted (the audit log says so), or \
                 another timeline has it"
            ),
            Self::Count => format!(
                "the timeline does not know count {id}: it ended when the timeline restarted, or another timeline has it; nothing was \
                 erased, run the command again"
            ),
        }
    }
}

/// What was said of an erasure that goes on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    step: Option<ErasureStep>,
    waits: Vec<String>,
    noted_at: Option<Instant>,
}

impl Progress {
    /// What is new: the step immediately, and what is waited for, or why it does not go on, at intervals.
    pub(super) fn lines(&mut self, answer: &ErasureAnswer, now: Instant) -> Vec<Text> {
        let mut lines = Vec::new();
        if self.step.replace(answer.step) != Some(answer.step) {
            lines.push(text!("  {}", styled(DIM, step(answer))));
            self.noted_at = None;
        }
        let waits: Vec<String> = answer.error.iter().chain(&answer.waits_for).cloned().collect();
        let is_due = self.noted_at.is_none_or(|at| now.duration_since(at) >= NOTE_INTERVAL);
        if is_due && !waits.is_empty() && self.waits != waits {
            let failed = answer.error.iter().map(|error| format!("does not go on, trying again: {error}"));
            let waiting = answer.waits_for.iter().map(|what| format!("waits for {what}"));
            lines.extend(failed.chain(waiting).map(|words| text!("  {}", styled(ODD, &words))));
            self.waits = waits;
            self.noted_at = Some(now);
        }
        lines
    }
}

fn step(answer: &ErasureAnswer) -> &'static str {
    match answer.step {
        ErasureStep::Reading => "reading what came before",
        ErasureStep::Counting => "counting",
        ErasureStep::Erasing => "erasing",
        ErasureStep::Done => "done",
        ErasureStep::Interrupted => "interrupted",
    }
}
