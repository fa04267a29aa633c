//! Who publishes again, and why: headers of what is published, from which the timeline writes its audit log.

use std::ffi::OsString;

use bsp::mask;
use bus::headers::COPIED_LENGTH_MAX;
use bus::replay::{BY_CHARS_MAX, REASON_CHARS_MAX, ReplayRun};
use clap::Args;
use timeline::store::audit;

/// Variables with the name of the system's user, the first that is set counts. `sudo` sets `USER` to the user whose rights it gives.
const USER_VARIABLES: [&str; 3] = ["SUDO_USER", "USER", "LOGNAME"];

/// Who publishes again, and why.
#[derive(Debug, Args)]
pub(crate) struct By {
    /// Your name for the audit log of the timeline; back ends see it too [default: the user of the system].
    #[arg(long, value_name = "NAME", value_parser = name, requires = "publish")]
    by: Option<String>,
    /// Why, for the audit log of the timeline; back ends see it too. Write no name or number of a customer; numbers are masked.
    #[arg(long, value_name = "TEXT", value_parser = note, requires = "publish")]
    note: Option<String>,
}

impl By {
    /// The run with this number. What may be a customer's number in its texts is masked.
    pub(crate) fn run(&self, number: u64) -> ReplayRun {
        let by = self.by.clone().or_else(|| system_user(|name| std::env::var_os(name)));
        let reason = self.note.as_deref().map(mask::numbers);
        ReplayRun { number, by: by.as_deref().map(audit::masked_name), reason }
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
    // Readers ignore a longer header.
    if text.len() > COPIED_LENGTH_MAX {
        let length = text.len();
        return Err(format!("expected at most {COPIED_LENGTH_MAX} bytes in UTF-8; this text has {length}"));
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

    #[test]
    fn a_note_that_no_reader_would_take_is_refused() {
        let chinese = "客".repeat(REASON_CHARS_MAX);
        let refused = note(&chinese).unwrap_err();
        assert_eq!(refused, "expected at most 512 bytes in UTF-8; this text has 600");
        assert!(note(&"客".repeat(170)).is_ok());
        assert!(name(&"客".repeat(BY_CHARS_MAX)).is_ok());
    }

    #[test]
    fn a_name_with_letters_stays_and_a_number_is_masked() {
        let by = |name: &str| By { by: Some(name.to_owned()), note: None }.run(7).by.unwrap();
        for (name, shown) in [
            ("A1234567", "A1234567"),
            ("svc-20261127", "svc-20261127"),
            ("Ann 17", "Ann 17"),
            ("+49 151 12345678", "***"),
            ("4915112345678", "***"),
            ("Ann +49 (151) 12345678 Bob", "Ann *** Bob"),
            ("wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==", "wamid.…Y0AA=="),
        ] {
            assert_eq!(by(name), shown);
        }
    }
}
