//! The timeline as a program, and what it answers.

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use super::files::client;
use super::{Installation, Program, eventually};

/// A running timeline.
pub(crate) struct RunningTimeline {
    pub(crate) program: Program,
    pub(crate) url: String,
}

/// A folder for the store of a timeline, which may be started in it several times.
pub(crate) fn store_folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

impl RunningTimeline {
    /// Starts a timeline that keeps its store in a folder.
    pub(crate) async fn start(installation: &Installation, folder: &TempDir, more: &[(&str, &str)]) -> Self {
        Self::start_with_admin(installation, folder, more).await.0
    }

    /// The same, and the address of its probes and metrics.
    pub(crate) async fn start_with_admin(
        installation: &Installation,
        folder: &TempDir,
        more: &[(&str, &str)],
    ) -> (Self, String) {
        Self::start_program("imchannel-timeline", installation, folder, more).await
    }

    /// The same with another version, by its path.
    pub(crate) async fn start_program(
        program: &str,
        installation: &Installation,
        folder: &TempDir,
        more: &[(&str, &str)],
    ) -> (Self, String) {
        let folder = folder.path().to_string_lossy().into_owned();
        let mut variables =
            vec![("IMCHANNEL_TIMELINE_DIR", folder.as_str()), ("IMCHANNEL_TIMELINE_LISTEN", "127.0.0.1:0")];
        variables.extend(more.iter().copied());
        let mut program = Program::start(program, installation, &variables);
        let admin = program.address_after("probes and metrics on ").await;
        let address = program.address_after("answers on").await;
        (Self { program, url: format!("http://{address}") }, admin)
    }

    /// Gets a path: the status, and the body as JSON.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = client().get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The answer to an id, once it has what is waited for.
    pub(crate) async fn answer(&self, id: &str, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/v1/timeline/{id}");
        eventually(&format!("{id}: {what}"), || async {
            let (status, answer) = self.get(&path).await;
            (status == StatusCode::OK && is_there(&answer)).then_some(answer)
        })
        .await
    }

    /// The only life of an id, once it has a row of each of these kinds.
    pub(crate) async fn life(&self, id: &str, kinds: &[&str]) -> Value {
        let has_all = |answer: &Value| {
            let found = kinds_of(&answer["lives"][0]);
            kinds.iter().all(|kind| found.iter().any(|found| found == kind))
        };
        let answer = self.answer(id, &format!("rows of {kinds:?}"), has_all).await;
        assert_eq!(answer["lives"].as_array().unwrap().len(), 1, "{answer:#}");
        answer["lives"][0].clone()
    }
}

/// What happened in a life, in its order.
pub(crate) fn kinds_of(life: &Value) -> Vec<String> {
    let rows = life["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The rules by which something is missing in a life.
pub(crate) fn missing_in(life: &Value) -> Vec<String> {
    let missing = life["missing"].as_array().cloned().unwrap_or_default();
    missing.iter().map(|missing| missing["rule"].as_str().unwrap_or_default().to_owned()).collect()
}
