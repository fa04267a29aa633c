//! Median and spread of the figures of several rounds.

use serde::{Deserialize, Serialize};

/// Digits after the point that are kept of a figure.
const KEPT: f64 = 10_000.0;

/// The figures of all rounds, with their median and their ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// In the order of the rounds.
    pub(crate) rounds: Vec<f64>,
}

impl Spread {
    /// Of some figures; `None` without a finite one. JSON has no others.
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let rounds: Vec<f64> = figures.filter(|figure| figure.is_finite()).map(rounded).collect();
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: rounded(quantile(&sorted, 0.5)?), least, most, rounds })
    }

    /// Distance between the ends, as a share of the median.
    pub(crate) fn width(&self) -> f64 {
        if self.most <= self.least { 0.0 } else { (self.most - self.least) / self.median.abs() }
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * KEPT).round() / KEPT
}

/// A quantile of sorted figures: between two of them, the straight line; `None` without a figure.
#[expect(clippy::cast_sign_loss, reason = "a quantile is at least 0")]
pub(crate) fn quantile(sorted: &[f64], at: f64) -> Option<f64> {
    let place = at.clamp(0.0, 1.0) * (sorted.len().checked_sub(1)? as f64);
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(figures: &[f64]) -> Spread {
        Spread::of(figures.iter().copied()).expect("there are figures")
    }

    #[test]
    fn the_median_is_in_the_middle_and_the_rounds_keep_their_order() {
        let odd = of(&[3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.least, odd.most), (2.0, 1.0, 3.0));
        assert_eq!(odd.rounds, [3.0, 1.0, 2.0]);
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(of(&[7.0]).median, 7.0);
    }

    #[test]
    fn figures_that_json_cannot_hold_are_left_out() {
        assert_eq!(Spread::of([f64::NAN, f64::INFINITY].into_iter()), None);
        assert_eq!(of(&[f64::NAN, 2.0]).rounds, [2.0]);
    }

    #[test]
    fn the_width_is_a_share_of_the_median() {
        assert_eq!(of(&[0.5, 1.0, 1.5]).width(), 1.0);
        assert_eq!(of(&[5.0]).width(), 0.0);
        assert_eq!(of(&[0.0, 0.0]).width(), 0.0);
        assert!(of(&[0.0, 0.0, 1.0]).width().is_infinite());
    }

    #[test]
    fn a_quantile_between_two_figures_is_on_the_line() {
        let sorted = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(quantile(&sorted, 0.0), Some(1.0));
        assert_eq!(quantile(&sorted, 0.625), Some(3.5));
        assert_eq!(quantile(&sorted, 1.0), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
