//! The settings of the log. [`log`](crate::log) writes it.

use std::str::FromStr;

use crate::log::LogFormat;
use crate::settings::{ConfigReader, Setting};

/// Format of the log lines.
pub static LOG_FORMAT: Setting = Setting::new(
    "log-format",
    "imchannel",
    "Format of the log lines: 'imchannel' ([IMCHANNEL] [function] text) or 'json'",
);
/// How much of message contents is logged.
pub static LOG_PAYLOADS: Setting = Setting::new(
    "log-payloads",
    "masked",
    "Bodies in the log: 'masked' (no numbers, names or texts), 'full' or 'off'",
);
/// Least severe level that is logged.
pub static LOG_LEVEL: Setting =
    Setting::new("log-level", "info", "Least severe level that is logged: error, warn, info or debug");

/// How much of a message appears in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPayloads {
    /// Its structure, and values that are not personal.
    Masked,
    /// Everything.
    Full,
    /// Only that a message arrived, and its id.
    Off,
}

impl FromStr for LogPayloads {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "masked" => Ok(Self::Masked),
            "full" => Ok(Self::Full),
            "off" => Ok(Self::Off),
            _ => Err("must be 'masked', 'full' or 'off'"),
        }
    }
}

/// The settings of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Format of the lines.
    pub format: LogFormat,
    /// How much of message contents is logged.
    pub payloads: LogPayloads,
    /// Least severe level that is logged.
    pub level: tracing::Level,
}

impl LogSettings {
    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let format = reader.value(&LOG_FORMAT);
        let payloads = reader.value(&LOG_PAYLOADS);
        let level = reader.value(&LOG_LEVEL);
        Some(Self { format: format?, payloads: payloads?, level: level? })
    }
}
