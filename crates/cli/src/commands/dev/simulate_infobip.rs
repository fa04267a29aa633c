//! `imchannel simulate infobip`: a fake Infobip send API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bsp::SettingsContext;
use channel::file::ChannelSpec;
use clap::Args;
use serde_json::json;
use service::tls::{TlsFiles, Transport};
use simulator::infobip_api::{self, Faults, InfobipApi, Intermediary, Memory};
use tokio::net::TcpListener;

use crate::commands::dev::simulate::targets;
use crate::commands::{channel as channels, health};
use crate::duration;
use crate::exit::Exit;
use crate::output::{BAD, GOOD, Out, STRONG, Text, styled, text};
use crate::target::{self, LOOPBACK_HOSTS, Target};

/// Memory limits of the simulated Infobip: with requests of the usual size less than 100 MiB.
const MEMORY: Memory = Memory { messages: 20_000, bytes: 32 * 1024 * 1024, delivering: 4_000 };
/// Interval of the output of totals.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct SimulateInfobip {
    /// Channels whose scenarios it accepts and whose reports it posts (TOML).
    #[arg(long, value_name = "FILE")]
    channels: PathBuf,
    /// Listen address: the `base_url` of those channels.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDR")]
    listen: SocketAddr,
    /// URL of the gateway's ingress.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    gateway: String,
    /// API key that calls must present.
    #[arg(
        long,
        env = "INFOBIP_API_KEY",
        hide_env_values = true,
        default_value = "simulated",
        hide_default_value = true,
        value_name = "KEY"
    )]
    api_key: String,
    /// File that contains the API key.
    #[arg(long, env = "INFOBIP_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// PEM file of the certificate chain for HTTPS; without it HTTP.
    #[arg(long, requires = "tls_key_file", value_name = "FILE")]
    tls_certificate_file: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, requires = "tls_certificate_file", value_name = "FILE")]
    tls_key_file: Option<PathBuf>,
    /// Listen address for `imchannel health` [default: none].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    switches: Switches,
}

/// Configurable faults.
#[derive(Debug, Args)]
struct Switches {
    /// Delay of every response.
    #[arg(long, default_value = "50ms", value_name = "SPAN", value_parser = duration::span)]
    latency: Duration,
    /// Answer every call that sends with this status and HTML, like a load balancer without a backend.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..600))]
    balancer: Option<u16>,
    /// Calls answered 429, in percent.
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = duration::percent)]
    rate_limit_pct: f64,
    /// Calls answered 500 before the message is accepted, in percent.
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = duration::percent)]
    fail_before_pct: f64,
    /// Calls answered 500 after the message is accepted, in percent.
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = duration::percent)]
    fail_after_pct: f64,
    /// Calls that accept the message and answer late, in percent.
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = duration::percent)]
    delay_pct: f64,
    /// Delay of these late responses.
    #[arg(long, default_value = "15s", value_name = "SPAN", value_parser = duration::span)]
    delay: Duration,
    /// Calls that accept the message and close the connection, in percent.
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = duration::percent)]
    reset_pct: f64,
    /// Messages refused inside a 200, in percent.
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = duration::percent)]
    reject_pct: f64,
    /// Accept a message whose id was used before.
    #[arg(long)]
    allow_duplicate_ids: bool,
    /// Longest delay until the log shows a message (30s).
    #[arg(long, default_value = "0s", value_name = "SPAN", value_parser = duration::span)]
    log_delay: Duration,
}

impl Switches {
    fn to_faults(&self) -> Faults {
        Faults {
            latency: self.latency,
            fronts: self.balancer.map(Intermediary::html).into_iter().collect(),
            limited: self.rate_limit_pct / 100.0,
            error_before: self.fail_before_pct / 100.0,
            error_after: self.fail_after_pct / 100.0,
            stalled: self.delay_pct / 100.0,
            stall_for: self.delay,
            cut: self.reset_pct / 100.0,
            rejected: self.reject_pct / 100.0,
            unique_ids: !self.allow_duplicate_ids,
            log_lag: self.log_delay,
            ..Faults::default()
        }
    }
}

pub(crate) async fn run(command: SimulateInfobip, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let mut context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
    context.extra_hosts.extend(LOOPBACK_HOSTS.map(str::to_owned));
    let Some(channels) = channels::read_file(&command.channels, &context, out)? else {
        return Ok(Exit::InvalidInput);
    };
    let api_key = match &command.api_key_file {
        Some(file) => target::read_secret(file)?,
        None => command.api_key.clone(),
    };
    let simulated = account(&api_key, &command.gateway, &channels, command.switches.to_faults())?;
    let listener = TcpListener::bind(command.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", command.listen))?;
    let address = listener.local_addr()?;
    let stop = service::process::stop_on_signal()?;
    let transport = match command.tls_certificate_file.zip(command.tls_key_file) {
        Some((certificate, key)) => Transport::Https(TlsFiles { certificate, key }),
        None => Transport::Http,
    };
    let tls = transport.acceptor(&stop)?;
    // It exists once the port is open.
    let _admin = match command.admin_listen {
        Some(address) => {
            let listens = health::Condition::new("listening", || Ok(()));
            Some(health::serve(address, &stop, listens, out).await?)
        }
        None => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    out.print(&text!("{} a simulated Infobip answers on {scheme}://{address}", styled(GOOD, "ready:")));
    out.object(&json!({ "listen": address.to_string() }));
    let serving = tokio::spawn(simulated.clone().serve_with(listener, tls, stop.clone()));
    let mut lines = tokio::time::interval(SAY_EVERY);
    let mut shown = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = lines.tick() => {
                shown = show_received(&simulated, shown, out);
                say(&simulated, out);
            }
        }
    }
    show_received(&simulated, shown, out);
    say(&simulated, out);
    let _ = serving.await;
    Ok(Exit::Ok)
}

/// Returns an account with the channels' scenarios that reports to the gateway.
pub(crate) fn account(
    api_key: &str,
    gateway: &str,
    channels: &[ChannelSpec],
    faults: Faults,
) -> anyhow::Result<InfobipApi> {
    let mut scenarios = Vec::new();
    for channel in channels {
        let Some(key) = infobip_api::scenario_key(channel.settings()) else { continue };
        let target = targets(gateway, std::slice::from_ref(channel))?.pop();
        scenarios.push(infobip_api::Scenario { key, target });
    }
    Ok(InfobipApi::new(api_key, scenarios, faults)?.remembering(MEMORY))
}

/// Prints the messages that customers received since the last call, without personal data. Returns their number so far.
fn show_received(simulated: &InfobipApi, shown: usize, out: &Out) -> usize {
    let received = simulated.received_after(shown);
    for message in &received {
        let file = message.file.as_ref();
        out.object(&json!({
            "received": message.message_id, "scenario": message.scenario, "repeated": message.is_repeat,
            "file": file.map(|file| json!({ "sha256": file.sha256, "bytes": file.bytes, "content_type": file.content_type })),
            "fault": message.fault,
        }));
        let file = file.map(|file| format!(" with a file of {} bytes", file.bytes)).unwrap_or_default();
        let fault = message.fault.as_ref().map(|fault| format!(" {fault}")).unwrap_or_default();
        let twice = if message.is_repeat { styled(BAD, " for the second time") } else { Text::default() };
        out.print(&text!("  {} reached its customer{file}{twice}{fault}", message.message_id));
    }
    shown + received.len()
}

fn say(simulated: &InfobipApi, out: &Out) {
    let calls = simulated.calls();
    let received = simulated.received_count();
    out.object(&json!({
        "sends": calls.sends, "faulty": calls.faulty, "malformed": calls.malformed, "duplicates": calls.duplicates,
        "lookups": calls.lookups, "received": received, "forgotten": calls.forgotten, "unreported": calls.unreported,
    }));
    out.print(&text!(
        "{} {} calls, {} with an injected fault, {} malformed, {} with a used id; {received} messages reached their \
         customers; {} queries of the log",
        styled(STRONG, "infobip"),
        calls.sends,
        calls.faulty,
        calls.malformed,
        calls.duplicates,
        calls.lookups,
    ));
    if calls.unreported > 0 {
        let why = "because too many reports wait for the gateway";
        out.print(&text!(
            "  {} {} messages were not reported, {why}",
            styled(BAD, "dropped"),
            calls.unreported
        ));
    }
    if calls.forgotten > 0 {
        out.print(&format!("  the first {} messages were dropped, to limit memory", calls.forgotten));
    }
}
