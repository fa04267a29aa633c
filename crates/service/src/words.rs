//! Text that programs print for people: a number with its noun, and an error with its causes.

/// `1 channel`, `3 channels`, for nouns whose plural ends in `s`.
pub fn pluralize(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// An error and its causes, each once: many errors contain the text of their cause.
pub fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_noun() {
        assert_eq!(
            (pluralize(1, "channel"), pluralize(0, "channel")),
            ("1 channel".into(), "0 channels".into())
        );
    }

    #[test]
    fn a_cause_is_printed_once() {
        let inner = anyhow::anyhow!("deadline has elapsed");
        let error =
            inner.context("timed out: deadline has elapsed").context("stream EVENTS").context("apply");
        assert_eq!(causes(&error), "apply: stream EVENTS: timed out: deadline has elapsed");
        assert_eq!(causes(&anyhow::anyhow!("alone")), "alone");
    }
}
