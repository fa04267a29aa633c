//! Ingress in a separate process, without a worker, against the baseline receiver.

use std::sync::Arc;

use crate::bench_channel::{CHANNEL, PASSWORD};
use crate::body::Bodies;
use crate::client::Target;
use crate::environment::{Environment, Program, free_address};
use crate::load::{self, Outcome};
use crate::output;
use crate::pair::Pair;
use crate::suite::{CONNECTIONS, Effort, purge};

/// Results.
#[derive(Debug)]
pub(crate) struct Measured {
    /// As fast as responses arrive.
    pub(crate) closed: Vec<Pair<Outcome>>,
    /// At a constant rate.
    pub(crate) open: Vec<Pair<Outcome>>,
    /// That rate, in requests a second: half of the throughput of the baseline receiver.
    pub(crate) open_rate: f64,
    /// Peak memory of ingress.
    pub(crate) peak_mib: Option<f64>,
}

/// Starts ingress and waits until it is ready.
pub(crate) async fn start_ours(place: &Environment) -> anyhow::Result<(Program, Target)> {
    let address = free_address()?;
    let path = format!("/social/on/whatsapp/infobip/report/{CHANNEL}");
    let target = Target { address, path, password: PASSWORD.to_owned() };
    let mut ours =
        place.program("imchannel-ingress", &[("IMCHANNEL_INGRESS_LISTEN", &address.to_string())])?;
    ours.until_it_serves(&target).await?;
    Ok((ours, target))
}

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start().await?;
    let (ours, our_target) = start_ours(&place).await?;
    let address = free_address()?;
    let baseline_target =
        Target { address, path: format!("/js/infobip/{CHANNEL}"), password: PASSWORD.to_owned() };
    let mut baseline = place.baseline(&["baseline-serve", "--listen", &address.to_string()])?;
    baseline.until_it_serves(&baseline_target).await?;

    let (mut closed, mut open) = (Vec::new(), Vec::new());
    let mut open_rate = 0.0;
    for round in 0..effort.rounds {
        let pair = turns(round, &baseline_target, &our_target, async |target: &Target| {
            purge(&place, &["WEBHOOKS", "RAW"]).await?;
            load::closed(target, CONNECTIONS, effort.time, &Arc::new(Bodies::new())).await
        })
        .await?;
        if round == 0 {
            open_rate = (pair.baseline.per_second / 2.0 / 1000.0).round() * 1000.0;
        }
        output::say(&format!("  closed  bare      {}", pair.baseline));
        output::say(&format!("  closed  imchannel {}", pair.ours));
        closed.push(pair);
        let pair = turns(round, &baseline_target, &our_target, async |target: &Target| {
            purge(&place, &["WEBHOOKS", "RAW"]).await?;
            load::open(target, CONNECTIONS, open_rate, effort.time, &Arc::new(Bodies::new()), None).await
        })
        .await?;
        output::say(&format!("  open    bare      {}", pair.baseline));
        output::say(&format!("  open    imchannel {}", pair.ours));
        open.push(pair);
    }
    let peak_mib = ours.peak_mib();
    ours.end().await;
    baseline.end().await;
    Ok(Measured { closed, open, open_rate, peak_mib })
}

/// Measures both. Which one is first changes from round to round.
pub(crate) async fn turns<T>(
    round: usize,
    baseline: &Target,
    ours: &Target,
    measure: impl AsyncFn(&Target) -> anyhow::Result<T>,
) -> anyhow::Result<Pair<T>> {
    if round.is_multiple_of(2) {
        let baseline = measure(baseline).await?;
        return Ok(Pair { baseline, ours: measure(ours).await? });
    }
    let ours = measure(ours).await?;
    Ok(Pair { baseline: measure(baseline).await?, ours })
}
