//! The results of a run, as BENCHMARKS.json has them: one section for each part, its rows, and the conditions in which
//! they were measured. bench/README.md documents the fields. The page is written from these alone.

mod row;

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::conditions::Conditions;
use crate::part::Part;
pub(crate) use crate::results::row::{Aim, Row, WIDTH_MAX_LATENCY, WIDTH_MAX_RATE};

/// Version of the form. A reader refuses another.
const FORM: u32 = 1;

/// All sections, in the order of [`Part`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    form: u32,
    pub(crate) sections: Vec<Section>,
}

/// The results of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Section {
    pub(crate) part: Part,
    /// Command that measures this part again.
    pub(crate) command: String,
    /// Start of the measurement, RFC 3339.
    pub(crate) measured_at: String,
    /// Number of the attempt: the earlier ones had refused rows. 1 in results from before there were several.
    #[serde(default = "first")]
    pub(crate) attempt: usize,
    /// Commit of the working tree, with `+` if it had changes.
    pub(crate) commit: String,
    pub(crate) machine: Machine,
    pub(crate) amount: Amount,
    pub(crate) cpus: CpuLists,
    pub(crate) before: Conditions,
    pub(crate) after: Conditions,
    /// Time that the hypervisor gave to others during the measurement, in percent of the CPUs' time.
    pub(crate) steal_percent: f64,
    /// Why no row of this section counts.
    pub(crate) refused: Option<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) curves: Vec<Curve>,
    /// Sentences with figures that are no rows.
    pub(crate) remarks: Vec<String>,
}

/// The machine and the programs that are not imchannel's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cpus: usize,
    pub(crate) system: String,
    pub(crate) rustc: String,
    pub(crate) nats_server: String,
}

/// How much was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Amount {
    /// Seconds of one measurement.
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    /// Webhooks of each of the normalizer's measurements.
    pub(crate) webhooks: u64,
    /// Webhooks that waited when the CPU time of one was measured; 0 in results from before that measurement.
    #[serde(default)]
    pub(crate) backlog: u64,
    /// Rows of the timeline's measurement.
    pub(crate) rows: u64,
}

/// CPUs of each role, such as `0` or `2-3`; `any` where nothing is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CpuLists {
    pub(crate) load: String,
    pub(crate) servers: String,
    pub(crate) measured: String,
}

/// A line of a plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) name: CurveName,
    pub(crate) side: Side,
    /// Pairs of x and y.
    pub(crate) points: Vec<[f64; 2]>,
}

/// What a line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CurveName {
    /// x: number of nines of the percentile (2 is the 99th); y: milliseconds.
    LatencyMs,
    /// x: requests offered a second; y: requests answered a second.
    Answered,
    /// x: requests offered a second; y: 99th percentile in milliseconds.
    P99Ms,
}

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    Other,
    Imchannel,
}

/// What a part measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) rows: Vec<Row>,
    pub(crate) curves: Vec<Curve>,
    pub(crate) remarks: Vec<String>,
}

impl Results {
    /// Results without a section.
    pub(crate) fn new() -> Self {
        Self { form: FORM, sections: Vec::new() }
    }

    /// Reads a file of results; `None` if there is no such file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Self::parse(&text).map(Some).with_context(|| {
            format!("cannot read {}: restore it, or delete it and measure everything", path.display())
        })
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let results: Self = serde_json::from_str(text)?;
        if results.form != FORM {
            bail!("it has form {}, and this version reads form {FORM}", results.form);
        }
        Ok(results)
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Puts a section in its place. An earlier one of the same part is replaced, the others stay.
    pub(crate) fn merge(&mut self, section: Section) {
        self.sections.retain(|earlier| earlier.part != section.part);
        let place = self.sections.partition_point(|earlier| earlier.part < section.part);
        self.sections.insert(place, section);
    }
}

fn first() -> usize {
    1
}

impl Section {
    /// Rows that do not count.
    pub(crate) fn refused_rows(&self) -> usize {
        self.rows.iter().filter(|row| self.refusal(row).is_some()).count()
    }

    /// Why a row does not count: its conditions, or its own spread.
    pub(crate) fn refusal<'a>(&'a self, row: &'a Row) -> Option<&'a str> {
        self.refused.as_deref().or(row.refused.as_deref())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A section with a row, measured in good conditions.
    pub(crate) fn section(part: Part, ratio: f64) -> Section {
        let row = Row::against("requests", "requests/s", [(100.0, 100.0 * ratio)].into_iter())
            .expect("there is a round")
            .with_aim(Aim::AtLeast(0.92));
        Section {
            part,
            command: format!("./dev bench --only {}", part.name()),
            measured_at: "2026-11-27T06:10:00Z".to_owned(),
            attempt: 1,
            commit: "a669668".to_owned(),
            machine: Machine {
                processor: "Example".to_owned(),
                cpus: 2,
                system: "Linux 6".to_owned(),
                rustc: "rustc 1.95.0".to_owned(),
                nats_server: "2.15.1".to_owned(),
            },
            amount: Amount { seconds: 5, rounds: 4, webhooks: 100_000, backlog: 1_000_000, rows: 2_000_000 },
            cpus: CpuLists { load: "0".to_owned(), servers: "0-1".to_owned(), measured: "0-1".to_owned() },
            before: Conditions {
                sync_median_ms: 0.5,
                sync_p99_ms: 1.0,
                loop_spread: 0.02,
                busy_percent: 1.0,
            },
            after: Conditions { sync_median_ms: 0.6, sync_p99_ms: 1.5, loop_spread: 0.03, busy_percent: 2.0 },
            steal_percent: 0.1,
            refused: None,
            rows: vec![row],
            curves: vec![Curve { name: CurveName::P99Ms, side: Side::Other, points: vec![[1.0, 2.0]] }],
            remarks: Vec::new(),
        }
    }

    #[test]
    fn results_are_the_same_after_json() {
        let mut results = Results::new();
        results.merge(section(Part::Ingress, 0.9));
        let text = serde_json::to_string(&results).expect("JSON");
        assert_eq!(Results::parse(&text).expect("results").sections, results.sections);
    }

    #[test]
    fn a_part_measured_again_replaces_only_itself() {
        let mut results = Results::new();
        for part in [Part::Media, Part::Ingress, Part::Fastapi] {
            results.merge(section(part, 0.9));
        }
        results.merge(section(Part::Fastapi, 0.5));
        let parts: Vec<Part> = results.sections.iter().map(|section| section.part).collect();
        assert_eq!(parts, [Part::Ingress, Part::Fastapi, Part::Media]);
        let ratio = |place: usize| results.sections[place].rows[0].judged().median;
        assert_eq!([ratio(0), ratio(1), ratio(2)], [0.9, 0.5, 0.9]);
    }

    #[test]
    fn conditions_refuse_every_row_and_a_spread_its_own() {
        let mut section = section(Part::Ingress, 0.9);
        section.rows.push(section.rows[0].clone().refused_for("too wide".to_owned()));
        assert_eq!(section.refused_rows(), 1);
        section.refused = Some("not quiet".to_owned());
        assert_eq!(section.refused_rows(), 2);
        assert_eq!(section.refusal(&section.rows[1]), Some("not quiet"));
    }

    #[test]
    fn results_of_another_form_are_refused() {
        let error = Results::parse(r#"{"form":2,"sections":[]}"#).expect_err("another form");
        assert_eq!(error.to_string(), "it has form 2, and this version reads form 1");
    }

    #[test]
    fn a_missing_file_is_no_error_and_a_broken_one_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.json");
        assert!(Results::read(&path).expect("no fault").is_none());
        std::fs::write(&path, "{").expect("written");
        let error = Results::read(&path).expect_err("broken").to_string();
        assert!(error.contains("restore it, or delete it"), "{error}");
        Results::new().write(&path).expect("written");
        assert!(Results::read(&path).expect("no fault").is_some());
    }
}
