//! The CPU time of a webhook when many wait, against the same when few do: of the normalizer, and of nats-server.

use async_nats::jetstream;

use crate::environment::Environment;
use crate::output;
use crate::results::{Aim, Measured, Row};
use crate::suite::Effort;
use crate::suite::drain::{self, Drained};

/// Webhooks that wait when few do.
pub(crate) const FEW: u64 = 10_000;
/// Number of times that few are processed before the many, and again after them: CPU time has a resolution of 10 ms, and the
/// speed of a machine drifts.
const FEW_TIMES: usize = 10;
/// Most CPU time of a webhook when many wait, as a share of that when few do.
const RATIO_MAX: f64 = 1.1;

/// Measures both with new servers each time, because nats-server keeps the ids of earlier events in its memory for a while.
pub(super) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let before = few(effort).await?;
    let many = {
        let (place, jetstream) = start(effort, effort.backlog).await?;
        drain::ours(&place, &jetstream, effort.backlog, &[]).await?
    };
    said(effort.backlog, many);
    let after = few(effort).await?;
    Ok(measured(before.plus(after), many, effort.backlog))
}

async fn few(effort: Effort) -> anyhow::Result<Drained> {
    let (place, jetstream) = start(effort, FEW).await?;
    let mut all = Drained::default();
    for _ in 0..FEW_TIMES {
        all = all.plus(drain::ours(&place, &jetstream, FEW, &[]).await?);
    }
    said(FEW, all);
    Ok(all)
}

async fn start(effort: Effort, webhooks: u64) -> anyhow::Result<(Environment, jetstream::Context)> {
    let place = Environment::start_for(effort.layout, webhooks).await?;
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    Ok((place, jetstream))
}

fn said(waiting: u64, drained: Drained) {
    output::say(&format!("  {}", sentence(waiting, drained)));
}

fn sentence(waiting: u64, drained: Drained) -> String {
    let (program, nats) = (drained.program_us(), drained.nats_us());
    format!(
        "With {waiting} webhooks that wait, one takes {program:.1} µs of CPU time in the normalizer and {nats:.1} µs in nats-server."
    )
}

fn measured(few: Drained, many: Drained, backlog: u64) -> Measured {
    let row = |id: &str, whose: &str, ratio: f64| {
        let name = format!("CPU time {whose} a webhook, {backlog} waiting against {FEW}");
        let row = Row::alone(id, &name, std::iter::once(ratio));
        row.map(|row| row.with_aim(Aim::AtMost(RATIO_MAX)))
    };
    let program = row("cpu-backlog", "of the program", many.program_us() / few.program_us());
    let nats = row("cpu-backlog-nats", "of nats-server", many.nats_us() / few.nats_us());
    let remarks = vec![sentence(FEW, few), sentence(backlog, many)];
    Measured { rows: program.into_iter().chain(nats).collect(), remarks, ..Measured::default() }
}
