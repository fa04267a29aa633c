//! A finding, the result of a check, and texts that several checks use.

use serde_json::{Value, json};

pub(super) use crate::words::{bytes, pluralize as count, span};

/// Most names in a sentence. The rest is counted.
const NAMES_MAX: usize = 5;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// No problem.
    Ok,
    /// It could not be checked.
    Unknown,
    /// It works now, and will fail under foreseeable conditions.
    Warning,
    /// Something does not work, or loses data.
    Error,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::Ok, Self::Unknown, Self::Warning, Self::Error];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The check's name, which stays the same in all versions.
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What was found, in one sentence with its numbers.
    pub(super) message: String,
    /// The impact; empty if there is no problem.
    pub(super) impact: String,
    /// What to do, with a command if there is one; empty if there is no problem.
    pub(super) remedy: String,
    /// Streams, channels or references that it concerns.
    pub(super) subjects: Vec<String>,
}

impl Finding {
    /// Names what the finding concerns.
    pub(super) fn about(self, subjects: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { subjects: subjects.into_iter().map(Into::into).collect(), ..self }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "check": self.check, "level": self.level.word(), "message": self.message, "impact": self.impact,
            "remedy": self.remedy, "subjects": self.subjects,
        })
    }
}

/// A check's name, which creates findings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check(pub(super) &'static str);

impl Check {
    fn make(self, level: Level, message: impl Into<String>, impact: &str, remedy: &str) -> Finding {
        Finding {
            check: self.0,
            level,
            message: message.into(),
            impact: impact.to_owned(),
            remedy: remedy.to_owned(),
            subjects: Vec::new(),
        }
    }

    pub(super) fn ok(self, message: impl Into<String>) -> Finding {
        self.make(Level::Ok, message, "", "")
    }

    pub(super) fn unknown(self, message: impl Into<String>, impact: &str, remedy: &str) -> Finding {
        self.make(Level::Unknown, message, impact, remedy)
    }

    pub(super) fn warning(self, message: impl Into<String>, impact: &str, remedy: &str) -> Finding {
        self.make(Level::Warning, message, impact, remedy)
    }

    pub(super) fn error(self, message: impl Into<String>, impact: &str, remedy: &str) -> Finding {
        self.make(Level::Error, message, impact, remedy)
    }

    /// A finding for something that could not be read.
    pub(super) fn unseen(self, error: &str) -> Finding {
        self.unknown(
            format!("could not be checked: {error}"),
            "",
            "Check that this user has the permission (the user operator has it), and that the server is not overloaded.",
        )
    }
}

/// `a, b, c`, or for many names the first few and the number of the others.
pub(super) fn names(all: &[String]) -> String {
    let mut text = all.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > NAMES_MAX {
        text.push_str(&format!(" and {} more", all.len() - NAMES_MAX));
    }
    text
}

/// `12 %` of a limit.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(4 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "4.0 GiB"]
        );
        let many: Vec<String> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(names(&many), "0, 1, 2, 3, 4 and 2 more");
    }
}
