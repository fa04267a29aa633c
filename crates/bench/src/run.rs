//! Runs the measurements in their order, with the conditions before and after each, and writes the report after each, so
//! that a run that fails keeps what it has.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use tokio::time::Instant;

use crate::conditions::{Conditions, Course, CpuTimes};
use crate::environment::new_folder;
use crate::machine;
use crate::output;
use crate::part::Part;
use crate::report::Files;
use crate::results::{Amount, CpuLists, Machine, Measured, Results, Section};
use crate::suite::comparison::{self, Folders};
use crate::suite::{
    Effort, end_to_end, group_commit, ingress, media, normalizer, rates, sender, synced, timeline,
    timeline_beside, timeline_postgres,
};

/// Interval of the checks whether the machine is quiet, besides the time of the check.
const QUIET_INTERVAL: Duration = Duration::from_secs(5);

/// What to measure, and where to write it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) effort: Effort,
    /// Only these parts; all if it is empty.
    pub(crate) only: Vec<Part>,
    pub(crate) page: PathBuf,
    pub(crate) folders: Folders,
    /// Longest wait for a quiet machine before each part.
    pub(crate) quiet_wait: Duration,
    /// Most attempts at a part with refused rows.
    pub(crate) attempts: usize,
    /// What distinguishes the command from `./dev bench`, for the command that repeats a part.
    pub(crate) amount: Amount,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Rows that do not count.
    pub(crate) refused: usize,
}

/// Measures the parts of a plan.
pub(crate) async fn run(plan: &Plan) -> anyhow::Result<Ended> {
    for part in &plan.only {
        if comparison::needs_folder(*part) && plan.folders.of(*part).is_none() {
            let name = part.name();
            bail!(
                "missing option --{name} (folder of the prepared receiver): `./dev bench --only {name}` prepares it if \
                 its language is installed"
            );
        }
    }
    let files = Files::of(plan.page.clone());
    let earlier = Results::read(&files.results())?;
    // A page without its results would lose the sections that are not measured now.
    let is_written = plan.only.is_empty() || earlier.is_some() || !files.page().exists();
    let mut results = earlier.unwrap_or_else(Results::new);
    let (machine, commit) = (machine::describe().await, machine::commit());
    let mut refused = 0;
    for part in Part::value_variants() {
        if !(plan.only.is_empty() || plan.only.contains(part)) {
            continue;
        }
        let Some(section) = measure_until_accepted(*part, plan, &machine, &commit).await? else { continue };
        refused += say_rows(&section);
        results.merge(section);
        if is_written {
            files.write(&results)?;
        }
    }
    if is_written {
        output::say(&format!("written to {}", files.page().display()));
    } else {
        output::say(&files.text(&results)?);
        output::say(&format!(
            "{} was not changed, because {} is missing: measure everything once, or name another file with --report",
            files.page().display(),
            files.results().display()
        ));
    }
    Ok(Ended { refused })
}

/// Measures a part, again if rows are refused. Of the attempts that it takes, the one with the fewest refused rows is kept (figures play no
/// part in that); `None` if it cannot be measured here.
async fn measure_until_accepted(
    part: Part,
    plan: &Plan,
    machine: &Machine,
    commit: &str,
) -> anyhow::Result<Option<Section>> {
    let mut kept: Option<Section> = None;
    for attempt in 1..=plan.attempts {
        let Some(measured) = measure(part, plan, machine, commit).await? else { return Ok(None) };
        let section = Section { attempt, ..measured };
        let refused = section.refused_rows();
        if kept.as_ref().is_none_or(|kept| refused < kept.refused_rows()) {
            kept = Some(section);
        }
        if refused == 0 {
            break;
        }
        output::say(&format!("  attempt {attempt} of at most {}: {refused} rows are refused", plan.attempts));
    }
    Ok(kept)
}

/// Measures a part with its conditions; `None` if it cannot be measured here.
async fn measure(
    part: Part,
    plan: &Plan,
    machine: &Machine,
    commit: &str,
) -> anyhow::Result<Option<Section>> {
    output::say(&part.name());
    let (layout, name) = (plan.effort.layout, part.name());
    let folder = new_folder()?;
    let before = conditions_before(plan, folder.path()).await?;
    let measured_at = format!("{:.0}", jiff::Timestamp::now());
    let times = CpuTimes::now();
    let cpus = if part.is_in_process() { layout.all } else { layout.load };
    cpus.pin_process();
    let measured = Box::pin(figures(part, plan)).await.with_context(|| format!("cannot measure part {name}"));
    layout.all.pin_process();
    let Some(measured) = measured? else { return Ok(None) };
    let steal_percent = CpuTimes::now().since(times).steal_percent();
    let after = Conditions::measure(folder.path(), layout.all).await?;
    let course = Course { before, after, steal_percent, syncs: part.syncs() };
    let Measured { rows, curves, remarks } = measured;
    let shown = |cpus: crate::cpus::Cpus| cpus.to_string();
    Ok(Some(Section {
        part,
        command: command(part, &plan.amount),
        measured_at,
        attempt: 1,
        commit: commit.to_owned(),
        machine: machine.clone(),
        amount: plan.amount.clone(),
        cpus: CpuLists {
            load: shown(cpus),
            servers: shown(if part.is_in_process() { layout.all } else { layout.servers }),
            measured: shown(if part.is_in_process() { layout.all } else { layout.measured }),
        },
        before,
        after,
        steal_percent,
        refused: course.refusal(),
        rows,
        curves,
        remarks,
    }))
}

/// The conditions before a part, once the machine is quiet or the wait for that is over.
async fn conditions_before(plan: &Plan, folder: &std::path::Path) -> anyhow::Result<Conditions> {
    let deadline = Instant::now() + plan.quiet_wait;
    loop {
        let conditions = Conditions::measure(folder, plan.effort.layout.all).await?;
        let Some(objection) = conditions.objection() else { return Ok(conditions) };
        if Instant::now() >= deadline {
            output::say(&format!("  not quiet: {objection}; measuring anyway, and the rows will be refused"));
            return Ok(conditions);
        }
        output::say(&format!("  not quiet: {objection}; checking again"));
        tokio::time::sleep(QUIET_INTERVAL).await;
    }
}

async fn figures(part: Part, plan: &Plan) -> anyhow::Result<Option<Measured>> {
    let effort = plan.effort;
    // On the heap, because some contain a whole program.
    let measured = match part {
        Part::Ingress => Box::pin(ingress::measure(effort)).await?,
        Part::Rates => Box::pin(rates::measure(effort)).await?,
        Part::Fastapi | Part::Fastify | Part::Benthos => {
            let Some(folder) = plan.folders.of(part) else {
                output::say("  skipped: no folder of a prepared receiver was given");
                return Ok(None);
            };
            Box::pin(comparison::measure(part, folder, effort)).await?
        }
        Part::Normalizer => Box::pin(normalizer::measure(effort)).await?,
        Part::EndToEnd => Box::pin(end_to_end::measure(effort)).await?,
        Part::Sender => Box::pin(sender::measure(effort)).await?,
        Part::SenderSynced => {
            let measured = Box::pin(synced::measure(effort)).await?;
            if measured.is_none() {
                output::say(
                    "  skipped: this nats-server has no `sync_interval: always`; 2.10 and later have it",
                );
            }
            return Ok(measured);
        }
        Part::GroupCommit => {
            let measured = Box::pin(group_commit::measure(effort)).await?;
            if measured.is_none() {
                output::say("  skipped: this nats-server does not sync a batch once; 2.15.0 and later do");
            }
            return Ok(measured);
        }
        Part::Media => Box::pin(media::measure(effort)).await?,
        Part::Timeline => Box::pin(timeline::measure(effort)).await?,
        Part::TimelinePostgres => Box::pin(timeline_postgres::measure(effort)).await?,
        Part::TimelineBeside => Box::pin(timeline_beside::measure(effort)).await?,
    };
    Ok(Some(measured))
}

/// Seconds of one measurement, if no option says another number.
pub(crate) const SECONDS: u64 = 5;
/// Rounds of every pair.
pub(crate) const ROUNDS: usize = 4;
/// Webhooks of each of the normalizer's measurements.
pub(crate) const WEBHOOKS: u64 = 100_000;
/// Webhooks that wait when the CPU time of one is measured.
pub(crate) const BACKLOG: u64 = 1_000_000;
/// Rows of the timeline's measurement.
pub(crate) const ROWS: u64 = 2_000_000;
/// Most attempts at a part with refused rows.
pub(crate) const ATTEMPTS: usize = 2;

/// The command that measures a part again.
fn command(part: Part, amount: &Amount) -> String {
    let mut command = format!("./dev bench --only {}", part.name());
    let mut add = |option: &str, value: u64, by_default: u64| {
        if value != by_default {
            command += &format!(" --{option} {value}");
        }
    };
    add("seconds", amount.seconds, SECONDS);
    add("rounds", amount.rounds as u64, ROUNDS as u64);
    add("webhooks", amount.webhooks, WEBHOOKS);
    add("backlog", amount.backlog, BACKLOG);
    add("rows", amount.rows, ROWS);
    command
}

/// Prints each row with the command that repeats it. Returns how many are refused.
fn say_rows(section: &Section) -> usize {
    for row in &section.rows {
        let (name, figures) = (&row.name, row.judged());
        let line = format!("  {name}: {} ({} to {})", figures.median, figures.least, figures.most);
        let state = match section.refusal(row) {
            Some(reason) => format!("REFUSED: {reason}"),
            None => row.reached.map_or_else(String::new, |reached| {
                if reached { "reached".to_owned() } else { "not reached".to_owned() }
            }),
        };
        output::say(&format!("{line} {state}\n    again: {}", section.command));
    }
    section.refused_rows()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_repeats_what_was_asked_for() {
        let amount =
            Amount { seconds: SECONDS, rounds: ROUNDS, webhooks: WEBHOOKS, backlog: BACKLOG, rows: ROWS };
        assert_eq!(command(Part::EndToEnd, &amount), "./dev bench --only end-to-end");
        let amount = Amount { seconds: 1, rounds: 2, ..amount };
        assert_eq!(command(Part::Media, &amount), "./dev bench --only media --seconds 1 --rounds 2");
        let amount = Amount { seconds: SECONDS, rounds: ROUNDS, backlog: 5_000_000, ..amount };
        assert_eq!(command(Part::Normalizer, &amount), "./dev bench --only normalizer --backlog 5000000");
    }

    #[test]
    fn all_rows_of_a_part_in_bad_conditions_are_refused() {
        let good = crate::results::tests::section(Part::Media, 0.9);
        assert_eq!(say_rows(&good), 0);
        assert_eq!(say_rows(&Section { refused: Some("not quiet".to_owned()), ..good }), 1);
    }
}
