//! The channel of a locked-down installation: its file, its simulated account, and what the AICC back end publishes and
//! reads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::Disposition;
use bus::streams::AICC;
use bus::worker::{self, WorkerMetrics, WorkerOptions};
use proto::v1::SendCommand;
use tokio_util::sync::CancellationToken;

use super::Program;
use super::secured::Secured;

/// Its id.
pub(crate) const CHANNEL: &str = "channel-0";

/// A channels file with this channel.
pub(crate) fn channels_file(account_url: &str) -> String {
    format!(
        "[[channel]]\nid = \"{CHANNEL}\"\nbsp = \"infobip\"\ntenant = \"tenantname\"\n\
         webhook = [{{ password = \"webhook-password\" }}]\nreconcile = true\n[channel.infobip]\nbase_url = \"{account_url}\"\n\
         api_key = \"file:infobip_api_key\"\nscenario_key = \"S-0\"\nsends_per_second = 50\n"
    )
}

/// Infobip like in the compose file: by HTTPS, with a certificate that only the sender trusts.
pub(crate) async fn simulated_infobip(
    secured: &Secured,
    listen: &str,
    channels: &str,
    gateway: &str,
) -> Program {
    let files = ["channels/infobip_api_key", "simulate/infobip.pem", "simulate/infobip.key"];
    let [key, certificate, certificate_key] = files.map(|name| secured.secret_file(name));
    let args = [
        "simulate",
        "infobip",
        "--channels",
        channels,
        "--listen",
        listen,
        "--gateway",
        gateway,
        "--api-key-file",
        &key,
        "--tls-certificate-file",
        &certificate,
        "--tls-key-file",
        &certificate_key,
    ];
    let mut program =
        Program::start_with_args("imchannel", "", &args, &[("IMCHANNEL_INFOBIP_HOSTS", "127.0.0.1")]);
    program.line_with("answers on https://").await;
    program
}

/// A command without content.
pub(crate) fn command(command_id: &str) -> SendCommand {
    SendCommand {
        command_id: command_id.to_owned(),
        channel_id: CHANNEL.to_owned(),
        recipient: "4915112345".to_owned(),
        ..SendCommand::default()
    }
}

/// Events: type and payload.
pub(crate) type Events = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Messages of the durable `aicc`: type and payload.
pub(crate) fn read_events(aicc: &bus::Bus) -> Events {
    let events = Events::default();
    let (bus, seen) = (aicc.clone(), Arc::clone(&events));
    tokio::spawn(async move {
        let options = WorkerOptions { durable: &AICC, concurrency: 8, grace: Duration::from_secs(1) };
        let handler = move |delivery: bus::Delivery| {
            let kind = delivery.headers.get(bus::headers::CE_TYPE).unwrap_or_default().to_owned();
            seen.lock().unwrap().push((kind, delivery.payload.to_vec()));
            std::future::ready(Disposition::Done)
        };
        let stop = CancellationToken::new();
        let give_up = |_| std::future::ready(Disposition::Done);
        worker::run(&bus, &options, &WorkerMetrics::default(), stop, handler, give_up).await;
    });
    events
}
