//! Output of a simulation: a progress bar, the counts by channel, and the result of the check.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use simulator::stats::{Counts, Dropped};
use simulator::{RunTag, Simulator, Verdict};

use crate::output::{BAD, GOOD, Out, STRONG, styled, text};

pub(crate) fn begins(gateway: &str, seed: u64, run: RunTag, out: &Out) {
    out.print(&format!("posting to {gateway}; run {run} of seed {seed}"));
    out.object(&json!({ "gateway": gateway, "run": run.to_string(), "seed": seed }));
}

/// A progress bar on standard error, or nothing for programs.
pub(super) fn bar(count: Option<u64>, checks: bool, out: &Out) -> ProgressBar {
    let rest = if checks { "{pos} posted  {msg}" } else { "{pos} posted" };
    let template = match count {
        Some(_) => format!("{{elapsed_precise}} {{bar:30}} {{percent}} %  {rest}  {{per_sec}}"),
        None => format!("{{elapsed_precise}} {{spinner}} {rest}  {{per_sec}}"),
    };
    let bar = count.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if out.is_json() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(&template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Updates the progress bar; returns the counts of all channels.
pub(super) fn tick(bar: &ProgressBar, simulator: &Simulator) -> Counts {
    let total = total(simulator);
    let verdict = simulator.ledger().counts();
    bar.set_position(total.posted);
    let faults = verdict.different + verdict.invented + verdict.wrong_ids;
    bar.set_message(format!(
        "{} answered 200, {} of {} events out, {faults} wrong",
        total.taken, verdict.kept, verdict.promised
    ));
    total
}

/// Describes what was dropped, why, and the remedy.
pub(crate) fn dropped(total: &Counts) -> String {
    let mut parts = Vec::new();
    for (why, count) in &total.dropped {
        let words = match why {
            Dropped::InProgress => {
                "because too many are being posted or wait for a retry: the gateway is too slow"
            }
            Dropped::NotOut => "because too many expected events have not come out: normalizers are behind",
        };
        parts.push(format!("{count} {words}"));
    }
    format!("webhooks were dropped without being posted, to limit memory: {}", parts.join("; "))
}

fn total(simulator: &Simulator) -> Counts {
    let mut total = Counts::default();
    simulator.tally().counts().iter().for_each(|counts| total.add(counts));
    total
}

/// Prints one row for each channel, and one for all; returns the totals.
pub(crate) fn counts(simulator: &Simulator, out: &Out) -> Counts {
    let mut rows = Vec::new();
    for (target, counts) in simulator.targets().iter().zip(simulator.tally().counts()) {
        out.object(&json!({
            "target": target.name(), "posted": counts.posted, "answered_200": counts.taken,
            "challenged": counts.challenged, "refused": counts.refused, "repeated": counts.repeated,
            "given_up": counts.lost, "dropped": counts.dropped(), "p50_ms": millis(&counts, 0.5), "p99_ms": millis(&counts, 0.99),
        }));
        rows.push(row(&target.name(), &counts));
    }
    let total = total(simulator);
    rows.push(row("all", &total));
    let columns = ["Channel", "Posted", "200", "Refused", "Repeated", "Given up", "Dropped", "p50", "p99"];
    out.table(&columns, &rows);
    total
}

fn row(name: &str, counts: &Counts) -> [String; 9] {
    let refused: Vec<_> = counts.refused.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    let refused = if refused.is_empty() { "-".to_owned() } else { refused.join(", ") };
    [
        name.to_owned(),
        counts.posted.to_string(),
        counts.taken.to_string(),
        refused,
        counts.repeated.to_string(),
        counts.lost.to_string(),
        counts.dropped().to_string(),
        format!("{:.1} ms", millis(counts, 0.5)),
        format!("{:.1} ms", millis(counts, 0.99)),
    ]
}

fn millis(counts: &Counts, quantile: f64) -> f64 {
    let latency: Duration = counts.latency(quantile);
    (latency.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Prints the result of the check and the errors.
pub(crate) fn verdict(verdict: &Verdict, out: &Out) {
    out.object(
        &json!({ "ledger": to_json(verdict), "clean": verdict.is_clean(), "faults": verdict.examples }),
    );
    let line = format!(
        "{} promised, {} kept, {} missing, {} different, {} invented, {} under a wrong id",
        verdict.promised,
        verdict.kept,
        verdict.missing,
        verdict.different,
        verdict.invented,
        verdict.wrong_ids
    );
    let word = if verdict.is_clean() { styled(GOOD, "clean:") } else { styled(BAD, "not clean:") };
    out.print(&text!("{} {word} {line}", styled(STRONG, "ledger")));
    out.print(&format!(
        "allowed: {} copies under the same id, {} stored whose 200 was lost on its way, {} of other senders",
        verdict.copies, verdict.unpromised, verdict.foreign
    ));
    for example in &verdict.examples {
        out.print(&text!("  {} {example}", styled(BAD, "fault")));
    }
}

fn to_json(verdict: &Verdict) -> serde_json::Value {
    json!({
        "expected": verdict.promised, "matched": verdict.kept, "missing": verdict.missing,
        "different": verdict.different, "unexpected": verdict.invented, "wrong_ids": verdict.wrong_ids,
        "duplicates": verdict.copies, "unacknowledged": verdict.unpromised, "foreign": verdict.foreign,
    })
}
