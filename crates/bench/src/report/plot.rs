//! The plots: latency by percentile, and throughput and 99th percentile over the rate.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::results::{Curve, CurveName, Side};

/// Width and height of a plot, in pixels.
const SIZE: (u32, u32) = (860, 420);
/// Color of the baseline program.
const BARE: RGBColor = RGBColor(140, 140, 150);
/// Color of imchannel.
const OURS: RGBColor = RGBColor(20, 130, 90);
/// Room above the highest point, as a factor.
const ROOM: f64 = 1.1;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the latencies at a constant rate, all rounds together.
pub(super) fn latencies(curves: &[Curve], path: &Path) -> anyhow::Result<()> {
    let lines = of(curves, CurveName::LatencyMs);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let panel = Panel {
        caption: "Answer time at a constant rate, 64 connections",
        x: "percentile",
        y: "milliseconds",
        x_label: percentile,
    };
    let right = most(&lines, 0);
    panel.draw(&area, &lines, 0.0..right, 0.0..most(&lines, 1) * ROOM)?;
    area.present()?;
    Ok(())
}

/// Draws throughput and 99th percentile over the rate, one above the other.
pub(super) fn rates(curves: &[Curve], path: &Path) -> anyhow::Result<()> {
    let (answered, p99) = (of(curves, CurveName::Answered), of(curves, CurveName::P99Ms));
    let area = SVGBackend::new(path, (SIZE.0, SIZE.1 * 2)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((2, 1));
    let [above, below] = &panels[..] else { anyhow::bail!("a plot of two panels has {}", panels.len()) };
    let right = most(&answered, 0) * ROOM;
    let throughput = Panel {
        caption: "Requests/s answered, 64 connections",
        x: "requests/s offered",
        y: "requests/s answered",
        x_label: whole,
    };
    throughput.draw(above, &answered, 0.0..right, 0.0..most(&answered, 1) * ROOM)?;
    let latency = Panel {
        caption: "99th percentile of the answer time",
        x: "requests/s offered",
        y: "milliseconds (logarithmic)",
        x_label: whole,
    };
    let least = values(&p99, 1).fold(f64::INFINITY, f64::min).clamp(0.01, 1e6);
    latency.draw(below, &p99, 0.0..right, (least / 2.0..most(&p99, 1).max(least) * 2.0).log_scale())?;
    area.present()?;
    Ok(())
}

fn of(curves: &[Curve], name: CurveName) -> Vec<&Curve> {
    curves.iter().filter(|curve| curve.name == name).collect()
}

fn values(curves: &[&Curve], axis: usize) -> impl Iterator<Item = f64> {
    curves.iter().flat_map(move |curve| curve.points.iter().map(move |point| point[axis]))
}

/// The highest value of an axis; a small one if there is no point, because an axis has a length.
fn most(curves: &[&Curve], axis: usize) -> f64 {
    values(curves, axis).fold(0.001, f64::max)
}

/// What a panel says.
struct Panel {
    caption: &'static str,
    x: &'static str,
    y: &'static str,
    x_label: fn(f64) -> String,
}

impl Panel {
    fn draw<Y>(&self, area: &Area<'_>, curves: &[&Curve], x: Range<f64>, y: Y) -> anyhow::Result<()>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(self.caption, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        let x_label = self.x_label;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_labels(5)
            .x_label_formatter(&|value| x_label(*value))
            .draw()?;
        for curve in curves {
            let (name, color) = match curve.side {
                Side::Other => ("bare receiver", BARE),
                Side::Imchannel => ("imchannel", OURS),
            };
            let points = curve.points.iter().map(|[x, y]| (*x, *y));
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BARE)
            .draw()?;
        Ok(())
    }
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// The percentile with this number of nines.
fn percentile(nines: f64) -> String {
    match nines.round() as i64 {
        0 => "0".to_owned(),
        1 => "90".to_owned(),
        2 => "99".to_owned(),
        3 => "99.9".to_owned(),
        _ => "99.99".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: CurveName, side: Side, points: &[[f64; 2]]) -> Curve {
        Curve { name, side, points: points.to_vec() }
    }

    #[test]
    fn the_plots_have_a_line_for_each_side() {
        let folder = tempfile::tempdir().expect("a folder");
        let points = [[1000.0, 990.0], [2000.0, 1900.0]];
        let curves: Vec<Curve> = [CurveName::Answered, CurveName::P99Ms, CurveName::LatencyMs]
            .into_iter()
            .flat_map(|name| [Side::Other, Side::Imchannel].map(|side| curve(name, side, &points)))
            .collect();
        let path = folder.path().join("rates.svg");
        rates(&curves, &path).expect("drawn");
        let text = std::fs::read_to_string(&path).expect("written");
        assert!(text.contains("99th percentile of the answer time") && text.contains("Requests/s answered"));
        assert_eq!(text.matches("imchannel").count(), 2);
        latencies(&curves, &path).expect("drawn");
        let text = std::fs::read_to_string(&path).expect("written");
        assert!(text.contains("bare receiver") && text.contains("percentile"));
    }

    #[test]
    fn a_plot_without_points_is_no_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        rates(&[], &folder.path().join("rates.svg")).expect("drawn");
    }
}
