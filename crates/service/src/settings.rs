//! Settings. Each setting is a flag and an environment variable, declared once with its help. Reading reports
//! every error, not only the first.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::{known, units};

/// A setting: a flag and an environment variable.
///
/// # Examples
/// ```
/// use service::settings::{ConfigReader, Setting};
///
/// static PORT: Setting = Setting::new("example-port", "8080", "Port to listen on");
/// static TOKEN: Setting = Setting::new("example-token", "", "Token of the API").secret();
/// assert_eq!(PORT.variable(), "IMCHANNEL_EXAMPLE_PORT");
/// assert_eq!(TOKEN.file_variable(), "IMCHANNEL_EXAMPLE_TOKEN_FILE");
///
/// let mut reader = ConfigReader::from_values([("example-port", "70000")]);
/// let port = reader.number(&PORT, 1..=65_535);
/// let token = reader.text(&TOKEN);
/// // Every error is reported, not only the first.
/// let errors = reader.finish(|| Some((port?, token?))).unwrap_err();
/// assert_eq!(errors.0.len(), 2);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The flag without its dashes, such as `nats-url`.
    pub flag: &'static str,
    /// The environment variable, if it is not `IMCHANNEL_` followed by the flag in capitals.
    pub variable: Option<&'static str>,
    /// The default; empty for a setting without a default.
    pub default: &'static str,
    /// Its meaning and unit.
    pub help: &'static str,
    /// Whether its value can also be read from a file, which `--{flag}-file` or `{variable}_FILE` names.
    pub is_secret: bool,
}

impl Setting {
    /// A setting whose variable is derived from its flag.
    pub const fn new(flag: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { flag, variable: None, default, help, is_secret: false }
    }

    /// The same setting with another environment variable.
    pub const fn from_variable(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }

    /// The same setting as a secret, which a file may contain: other processes can easily read the
    /// environment of a process.
    pub const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// The environment variable that names the file of a secret.
    pub fn file_variable(&self) -> String {
        format!("{}_FILE", self.variable())
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        match self.variable {
            Some(variable) => variable.to_owned(),
            None => format!("IMCHANNEL_{}", self.flag.to_uppercase().replace('-', "_")),
        }
    }

    fn to_arg(self) -> clap::Arg {
        let mut help = self.help.to_owned();
        if !self.default.is_empty() {
            help.push_str(&format!(" [default: {}]", self.default));
        }
        // Values are hidden: a variable may hold a password.
        clap::Arg::new(self.flag)
            .long(self.flag)
            .env(self.variable())
            .hide_env_values(true)
            .value_name("VALUE")
            .help(help)
    }

    fn to_file_arg(self) -> clap::Arg {
        clap::Arg::new(self.file_flag())
            .long(self.file_flag())
            .env(self.file_variable())
            .hide_env_values(true)
            .value_name("FILE")
            .help(format!("File that contains --{}", self.flag))
    }

    fn file_flag(&self) -> String {
        format!("{}-file", self.flag)
    }
}

/// The command with a flag for each setting.
pub fn add_to(command: clap::Command, settings: &[&'static Setting]) -> clap::Command {
    let secrets = settings.iter().filter(|setting| setting.is_secret);
    let files = secrets.map(|setting| setting.to_file_arg());
    command.args(settings.iter().map(|setting| setting.to_arg())).args(files)
}

/// Every error of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads settings and collects their errors.
#[derive(Default)]
pub struct ConfigReader {
    values: HashMap<&'static str, String>,
    faults: Vec<String>,
}

// Some values are secret.
impl fmt::Debug for ConfigReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl ConfigReader {
    /// Reads from a parsed command line. clap has read the environment already; what nothing knows of it is an error.
    pub fn from_matches(matches: &clap::ArgMatches, settings: &[&'static Setting]) -> Self {
        let value = |setting: &&'static Setting| {
            let value = matches.get_one::<String>(setting.flag)?;
            Some((setting.flag, value.clone()))
        };
        let faults = known::errors_of_environment();
        let mut reader = Self { values: settings.iter().filter_map(value).collect(), faults };
        for setting in settings.iter().filter(|setting| setting.is_secret) {
            let file = matches.get_one::<String>(&setting.file_flag());
            if let Some(file) = file.filter(|file| !file.is_empty()) {
                reader.read_secret(setting, file);
            }
        }
        reader
    }

    fn read_secret(&mut self, setting: &'static Setting, file: &str) {
        let is_given = self.values.get(setting.flag).is_some_and(|value| !value.is_empty());
        if is_given {
            self.error(setting, "is set twice: as a value and as a file; remove one");
            return;
        }
        match std::fs::read_to_string(file) {
            Ok(text) => drop(self.values.insert(setting.flag, text.trim().to_owned())),
            Err(error) => self.error(setting, &format!("cannot be read from its file: {error}")),
        }
    }

    /// Reads from values by flag, for tests: the environment is ignored.
    pub fn from_values<'v>(values: impl IntoIterator<Item = (&'static str, &'v str)>) -> Self {
        let values = values.into_iter().map(|(flag, value)| (flag, value.to_owned()));
        Self { values: values.collect(), faults: Vec::new() }
    }

    /// Sets the value of a setting unless it has one.
    pub fn provide(&mut self, setting: &Setting, value: impl Into<String>) {
        self.values.entry(setting.flag).or_insert_with(|| value.into());
    }

    /// The value or the default; `None` if there is neither.
    pub fn optional_text(&self, setting: &Setting) -> Option<String> {
        let value = self.values.get(setting.flag).map_or(setting.default, String::as_str).trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value or the default. If there is neither, this is an error.
    pub fn text(&mut self, setting: &Setting) -> Option<String> {
        let value = self.optional_text(setting);
        if value.is_none() {
            self.error(setting, "is not set");
        }
        value
    }

    /// The value or the default, parsed as a `T`.
    pub fn value<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting) -> Option<T> {
        let text = self.text(setting)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(setting, &error.to_string());
                None
            }
        }
    }

    /// A whole number in a range.
    pub fn number(&mut self, setting: &Setting, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(setting)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.error(setting, &format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A duration with its unit, such as `10s`, in a range.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use service::settings::{ConfigReader, Setting};
    ///
    /// static WAIT: Setting = Setting::new("wait", "10s", "How long to wait");
    ///
    /// let mut reader = ConfigReader::from_values([("wait", "250")]);
    /// let wait = reader.duration(&WAIT, Duration::ZERO..=Duration::from_secs(60));
    /// let errors = reader.finish(|| wait).unwrap_err();
    /// assert!(errors.to_string().starts_with("--wait (IMCHANNEL_WAIT): '250' has no unit; write"));
    /// ```
    pub fn duration(&mut self, setting: &Setting, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.text(setting)?;
        match units::parse_duration(&text) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) => {
                let [min, max] = [*range.start(), *range.end()].map(units::format_duration);
                self.fault_of(setting, &text, &format!("must be a duration from {min} to {max}"));
            }
            Err(error) => self.fault_of(setting, &text, &error.to_string()),
        }
        None
    }

    /// A size in bytes, written with its unit, such as `960KiB`, in a range of bytes.
    pub fn size(&mut self, setting: &Setting, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(setting)?;
        match units::parse_size(&text) {
            Ok(size) if range.contains(&size) => return Some(size),
            Ok(_) => {
                let [min, max] = [*range.start(), *range.end()].map(units::format_size);
                self.fault_of(setting, &text, &format!("must be a size from {min} to {max}"));
            }
            Err(error) => self.fault_of(setting, &text, &error.to_string()),
        }
        None
    }

    /// Adds an error of a setting that is not secret, with its value.
    pub fn fault_of(&mut self, setting: &Setting, value: &str, message: &str) {
        self.faults.push(format!("--{} ({}): '{value}' {message}", setting.flag, setting.variable()));
    }

    /// Adds an error of a setting. The message must not quote the value of a secret.
    pub fn error(&mut self, setting: &Setting, message: &str) {
        self.faults.push(format!("--{} ({}) {message}", setting.flag, setting.variable()));
    }

    /// Adds an error that concerns several settings.
    pub fn conflict(&mut self, message: &str) {
        self.faults.push(message.to_owned());
    }

    /// Finishes reading. `build` combines the values, which are all present if there was no error.
    ///
    /// # Errors
    /// Every error of the settings.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigErrors> {
        if !self.faults.is_empty() {
            return Err(ConfigErrors(self.faults));
        }
        build().ok_or_else(|| ConfigErrors(vec!["a setting is missing".to_owned()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PORT: Setting = Setting::new("port", "80", "the port");
    static NAME: Setting = Setting::new("the-name", "", "a name").from_variable("THE_NAME");

    #[test]
    fn every_fault_is_reported() {
        let mut reader = ConfigReader::from_values([("port", "70000")]);
        let port = reader.number(&PORT, 1..=65535);
        let name = reader.text(&NAME);
        let faults = reader.finish(|| Some((port?, name?))).unwrap_err();
        assert_eq!(
            faults.0,
            [
                "--port (IMCHANNEL_PORT) must be a whole number from 1 to 65535",
                "--the-name (THE_NAME) is not set",
            ]
        );
    }

    #[test]
    fn durations_and_sizes_have_a_unit_and_a_range() {
        static WAIT: Setting = Setting::new("wait", "10s", "how long to wait");
        static ROOM: Setting = Setting::new("room", "960KiB", "how much to keep");
        let read = |values: &[(&'static str, &'static str)]| {
            let mut reader = ConfigReader::from_values(values.iter().copied());
            let wait = reader.duration(&WAIT, Duration::from_millis(100)..=Duration::from_secs(86_400));
            let room = reader.size(&ROOM, 1024..=1 << 30);
            reader.finish(|| Some((wait?, room?))).map_err(|faults| faults.0)
        };
        assert_eq!(read(&[]), Ok((Duration::from_secs(10), 983_040)));
        assert_eq!(read(&[("wait", "1h 30m"), ("room", "1GiB")]), Ok((Duration::from_secs(5400), 1 << 30)));
        let cases = [
            (["0s", "0B"], ["must be a duration from 100ms to 24h", "must be a size from 1KiB to 1GiB"]),
            (["25h", "1TiB"], ["must be a duration from 100ms to 24h", "must be a size from 1KiB to 1GiB"]),
            (["-1s", "-1B"], ["is negative; write a duration", "is negative; write a size"]),
            (
                ["10000", "983040"],
                ["has no unit; write the duration with", "has no unit; write the size with"],
            ),
            (["99999999d", "99999999TiB"], ["is too long; the longest", "is too large; the largest"]),
            (["soon", "1.5GiB"], ["is not a duration; write numbers", "is not a size; write a whole number"]),
        ];
        for ([wait, room], [of_wait, of_room]) in cases {
            let faults = read(&[("wait", wait), ("room", room)]).unwrap_err();
            assert!(
                faults[0].starts_with(&format!("--wait (IMCHANNEL_WAIT): '{wait}' {of_wait}")),
                "{faults:?}"
            );
            assert!(
                faults[1].starts_with(&format!("--room (IMCHANNEL_ROOM): '{room}' {of_room}")),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file_and_is_set_once() {
        static TOKEN: Setting = Setting::new("test-token", "", "a token").secret();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "word\n").unwrap();
        let path = file.path().to_str().unwrap();
        let read = |args: &[&str]| {
            let command = add_to(clap::Command::new("test"), &[&TOKEN]);
            let matches = command.get_matches_from([&["test"], args].concat());
            let mut reader = ConfigReader::from_matches(&matches, &[&TOKEN]);
            let token = reader.text(&TOKEN);
            reader.finish(|| token)
        };
        assert_eq!(read(&["--test-token-file", path]), Ok("word".to_owned()));
        let twice = read(&["--test-token-file", path, "--test-token", "other"]).unwrap_err();
        assert!(twice.to_string().contains("is set twice"), "{twice}");
        let missing = read(&["--test-token-file", "/nowhere/token"]).unwrap_err();
        assert!(missing.0[0].contains("IMCHANNEL_TEST_TOKEN) cannot be read"), "{missing}");
    }

    #[test]
    fn a_setting_without_a_value_has_its_default() {
        let mut reader = ConfigReader::from_values([("the-name", " x ")]);
        let port = reader.number(&PORT, 1..=65535);
        let name = reader.text(&NAME);
        assert_eq!(reader.finish(|| Some((port?, name?))), Ok((80, "x".to_owned())));
    }
}
