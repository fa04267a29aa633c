//! `up --simulate`: simulated BSPs that post to the gateway in the same process, slowly and without end, and a simulated
//! Infobip account that everything is sent to, so that there is something to watch.

use std::net::SocketAddr;
use std::time::Duration;

use bus::Bus;
use channel::Record;
use channel::file::ChannelSpec;
use jiff::Timestamp;
use simulator::infobip_api::{self, Faults, InfobipApi};
use simulator::stats::Counts;
use simulator::{Mix, Plan, Simulator, TwilioRetries};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Up;
use super::plan::Plan as UpPlan;

use crate::commands::dev::simulate::show;
use crate::commands::dev::simulate::watch::Watch;
use crate::commands::dev::simulate::{new_run, targets};
use crate::commands::dev::simulate_infobip;
use crate::output::{BAD, GOOD, ODD, Out, STRONG, styled, text};
use crate::words::{causes, pluralize};

/// Interval of the lines about the ledger.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Divisor of the BSPs' delays.
const SPEED: f64 = 60.0;

/// File of secrets with the API key of the simulated account: every key that the channels name belongs to another
/// account.
const KEY_FILE: &str = "simulated-infobip.key";
/// Time that the simulated account takes for a response.
const LATENCY: Duration = Duration::from_millis(50);

/// A simulated account that everything is sent to.
pub(super) struct Account {
    account: InfobipApi,
    listener: TcpListener,
}

impl Account {
    /// Opens its port and turns the channels to it.
    pub(super) async fn open(
        command: &Up,
        plan: &mut UpPlan,
        records: &mut [Record],
        ingress: SocketAddr,
    ) -> anyhow::Result<Self> {
        let folder = command.data_dir.join("simulated");
        std::fs::create_dir_all(&folder)?;
        let key = format!("simulated-{}", new_run()?);
        std::fs::write(folder.join(KEY_FILE), &key)?;
        plan.sender.secrets.folder = Some(folder);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        for record in records {
            infobip_api::point_at(&mut record.settings, &url, &format!("file:{KEY_FILE}"));
        }
        let faults = Faults { latency: LATENCY, ..Faults::default() };
        let account = simulate_infobip::account(&key, &format!("http://{ingress}"), &plan.channels, faults)?;
        Ok(Self { account, listener })
    }

    /// Answers until `stop`.
    pub(super) fn serve(self, stop: &CancellationToken) -> JoinHandle<()> {
        tokio::spawn(self.account.serve(self.listener, stop.clone()))
    }
}

/// Posts until `stop`, and says now and then how the ledger stands.
pub(super) async fn run(
    bus: Bus,
    ingress: SocketAddr,
    channels: Vec<ChannelSpec>,
    rate_per_s: f64,
    stop: CancellationToken,
    out: Out,
) -> anyhow::Result<()> {
    let gateway = format!("http://{ingress}");
    let mut simulated = Vec::new();
    for channel in &channels {
        match targets(&gateway, std::slice::from_ref(channel)) {
            Ok(targets) => simulated.extend(targets),
            Err(error) => out.print(&text!("{} {}", styled(ODD, "not simulated:"), causes(&error))),
        }
    }
    let plan = Plan {
        rate_per_s,
        count: None,
        seed: 1,
        run: new_run()?,
        speed: SPEED,
        // Mistakes are rarer at a BSP; here they should be seen within a minute.
        mix: Mix { unknown: 0.03, broken: 0.03, batch_max: 2, ..Mix::default() },
        twilio_retries: TwilioRetries::All,
    };
    let simulator = Simulator::new(plan, simulated)?;
    let _watch = Watch::start(bus, &simulator).await?;
    let mut lines = tokio::time::interval(SAY_EVERY);
    lines.tick().await;
    let mut running = std::pin::pin!(simulator.run(Timestamp::now(), stop));
    loop {
        tokio::select! {
            () = &mut running => return Ok(()),
            _ = lines.tick() => say(&simulator, &out),
        }
    }
}

fn say(simulator: &Simulator, out: &Out) {
    let counts = simulator.tally().counts();
    let posted: u64 = counts.iter().map(|counts| counts.posted).sum();
    let taken: u64 = counts.iter().map(|counts| counts.taken).sum();
    let verdict = simulator.ledger().verdict();
    let wrong = verdict.different + verdict.invented + verdict.wrong_ids;
    let word = if wrong == 0 { styled(GOOD, "events") } else { styled(BAD, "events") };
    out.print(&text!(
        "{} {} posted, {taken} stored; {word}: {} of {} correct, {wrong} wrong",
        styled(STRONG, "simulation"),
        pluralize(posted, "webhook"),
        verdict.kept,
        verdict.promised,
    ));
    let mut total = Counts::default();
    counts.iter().for_each(|counts| total.add(counts));
    if total.dropped() > 0 {
        out.print(&text!("  {} {}", styled(BAD, "dropped"), show::dropped(&total)));
    }
    for example in verdict.examples.iter().filter(|_| wrong > 0) {
        out.print(&text!("  {} {example}", styled(BAD, "fault")));
    }
}
