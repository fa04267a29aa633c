//! The two text formats of metrics: OpenMetrics 1.0, which Prometheus requests, and the Prometheus text
//! format 0.0.4 for all other clients (`promtool check metrics`, agents, `curl`). `prometheus-client` writes
//! both.

use axum::http::{HeaderMap, header};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

/// A format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/> (read 2026-11-26).
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format> (read 2026-11-26).
    Classic,
}

impl Form {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => prometheus_text::CONTENT_TYPE,
        }
    }

    /// Writes the metrics of all registries as one page.
    pub(crate) fn write(self, registries: [&Registry; 2]) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        for registry in registries {
            match self {
                Self::OpenMetrics => text::encode_registry(&mut page, registry)?,
                Self::Classic => prometheus_text::encode(&mut page, registry)?,
            }
        }
        if self == Self::OpenMetrics {
            text::encode_eof(&mut page)?;
        }
        Ok(page)
    }

    /// The format that the client requests (RFC 9110, section 12.5.1): OpenMetrics if the client names it and
    /// prefers no other format.
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

/// Name and weight of a media range. An unreadable weight counts as 1.
fn media_range(text: &str) -> (String, f64) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(1.0)))
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
    fn a_client_that_requests_open_metrics_receives_it() {
        // Headers of Prometheus 2.42 and 3.5.
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
    fn both_formats_contain_all_registries() {
        let [mut process, mut own] = [Registry::default(), Registry::default()];
        let version = prometheus_client::metrics::info::Info::new([("version", "1")]);
        process.register("a_build", "Its \"version\"", version);
        let done = prometheus_client::metrics::counter::Counter::<u64>::default();
        done.inc_by(3);
        own.register("a_done", "Done", done);
        let classic = "# HELP a_build_info Its \"version\".\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                       # HELP a_done_total Done.\n# TYPE a_done_total counter\na_done_total 3\n";
        assert_eq!(Form::Classic.write([&process, &own]).unwrap(), classic);
        let open = Form::OpenMetrics.write([&process, &own]).unwrap();
        assert!(open.contains("# TYPE a_build info\na_build_info{version=\"1\"} 1\n"), "{open}");
        assert!(open.ends_with("# TYPE a_done counter\na_done_total 3\n# EOF\n"), "{open}");
    }
}
