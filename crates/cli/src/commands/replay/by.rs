//! Who publishes again, and why: headers of what is published, from which the timeline writes its audit log.

use std::ffi::OsString;

use bsp::mask;
use bus::replay::{BY_CHARS_MAX, REASON_CHARS_MAX, ReplayRun};
use clap::Args;

/// Variables with the name of the system's user, the first that is set counts. `sudo` sets `USER` to the user whose rights it gives.
const USER_VARIABLES: [&str; 3] = ["SUDO_USER", "USER", "LOGNAME"];

/// Who publishes again, and why.
#[derive(Debug, Args)]
pub(crate) struct By {
    /// Your name for the audit log of the timeline [default: the user of the system].
    #[arg(long, value_name = "NAME", value_parser = name, requires = "publish")]
    by: Option<String>,
    /// Why, for the audit log of the timeline. Numbers in it are masked.
    #[arg(long, value_name = "TEXT", value_parser = note, requires = "publish")]
    note: Option<String>,
}

impl By {
    /// The run with this number. Numbers in its texts that may be a customer's are masked.
    pub(crate) fn run(&self, number: u64) -> ReplayRun {
        let by = self.by.clone().or_else(|| system_user(|name| std::env::var_os(name)));
        let masked = |text: &str| mask::numbers(text);
        ReplayRun { number, by: by.as_deref().map(masked), reason: self.note.as_deref().map(masked) }
    }
}

/// The name of the system's user; `None` if the system does not say it, or says what a header cannot have.
fn system_user(variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let said = USER_VARIABLES.into_iter().find_map(|name| variable(name).filter(|text| !text.is_empty()))?;
    name(said.to_str()?).ok()
}

fn name(text: &str) -> Result<String, String> {
    line(text, BY_CHARS_MAX)
}

fn note(text: &str) -> Result<String, String> {
    line(text, REASON_CHARS_MAX)
}

fn line(text: &str, chars_max: usize) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > chars_max || text.chars().any(char::is_control) {
        return Err(format!("expected 1 to {chars_max} characters, without line breaks"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_replays_is_the_name_that_is_given_or_the_user_of_the_system() {
        let user = |set: &'static [(&str, &str)]| {
            system_user(move |name| set.iter().find(|(of, _)| *of == name).map(|(_, text)| text.into()))
        };
        assert_eq!(user(&[("USER", "root"), ("SUDO_USER", "ann")]).as_deref(), Some("ann"));
        assert_eq!(user(&[("SUDO_USER", ""), ("LOGNAME", "bob")]).as_deref(), Some("bob"));
        assert_eq!(user(&[]), None);
        assert_eq!(user(&[("USER", "a\nb")]), None);
        let given = By { by: Some("Ann".to_owned()), note: Some("call +49 151 12345678".to_owned()) };
        let reason = Some("call ***".to_owned());
        assert_eq!(given.run(7), ReplayRun { number: 7, by: Some("Ann".to_owned()), reason });
    }

    #[test]
    fn a_name_is_one_short_line() {
        assert_eq!(name(" Ann Möller ").as_deref(), Ok("Ann Möller"));
        for text in ["", " ", "a\nb", "a\u{1b}[2J", &"a".repeat(BY_CHARS_MAX + 1)] {
            assert!(name(text).is_err(), "{text:?}");
        }
        assert!(note(&"ü".repeat(REASON_CHARS_MAX)).is_ok());
    }
}
