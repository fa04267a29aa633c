//! Lines of the Prometheus text format 0.0.4 and of OpenMetrics 1.0, as far as the two agree on samples.
//!
//! Only our own programs are read, and of them a few metrics: a parser of the whole format (`prometheus-parse`, which has had no
//! release since 2023 and needs regular expressions, or `openmetrics-parser` with its grammar) would read a page of a thousand
//! channels into memory twice. A line that is wanted and cannot be read is an error of the page.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format> (read 2026-11-27).

/// A sample: the value of a metric with its labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample<'t> {
    /// The metric.
    pub(super) name: &'t str,
    labels: Vec<(&'t str, String)>,
    /// Its value.
    pub(super) value: f64,
}

impl Sample<'_> {
    /// The value of a label; empty if it has none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value)
    }

    /// The value as a count.
    pub(super) fn count(&self) -> u64 {
        self.value as u64
    }
}

/// The name of a line's metric; `None` for a comment or an empty line.
pub(super) fn name(line: &str) -> Option<&str> {
    if line.starts_with('#') {
        return None;
    }
    let name = line.split(['{', ' ', '\t']).next()?;
    (!name.is_empty()).then_some(name)
}

/// The sample of a line; `None` if it has another form.
pub(super) fn sample(line: &str) -> Option<Sample<'_>> {
    let name = name(line)?;
    let mut rest = &line[name.len()..];
    let mut labels = Vec::new();
    if let Some(open) = rest.strip_prefix('{') {
        rest = open;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, quoted) = rest.split_once("=\"")?;
            let end = end_of_value(quoted)?;
            labels.push((label, unescaped(&quoted[..end])));
            rest = &quoted[end + 1..];
        }
    }
    // A time or an exemplar may follow.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// Index of the quote that ends a value.
fn end_of_value(quoted: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (index, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(index),
            _ => {}
        }
    }
    None
}

fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match (char, char == '\\') {
            (_, false) => text.push(char),
            (_, true) => match chars.next() {
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => text.push('\\'),
            },
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_both_formats_are_read() {
        let read = sample(r#"a_total{channel="x",cause="a\"b\\c,d}\n"} 12 1700000000"#).unwrap();
        assert_eq!((read.name, read.label("channel"), read.label("cause")), ("a_total", "x", "a\"b\\c,d}\n"));
        assert_eq!((read.count(), read.label("none")), (12, ""));
        assert_eq!(sample("a 1.5e3").unwrap().count(), 1500);
        assert_eq!(sample("a{} 3").unwrap().count(), 3);
        let exemplar = sample(r#"a_bucket{le="1"} 5 # {trace_id="x"} 0.2"#).unwrap();
        assert_eq!((exemplar.label("le"), exemplar.count()), ("1", 5));
    }

    #[test]
    fn a_line_of_another_form_has_no_sample() {
        for line in ["", "# HELP a b", "a", "a{", "a{b} 1", "a{b=\"c} 1", "a{b=\"c\"}", "a x", "{} 1"] {
            assert_eq!(sample(line), None, "{line}");
        }
    }

    #[test]
    fn no_text_panics() {
        proptest::proptest!(|(line in "[a{}=\",\\\\ 1é#]{0,24}")| {
            let _ = sample(&line);
        });
    }
}
