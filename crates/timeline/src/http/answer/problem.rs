//! Problem details (RFC 9457), with the members that this service adds.

use serde::{Deserialize, Serialize};

use crate::http::answer::{GapAnswer, ReadUntil, UnreadableAnswer};

/// Why a request was not served. The type is `about:blank`, so that the title is the status's reason phrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The reason phrase of the status.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Every faulty parameter, header or field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// The id that was not found, as it may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How far each stream was read when nothing was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read_until: Vec<ReadUntil>,
    /// Messages of the streams that were not read, when nothing was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<GapAnswer>,
    /// Number of further ranges that `missed` leaves out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed_left_out: u64,
    /// What is stored and cannot be read, when nothing was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableAnswer>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is wrong with a part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The parameter, header or field.
    pub name: String,
    /// What is wrong with it.
    pub detail: String,
}
