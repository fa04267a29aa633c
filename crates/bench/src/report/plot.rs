//! The picture: latency by percentile, on both sides.

use std::path::Path;

use hdrhistogram::Histogram;
use plotters::prelude::*;

use crate::load;
use crate::suite::ingress::Measured;

/// Width and height of the picture, in pixels.
const SIZE: (u32, u32) = (860, 420);
/// Color of the baseline program.
const BARE: RGBColor = RGBColor(140, 140, 150);
/// Color of imchannel.
const OURS: RGBColor = RGBColor(20, 130, 90);
/// Percentiles on the horizontal axis, by the number of nines: 90 % is at 1, 99 % at 2.
const NINES_MAX: f64 = 4.0;

/// Draws the latencies at a constant rate, all rounds together.
pub(crate) fn latencies(measured: &Measured, path: &Path) -> anyhow::Result<()> {
    let (mut bare, mut ours) = (load::histogram(), load::histogram());
    for pair in &measured.open {
        bare.add(&pair.baseline.latency_us)?;
        ours.add(&pair.ours.latency_us)?;
    }
    let top = millis(&bare, NINES_MAX).max(millis(&ours, NINES_MAX)) * 1.1;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let caption = format!("Answer time at {:.0} requests/s, 64 connections", measured.open_rate);
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..NINES_MAX, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("percentile")
        .y_desc("milliseconds")
        .x_labels(5)
        .x_label_formatter(&|nines| percentile(*nines))
        .draw()?;
    for (name, histogram, color) in [("bare receiver", &bare, BARE), ("imchannel", &ours, OURS)] {
        let points = (0..=200).map(|step| {
            let nines = f64::from(step) / 200.0 * NINES_MAX;
            (nines, millis(histogram, nines))
        });
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
    area.present()?;
    Ok(())
}

fn millis(histogram: &Histogram<u64>, nines: f64) -> f64 {
    histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1000.0
}

fn percentile(nines: f64) -> String {
    match nines.round() as i64 {
        0 => "0".to_owned(),
        1 => "90".to_owned(),
        2 => "99".to_owned(),
        3 => "99.9".to_owned(),
        _ => "99.99".to_owned(),
    }
}
