//! One row: what was measured, against what, with which aim, and whether its rounds agree enough to be believed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::statistics::Spread;

/// Widest spread over the rounds of a throughput or of a ratio of throughputs, as a share of its median.
pub(crate) const WIDTH_MAX_RATE: f64 = 0.3;
/// The same for a latency: its percentiles vary more.
pub(crate) const WIDTH_MAX_LATENCY: f64 = 0.75;

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Aim {
    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(aim) => figure >= aim,
            Self::AtMost(aim) => figure <= aim,
            Self::Below(aim) => figure < aim,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(aim) => write!(f, "≥ {aim}"),
            Self::AtMost(aim) => write!(f, "≤ {aim}"),
            Self::Below(aim) => write!(f, "< {aim}"),
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its name in JSON, unique in the section.
    pub(crate) id: String,
    /// What it is, with the unit.
    pub(crate) name: String,
    /// Figures of the program that imchannel is compared with.
    pub(crate) other: Option<Spread>,
    pub(crate) imchannel: Spread,
    /// imchannel's figure by the other's, round by round.
    pub(crate) ratio: Option<Spread>,
    pub(crate) aim: Option<Aim>,
    /// Whether the median of the ratio, or of imchannel's figures if there is no ratio, is as the aim wants it.
    pub(crate) reached: Option<bool>,
    /// Widest spread of the same figures that is believed; `None` for a figure that is only shown.
    pub(crate) width_max: Option<f64>,
    /// Why the row does not count.
    pub(crate) refused: Option<String>,
}

impl Row {
    /// imchannel's figures alone; `None` without a round.
    pub(crate) fn alone(id: &str, name: &str, figures: impl Iterator<Item = f64>) -> Option<Self> {
        Some(Self {
            id: id.to_owned(),
            name: name.to_owned(),
            other: None,
            imchannel: Spread::of(figures)?,
            ratio: None,
            aim: None,
            reached: None,
            width_max: None,
            refused: None,
        })
    }

    /// Pairs of the other program's figure and imchannel's; `None` without a round.
    pub(crate) fn against(id: &str, name: &str, pairs: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let pairs: Vec<(f64, f64)> = pairs.collect();
        let row = Self::alone(id, name, pairs.iter().map(|(_, ours)| *ours))?;
        let other = Spread::of(pairs.iter().map(|(other, _)| *other));
        let ratio = Spread::of(pairs.iter().map(|(other, ours)| ours / other));
        Some(Self { other, ratio, ..row })
    }

    /// The figures that aim and spread are about.
    pub(crate) fn judged(&self) -> &Spread {
        self.ratio.as_ref().unwrap_or(&self.imchannel)
    }

    /// With an aim for the median.
    pub(crate) fn with_aim(self, aim: Aim) -> Self {
        let reached = Some(aim.is_reached(self.judged().median));
        Self { aim: Some(aim), reached, ..self }
    }

    /// With a reason for which it does not count, unless it has one.
    pub(crate) fn refused_for(self, reason: String) -> Self {
        Self { refused: self.refused.or(Some(reason)), ..self }
    }

    /// With the widest spread that is believed. The row is refused if its own is wider.
    pub(crate) fn with_width_max(self, width_max: f64) -> Self {
        let width = self.judged().width();
        let refused = (width > width_max).then(|| {
            format!(
                "the rounds differ by {:.0} % of their median (limit {:.0} %)",
                width * 100.0,
                width_max * 100.0
            )
        });
        Self { width_max: Some(width_max), refused, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(f64, f64)]) -> Row {
        Row::against("requests", "requests/s", pairs.iter().copied()).expect("there are rounds")
    }

    #[test]
    fn an_aim_is_about_the_median_of_the_ratio() {
        let row = row(&[(100.0, 90.0), (200.0, 184.0), (100.0, 95.0)]);
        assert_eq!(row.clone().with_aim(Aim::AtLeast(0.92)).reached, Some(true));
        assert_eq!(row.clone().with_aim(Aim::AtLeast(0.93)).reached, Some(false));
        assert_eq!(row.clone().with_aim(Aim::AtMost(0.92)).reached, Some(true));
        assert_eq!(row.with_aim(Aim::Below(0.92)).reached, Some(false));
    }

    #[test]
    fn an_aim_without_a_ratio_is_about_the_figures() {
        let row = Row::alone("sends", "sends/s", [1900.0, 2100.0].into_iter()).expect("there are rounds");
        assert_eq!(row.with_aim(Aim::AtLeast(2000.0)).reached, Some(true));
    }

    #[test]
    fn rounds_that_differ_too_much_are_refused() {
        let drifting = row(&[(100.0, 80.0), (50.0, 40.0), (100.0, 100.0)]).with_width_max(WIDTH_MAX_RATE);
        assert_eq!(drifting.refused, None, "the machine's drift is in both programs");
        let apart = row(&[(100.0, 80.0), (100.0, 60.0), (100.0, 100.0)]).with_width_max(WIDTH_MAX_RATE);
        let refused = apart.refused.expect("0.6 to 1.0 around 0.8");
        assert_eq!(refused, "the rounds differ by 50 % of their median (limit 30 %)");
    }

    #[test]
    fn a_row_without_a_round_is_no_row() {
        assert_eq!(Row::alone("sends", "sends/s", std::iter::empty()), None);
    }

    #[test]
    fn aims_are_shown_as_they_are_written() {
        let shown = [Aim::AtLeast(0.92), Aim::AtMost(1.25), Aim::Below(15.0)].map(|aim| aim.to_string());
        assert_eq!(shown, ["≥ 0.92", "≤ 1.25", "< 15"]);
        let text = serde_json::to_string(&Aim::AtLeast(0.92)).expect("JSON");
        assert_eq!(text, r#"{"at_least":0.92}"#);
    }
}
