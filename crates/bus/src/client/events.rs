//! What follows from the events of the client library: the state of the connection, its metric, its log lines.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Event;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use crate::client::permission_errors::{PermissionError, PermissionErrors, is_permission_error};
use crate::state::sequence::Sequences;

/// What the client's events change.
pub(super) struct ConnectionEvents {
    /// Number of connections so far.
    pub(super) connected: watch::Sender<u64>,
    /// Whether the client is connected.
    pub(super) up: watch::Sender<bool>,
    pub(super) gauge: Gauge,
    pub(super) is_up: Arc<AtomicBool>,
    pub(super) sequences: Arc<Sequences>,
    pub(super) errors: ConnectionErrors,
}

impl ConnectionEvents {
    pub(super) fn handle(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.sequences.connected();
                self.is_up.store(true, Ordering::Relaxed);
                self.up.send_replace(true);
                self.gauge.set(1);
                self.connected.send_modify(|count| *count += 1);
            }
            Event::Disconnected | Event::Closed => {
                self.is_up.store(false, Ordering::Relaxed);
                self.up.send_replace(false);
                self.gauge.set(0);
            }
            _ => {}
        }
        self.errors.record(event);
        log_event(event);
    }
}

/// Most different permission errors that are cached. The same errors are repeated constantly.
const PERMISSION_ERRORS_MAX: usize = 100;

/// Permission errors and connection errors, each logged once. A refused request gets no response, so the log is the
/// only place where the error appears.
pub(super) struct ConnectionErrors {
    pub(super) known: Mutex<HashSet<String>>,
    pub(super) fault: Arc<Mutex<String>>,
    pub(super) refusals: PermissionErrors,
}

impl ConnectionErrors {
    fn record(&self, event: &Event) {
        match event {
            Event::Connected => self.set_error(String::new()),
            Event::ClientError(error) => {
                let text = error.to_string();
                if self.is_new(&text) {
                    tracing::warn!(function = "bus", "no connection to NATS: {text}");
                }
                self.set_error(text);
            }
            Event::ServerError(error) => self.record_permission_error(&error.to_string()),
            _ => {}
        }
    }

    fn record_permission_error(&self, text: &str) {
        if !is_permission_error(text) || !self.is_new(text) {
            return;
        }
        tracing::error!(function = "bus", "NATS refuses: {text}");
        if let Some(refusal) = PermissionError::parse(text) {
            self.refusals.note(refusal);
        }
    }

    fn is_new(&self, text: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < PERMISSION_ERRORS_MAX && known.insert(text.to_owned())
    }

    fn set_error(&self, text: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

fn log_event(event: &Event) {
    match event {
        Event::Connected => tracing::info!(function = "bus", "connected to NATS"),
        Event::Disconnected => tracing::warn!(function = "bus", "disconnected from NATS"),
        Event::LameDuckMode => tracing::warn!(function = "bus", "the NATS server is about to stop"),
        Event::SlowConsumer(_) => {
            tracing::error!(function = "bus", "a subscription was too slow and lost messages")
        }
        // Only developers need these; they come with every failed attempt to reconnect.
        Event::ServerError(error) => tracing::debug!(function = "bus", "{error}"),
        Event::ClientError(error) => tracing::debug!(function = "bus", "{error}"),
        Event::Draining | Event::Closed => {}
    }
}
