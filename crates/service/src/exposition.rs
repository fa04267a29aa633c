//! The two text forms of metrics: OpenMetrics 1.0, which Prometheus asks for, and the classic text format 0.0.4, which
//! everything else reads (`promtool check metrics`, agents, `curl`).

use std::fmt::Write as _;

use axum::http::{HeaderMap, header};

/// A form of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/> (looked at 2026-11-26).
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format> (looked at 2026-11-26).
    Classic,
}

impl Form {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The form that is asked for (RFC 9110, section 12.5.1): OpenMetrics where it is named and nothing else is liked more.
    pub(crate) fn asked_for(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<_> = accepts.flat_map(|value| value.split(',')).map(media_range).collect();
        let liked = |names: &[&str]| {
            let known = ranges.iter().filter(|(name, _)| names.contains(&name.as_str()));
            known.map(|(_, weight)| *weight).fold(0.0, f64::max)
        };
        let open = liked(&["application/openmetrics-text"]);
        if open > 0.0 && open >= liked(&["text/plain"]) { Self::OpenMetrics } else { Self::Classic }
    }
}

/// Name and weight of a media range; a weight that cannot be read is 1.
fn media_range(text: &str) -> (String, f64) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(1.0)))
}

/// An OpenMetrics text in the classic format: a counter is described under the name of its sample, what the classic format does not
/// know as a kind is a gauge, units and the mark of the end are left out. Samples are the same: ours have no exemplars and no
/// times.
pub(crate) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    // HELP comes before TYPE, and its name depends on the kind.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "gauge" | "histogram" | "summary" => ("", kind),
                "stateset" => ("", "gauge"),
                _ => ("", "untyped"),
            };
            if let Some((_, words)) = help.take() {
                // Quotes are escaped in OpenMetrics only. Writing to a string does not fail.
                let _ = writeln!(text, "# HELP {name}{suffix} {}", words.replace("\\\"", "\""));
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accepts: &[&str]) -> Form {
        let mut headers = HeaderMap::new();
        for accept in accepts {
            headers.append(header::ACCEPT, accept.parse().unwrap());
        }
        Form::asked_for(&headers)
    }

    #[test]
    fn who_asks_for_open_metrics_gets_it() {
        // Of Prometheus 2.42 and 3.5.
        let old = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [old, new, "Application/OpenMetrics-Text"] {
            assert_eq!(asked(&[accept]), Form::OpenMetrics, "{accept}");
        }
        assert_eq!(asked(&["text/plain;q=0.2", "application/openmetrics-text;q=0.3"]), Form::OpenMetrics);
        for accept in ["*/*", "text/plain", "application/openmetrics-text;q=0", "text/html", ""] {
            assert_eq!(asked(&[accept]), Form::Classic, "{accept}");
        }
        assert_eq!(asked(&["application/openmetrics-text;q=0.5, text/plain"]), Form::Classic);
        assert_eq!(asked(&[]), Form::Classic);
    }

    #[test]
    fn a_counter_is_described_under_the_name_of_its_sample() {
        let open = "# HELP a_build Its \\\"version\\\".\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_done Done.\n# TYPE a_done counter\na_done_total 3\n\
                    # HELP a_size Size.\n# TYPE a_size gauge\n# UNIT a_size bytes\na_size 2\n# EOF\n";
        let expected = "# HELP a_build_info Its \"version\".\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                        # HELP a_done_total Done.\n# TYPE a_done_total counter\na_done_total 3\n\
                        # HELP a_size Size.\n# TYPE a_size gauge\na_size 2\n";
        assert_eq!(classic(open), expected);
    }
}
