//! The page's text (Markdown).

use std::fmt::{Result, Write as _};

use crate::report::Notes;
use crate::results::{Aim, CurveName, Results, Row, Section};
use crate::statistics::Spread;

/// Writes the whole page.
pub(super) fn text(results: &Results, notes: &Notes) -> std::result::Result<String, std::fmt::Error> {
    let mut text = String::new();
    head(&mut text, results)?;
    for group in results.sections.chunk_by(|one, next| one.part.heading() == next.part.heading()) {
        table(&mut text, group, notes)?;
    }
    Ok(text)
}

fn head(text: &mut String, results: &Results) -> Result {
    writeln!(text, "# Benchmarks\n")?;
    writeln!(
        text,
        "Written by `./dev bench` from [BENCHMARKS.json](BENCHMARKS.json), which has the figures of every round \
         ([its fields](bench/README.md#benchmarksjson)). The programs of a pair are measured in turns, round after round. \
         Machines differ and drift, so the ratios say more than the figures: each is the median over the rounds, with the \
         least and the most in brackets. Every body is unique. nats-server stores in files, with its default sync where \
         nothing else is said.\n"
    )?;
    writeln!(
        text,
        "A row is refused, and does not count, if its rounds differ too much or if the machine was not quiet before, during \
         or after it ([limits](bench/README.md#when-a-row-is-refused)). The command below each table measures it again and \
         leaves the others as they are.\n"
    )?;
    let Some(newest) = results.sections.iter().max_by_key(|section| &section.measured_at) else {
        return Ok(());
    };
    let machine = &newest.machine;
    writeln!(text, "| | |\n|---|---|")?;
    writeln!(text, "| date | {} |", newest.measured_at)?;
    writeln!(text, "| processor | {} × {} |", machine.cpus, machine.processor)?;
    writeln!(text, "| system | {} |", machine.system)?;
    writeln!(text, "| rustc | {} |\n", machine.rustc)
}

fn table(text: &mut String, group: &[Section], notes: &Notes) -> Result {
    let Some(first) = group.first() else { return Ok(()) };
    writeln!(text, "## {}\n\n{}\n", first.part.heading(), first.part.about())?;
    let rows = || group.iter().flat_map(|section| section.rows.iter().map(move |row| (section, row)));
    let is_against = rows().any(|(_, row)| row.ratio.is_some());
    if is_against {
        writeln!(
            text,
            "| | {} | imchannel | ratio | aim | |\n|---|---|---|---|---|---|",
            first.part.other()
        )?;
    } else {
        writeln!(text, "| | imchannel | aim | |\n|---|---|---|---|")?;
    }
    for (section, row) in rows() {
        let aim = row.aim.map(|aim: Aim| aim.to_string()).unwrap_or_default();
        let state = state(section, row);
        let figures = figures(row, is_against);
        writeln!(text, "| {} | {figures} | {aim} | {state} |", row.name)?;
    }
    writeln!(text)?;
    for (section, row) in rows() {
        let note = notes.get(&format!("{}/{}", section.part.name(), row.id));
        if let Some(note) = note.filter(|_| row.reached == Some(false)) {
            writeln!(text, "{}: {note}\n", row.name)?;
        }
    }
    for section in group {
        after(text, section, notes)?;
    }
    Ok(())
}

fn figures(row: &Row, is_against: bool) -> String {
    match (&row.other, &row.ratio) {
        (Some(other), Some(ratio)) => {
            let (other, ours) = (number(other.median), number(row.imchannel.median));
            format!("{other} | {ours} | {}", spread(ratio))
        }
        _ if is_against => format!("| {} | ", spread(&row.imchannel)),
        _ => spread(&row.imchannel),
    }
}

fn spread(figures: &Spread) -> String {
    let median = number(figures.median);
    if figures.rounds.len() < 2 {
        return median;
    }
    format!("**{median}** ({}–{})", number(figures.least), number(figures.most))
}

/// About three digits, and no more than two after the point.
fn number(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

fn state(section: &Section, row: &Row) -> String {
    if section.refused.is_some() {
        return "**refused**".to_owned();
    }
    if let Some(reason) = &row.refused {
        return format!("**refused**: {reason}");
    }
    match row.reached {
        Some(true) => "reached".to_owned(),
        Some(false) => "**not reached**".to_owned(),
        None => String::new(),
    }
}

/// Remarks, picture and conditions of a section.
fn after(text: &mut String, section: &Section, notes: &Notes) -> Result {
    if let Some(reason) = &section.refused {
        writeln!(text, "**Refused**: {reason}.\n")?;
    }
    for remark in section.remarks.iter().chain(notes.get(&section.part.name())) {
        writeln!(text, "{remark}\n")?;
    }
    let has = |name| section.curves.iter().any(|curve| curve.name == name);
    if has(CurveName::LatencyMs) {
        writeln!(text, "![Latency by percentile at a constant rate](docs/images/latency.svg)\n")?;
    }
    if has(CurveName::P99Ms) {
        writeln!(text, "![Throughput and 99th percentile over the rate](docs/images/rates.svg)\n")?;
    }
    let Section { measured_at, commit, command, before, after, cpus, .. } = section;
    let attempt = if section.attempt > 1 { format!(", attempt {}", section.attempt) } else { String::new() };
    writeln!(
        text,
        "`{command}` — {measured_at}{attempt}, commit {commit}, nats-server {}, {} rounds of {} s; CPUs: load {}, servers {}, \
         measured program {}. Before and after: sync of 4 KiB {:.2} and {:.2} ms (99th percentile {:.2} and {:.2}), a \
         fixed loop's spread {:.0} and {:.0} %, other work {:.0} and {:.0} % of the CPUs; stolen during it {:.1} %.\n",
        section.machine.nats_server,
        section.amount.rounds,
        section.amount.seconds,
        cpus.load,
        cpus.servers,
        cpus.measured,
        before.sync_median_ms,
        after.sync_median_ms,
        before.sync_p99_ms,
        after.sync_p99_ms,
        before.loop_spread * 100.0,
        after.loop_spread * 100.0,
        before.busy_percent,
        after.busy_percent,
        section.steal_percent,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::Part;
    use crate::results::WIDTH_MAX_RATE;
    use crate::results::tests::section;

    fn page(sections: Vec<Section>, notes: &Notes) -> String {
        let mut results = Results::new();
        sections.into_iter().for_each(|section| results.merge(section));
        text(&results, notes).expect("text")
    }

    #[test]
    fn a_row_says_whether_its_aim_is_reached() {
        let text = page(vec![section(Part::Ingress, 0.95), section(Part::Media, 0.9)], &Notes::new());
        assert!(text.contains("| requests/s | 100 | 95.0 | 0.95 | ≥ 0.92 | reached |"), "{text}");
        assert!(text.contains("| requests/s | 100 | 90.0 | 0.90 | ≥ 0.92 | **not reached** |"), "{text}");
        assert!(text.contains("`./dev bench --only media` — 2026-11-27T06:10:00Z, commit a669668"), "{text}");
        assert!(text.contains("sync of 4 KiB 0.50 and 0.60 ms (99th percentile 1.00 and 1.50)"), "{text}");
    }

    #[test]
    fn a_refused_row_is_marked_with_its_reason() {
        let mut noisy = section(Part::Ingress, 0.95);
        noisy.refused = Some("before it other work used 40 % of the CPUs (limit 10 %)".to_owned());
        let mut apart = section(Part::Media, 0.95);
        let pairs = [(100.0, 50.0), (100.0, 100.0)];
        apart.rows = Row::against("files", "files/s", pairs.into_iter())
            .map(|row| row.with_width_max(WIDTH_MAX_RATE))
            .into_iter()
            .collect();
        let text = page(vec![noisy, apart], &Notes::new());
        assert!(text.contains("| ≥ 0.92 | **refused** |"), "{text}");
        assert!(
            text.contains("**Refused**: before it other work used 40 % of the CPUs (limit 10 %).\n"),
            "{text}"
        );
        assert!(text.contains("**0.75** (0.50–1.00) |  | **refused**: the rounds differ by 67 %"), "{text}");
    }

    #[test]
    fn receivers_in_other_languages_share_a_table() {
        let parts = [Part::Fastapi, Part::Fastify, Part::Benthos];
        let text = page(parts.map(|part| section(part, 2.0)).into(), &Notes::new());
        assert_eq!(text.matches("## Ingress against what people would write instead").count(), 1);
        assert_eq!(text.matches("| requests/s |").count(), 3);
        assert_eq!(text.matches("`./dev bench --only ").count(), 3);
    }

    #[test]
    fn a_note_says_why_an_aim_is_not_reached() {
        let key = |part: Part| (format!("{}/requests", part.name()), "a trace shows why.".to_owned());
        let notes = Notes::from([key(Part::Ingress), key(Part::Media)]);
        let text = page(vec![section(Part::Ingress, 0.95), section(Part::Media, 0.9)], &notes);
        assert_eq!(text.matches("requests/s: a trace shows why.").count(), 1, "{text}");
    }

    #[test]
    fn numbers_have_about_three_digits() {
        assert_eq!([58483.2, 100.0, 29.84, 3.391, 0.0].map(number), ["58483", "100", "29.8", "3.39", "0.00"]);
    }
}
