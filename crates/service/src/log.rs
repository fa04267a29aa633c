//! Writes log lines to standard output: `[IMCHANNEL] [function] text`, or the same as one JSON object per
//! line.
//!
//! A separate thread writes the lines, so that a slow reader of the log never delays a webhook. If the thread
//! cannot keep up, lines are dropped and counted, and the count is logged.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::terminal;

/// Most lines that wait for the writer.
const LINES_WAITING_MAX: usize = 16 * 1024;

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `[IMCHANNEL] [function] text`
    Imchannel,
    /// One JSON object.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "imchannel" => Ok(Self::Imchannel),
            "json" => Ok(Self::Json),
            _ => Err("must be 'imchannel' or 'json'"),
        }
    }
}

/// Libraries that write log lines.
const LIBRARIES: [&str; 7] =
    ["async_nats", "hyper", "hyper_util", "opentelemetry", "opentelemetry_sdk", "reqwest", "rustls"];

/// Initial capacity of a message, in bytes: enough for most masked bodies of webhooks.
const MESSAGE_USUAL_BYTES: usize = 512;
/// Pause of the writer after each write, so that lines are written in batches and the writer is rarely woken.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);
/// Interval of the checks whether the last line is written.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);
/// Timeout of writing the remaining lines at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Stops the log when it is dropped, after all pending lines are written.
#[derive(Debug)]
pub struct LogGuard {
    lines: SyncSender<Line>,
    writer: Option<std::thread::JoinHandle<()>>,
}

enum Line {
    Text(String),
    End,
}

/// Starts the log. It may be called once in a process.
///
/// # Errors
/// When another subscriber is already installed.
pub fn start(format: LogFormat, level: Level) -> anyhow::Result<LogGuard> {
    let (sender, receiver) = sync_channel(LINES_WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let writer = std::thread::Builder::new().name("log".to_owned()).spawn({
        let dropped = Arc::clone(&dropped);
        move || write_lines(&receiver, &dropped, format)
    })?;
    let layer = LogLayer { format, sender: sender.clone(), dropped };
    let targets = Targets::new()
        .with_default(level)
        // Libraries log connections at levels that help only their authors. The NATS client logs the URL with
        // its password there.
        .with_targets(LIBRARIES.map(|target| (target, Level::WARN)))
        // This target logs each failed connection attempt, several per second. The bus logs the cause once.
        .with_target("async_nats::connector", tracing_subscriber::filter::LevelFilter::OFF);
    tracing_subscriber::registry().with(layer.with_filter(targets)).try_init()?;
    Ok(LogGuard { lines: sender, writer: Some(writer) })
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // Do not let a blocked reader of the log keep the process from exiting.
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.lines.try_send(Line::End).is_err() && Instant::now() < deadline {
            std::thread::park_timeout(RETRY_INTERVAL);
        }
        let Some(writer) = self.writer.take() else { return };
        while !writer.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(RETRY_INTERVAL);
        }
    }
}

fn write_lines(lines: &Receiver<Line>, dropped: &AtomicU64, format: LogFormat) {
    let stdout = standard_output();
    while let Ok(first) = lines.recv() {
        let mut out = std::io::BufWriter::new(stdout.lock());
        let mut next = Some(first);
        while let Some(line) = next {
            let Line::Text(text) = line else {
                let _ = out.flush();
                return;
            };
            let _ = out.write_all(text.as_bytes());
            next = lines.try_recv().ok();
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let fields = Fields {
                function: "log".to_owned(),
                message: format!("dropped {lost} log lines: the reader of the log is too slow"),
                ..Fields::default()
            };
            let _ = out.write_all(fields.to_line(format, Level::WARN, "").as_bytes());
        }
        let _ = out.flush();
        drop(out);
        rest();
    }
}

#[expect(clippy::disallowed_methods, reason = "every line was escaped when it was created")]
fn standard_output() -> std::io::Stdout {
    std::io::stdout()
}

#[expect(clippy::disallowed_methods, reason = "the writer has its own thread and no condition to wait for")]
fn rest() {
    std::thread::sleep(FLUSH_INTERVAL);
}

struct LogLayer {
    format: LogFormat,
    sender: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields {
            message: String::with_capacity(MESSAGE_USUAL_BYTES),
            keeps_others: self.format == LogFormat::Json,
            ..Fields::default()
        };
        event.record(&mut fields);
        let level = *event.metadata().level();
        let target = event.metadata().target();
        let line = fields.to_line(self.format, level, target);
        if self.sender.try_send(Line::Text(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The fields of an event. `function` and `message` have fixed positions; the other fields appear only in the
/// JSON format.
#[derive(Default)]
struct Fields {
    function: String,
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
    keeps_others: bool,
}

impl Fields {
    fn to_line(&self, format: LogFormat, level: Level, target: &str) -> String {
        match format {
            LogFormat::Imchannel => self.to_imchannel(level, target),
            LogFormat::Json => self.to_json(level, target),
        }
    }

    fn to_imchannel(&self, level: Level, target: &str) -> String {
        let function = if self.function.is_empty() { target } else { &self.function };
        let mark = match level {
            Level::ERROR => "ERROR ",
            Level::WARN => "WARN ",
            _ => "",
        };
        let message = terminal::escape(&self.message);
        ["[IMCHANNEL] [", function, "] ", mark, &message, "\n"].concat()
    }

    fn to_json(&self, level: Level, target: &str) -> String {
        let mut object = serde_json::Map::new();
        object.insert("time".to_owned(), jiff::Timestamp::now().to_string().into());
        object.insert("level".to_owned(), level.as_str().into());
        let function = if self.function.is_empty() { target } else { &self.function };
        object.insert("function".to_owned(), function.into());
        object.insert("message".to_owned(), self.message.as_str().into());
        for (name, value) in &self.others {
            object.insert((*name).to_owned(), value.clone());
        }
        let line = serde_json::Value::Object(object).to_string();
        format!("{}\n", terminal::escape(&line))
    }

    /// The string that stores a field of this name.
    fn text(&mut self, field: &Field) -> Option<&mut String> {
        match field.name() {
            "function" => Some(&mut self.function),
            "message" => Some(&mut self.message),
            _ => None,
        }
    }

    fn record(&mut self, field: &Field, value: impl FnOnce() -> serde_json::Value) {
        if self.keeps_others {
            self.others.push((field.name(), value()));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match self.text(field) {
            Some(text) => text.push_str(value),
            None => self.record(field, || value.into()),
        }
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, || value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, || value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, || value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match self.text(field) {
            Some(text) => drop(write!(text, "{value:?}")),
            None => self.record(field, || format!("{value:?}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_from_outside_cannot_control_a_terminal() {
        let fields = Fields {
            function: "onReport".to_owned(),
            message: "a\u{9b}2J\u{202e}b".to_owned(),
            others: vec![("channel", "c\u{9b}1".into())],
            keeps_others: true,
        };
        assert_eq!(fields.to_imchannel(Level::INFO, "t"), "[IMCHANNEL] [onReport] a\\u009b2J\\u202eb\n");
        let json = fields.to_json(Level::INFO, "t");
        assert!(!json.trim_end().contains(terminal::is_unsafe), "{json:?}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["channel"], "c\u{9b}1");
    }

    #[test]
    fn a_line_break_in_a_value_does_not_start_a_second_line() {
        let fields = Fields {
            function: "onReport".to_owned(),
            message: "a\n[IMCHANNEL] [onReport] forged".to_owned(),
            others: vec![("channel", "c\n1".into())],
            keeps_others: true,
        };
        let line = fields.to_imchannel(Level::INFO, "t");
        assert_eq!(line, "[IMCHANNEL] [onReport] a\\n[IMCHANNEL] [onReport] forged\n");
        let json = fields.to_json(Level::WARN, "t");
        assert_eq!(json.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((read["level"].as_str(), read["channel"].as_str()), (Some("WARN"), Some("c\n1")));
    }
}
