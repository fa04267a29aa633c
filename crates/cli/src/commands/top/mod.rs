//! `imchannel top`: traffic, backlogs and sends, live. It reads the bus, so that it works from wherever NATS can be reached;
//! refused and spooled webhooks, which are not on the bus, come from the admin ports of ingress.

mod admin;
mod model;
mod channels;
mod collect;
mod format;
mod lanes;
mod rates;
mod readers;
mod screen;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use crossterm::event::{Event, KeyCode, KeyModifiers};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::commands::top::collect::Collector;
use crate::commands::top::model::Board;
use crate::duration;
use crate::exit::Exit;
use crate::output::{self, Out};
use crate::target::Target;

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Admin ports of ingress, which know the refused and the spooled webhooks [default: that of the `up` in this folder].
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    admin: Vec<String>,
    /// Folder of the spool of ingress, if it is on this machine: for its sub-folders without a process.
    #[arg(long, env = "IMCHANNEL_SPOOL_DIR", value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// Interval of updates, from 100ms to 1m.
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Stop after this number of updates.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::span(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(60);
    range
        .contains(&interval)
        .then_some(interval)
        .ok_or_else(|| "must be a duration from 100ms to 1m".to_owned())
}

pub(crate) async fn run(command: Top, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    if !out.is_json() && !output::is_terminal() {
        return Ok(out.faulty("top needs a terminal; with --json it prints an object for each look"));
    }
    let bus = target.connect().await?;
    let admins =
        if command.admin.is_empty() { target.admin_of_up().into_iter().collect() } else { command.admin };
    let spool_dir = command.spool_dir.filter(|folder| !folder.as_os_str().is_empty());
    let interval = command.interval;
    let collector = Collector::start(bus, admins, spool_dir).await?;
    let looks = command.count.unwrap_or(u64::MAX);
    if out.is_json() {
        print(collector, interval, looks, out).await
    } else {
        show(collector, interval, looks).await?
    }
    Ok(Exit::Ok)
}

fn ticks(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// An object for each look.
async fn print(mut collector: Collector, interval: Duration, looks: u64, out: &Out) {
    let mut ticks = ticks(interval);
    ticks.tick().await;
    for _ in 0..looks {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return,
        }
        out.object(&collector.collect().await.to_json());
    }
}

/// The screen, until a key closes it. Data is collected beside it, so that it can be closed while a read takes long.
async fn show(mut collector: Collector, interval: Duration, looks: u64) -> anyhow::Result<()> {
    let (sender, mut boards) = watch::channel(Board::default());
    let looking = tokio::spawn(async move {
        let mut ticks = ticks(interval);
        for _ in 0..looks {
            ticks.tick().await;
            if sender.send(collector.collect().await).is_err() {
                return;
            }
        }
    });
    let stop = service::process::stop_on_signal()?;
    let mut keys = keys();
    let mut terminal = ratatui::try_init().context("this terminal cannot be used")?;
    let _restored = Restored;
    let (mut board, mut paused) = (Board::default(), false);
    let outcome = loop {
        if let Err(error) = terminal.draw(|frame| screen::draw(frame, &board, paused)) {
            break Err(error).context("cannot draw");
        }
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            changed = boards.changed() => match changed {
                Ok(()) if !paused => board = boards.borrow_and_update().clone(),
                Ok(()) => {}
                Err(_) => break Ok(()),
            },
            key = keys.recv() => match key {
                Some(Key::Leave) | None => break Ok(()),
                Some(Key::Pause) => paused = !paused,
                Some(Key::Other) => {}
            }
        }
    };
    looking.abort();
    outcome
}

/// Gives the terminal back when `top` ends, also when it is given up because NATS refuses its user.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

enum Key {
    Leave,
    Pause,
    /// Anything else, such as another size of the window: the screen is drawn again.
    Other,
}

/// What is typed, read by a thread of its own: the terminal has no other way to wait.
fn keys() -> mpsc::UnboundedReceiver<Key> {
    let (sender, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            if sender.send(key(&event)).is_err() {
                return;
            }
        }
    });
    keys
}

fn key(event: &Event) -> Key {
    let Event::Key(key) = event else { return Key::Other };
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Leave,
        KeyCode::Char('q') | KeyCode::Esc => Key::Leave,
        KeyCode::Char('p' | ' ') => Key::Pause,
        _ => Key::Other,
    }
}
