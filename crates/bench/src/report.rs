//! The page: BENCHMARKS.md and its plots, from the results alone.

mod page;
mod plot;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::results::{CurveName, Results};

/// Why an aim is not reached, by `part/row`, and what else is to be said about a part, by `part`. Written by people.
pub(crate) type Notes = BTreeMap<String, String>;

/// The files of a report.
#[derive(Debug)]
pub(crate) struct Files {
    page: PathBuf,
}

impl Files {
    /// The files that belong to a page.
    pub(crate) fn of(page: PathBuf) -> Self {
        Self { page }
    }

    /// The page.
    pub(crate) fn page(&self) -> &Path {
        &self.page
    }

    /// The results, beside the page.
    pub(crate) fn results(&self) -> PathBuf {
        self.page.with_extension("json")
    }

    fn beside(&self, path: &str) -> PathBuf {
        self.page.parent().unwrap_or(Path::new("")).join(path)
    }

    fn notes(&self) -> anyhow::Result<Notes> {
        let path = self.beside("bench/notes.json");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(Notes::new()) };
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The page as text.
    pub(crate) fn text(&self, results: &Results) -> anyhow::Result<String> {
        Ok(page::text(results, &self.notes()?)?)
    }

    /// Writes results, plots and page.
    pub(crate) fn write(&self, results: &Results) -> anyhow::Result<()> {
        results.write(&self.results())?;
        let folder = self.beside("docs/images");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for section in &results.sections {
            let has = |name| section.curves.iter().any(|curve| curve.name == name);
            if has(CurveName::LatencyMs) {
                plot::latencies(&section.curves, &folder.join("latency.svg"))?;
            }
            if has(CurveName::P99Ms) {
                plot::rates(&section.curves, &folder.join("rates.svg"))?;
            }
        }
        let text = self.text(results)?;
        std::fs::write(&self.page, text).with_context(|| format!("cannot write {}", self.page.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::Part;
    use crate::results::tests::section;

    fn files() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("BENCHMARKS.md");
        (folder, Files::of(page))
    }

    #[test]
    fn a_part_measured_again_leaves_the_rest_of_the_page() {
        let (_folder, files) = files();
        let mut results = Results::new();
        for part in [Part::Ingress, Part::Normalizer, Part::Media] {
            results.merge(section(part, 0.95));
        }
        files.write(&results).expect("written");
        let before = std::fs::read_to_string(files.page()).expect("a page");

        let mut again = Results::read(&files.results()).expect("results").expect("they were written");
        again.merge(section(Part::Normalizer, 0.5));
        files.write(&again).expect("written");
        let after = std::fs::read_to_string(files.page()).expect("a page");
        let differing = before.lines().zip(after.lines()).filter(|(one, other)| one != other).count();
        assert_eq!(before.lines().count(), after.lines().count());
        assert_eq!(differing, 1, "only the row of the normalizer:\n{after}");
    }

    #[test]
    fn notes_are_read_beside_the_page_and_a_broken_file_is_named() {
        let (folder, files) = files();
        let mut results = Results::new();
        results.merge(section(Part::Media, 0.5));
        std::fs::create_dir(folder.path().join("bench")).expect("a folder");
        let path = folder.path().join("bench/notes.json");
        std::fs::write(&path, r#"{"media/requests": "a trace shows why."}"#).expect("written");
        assert!(files.text(&results).expect("text").contains("a trace shows why."));
        std::fs::write(&path, "{").expect("written");
        let error = files.text(&results).expect_err("broken").to_string();
        assert!(error.contains("notes.json"), "{error}");
    }
}
