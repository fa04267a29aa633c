//! What the tests of the pages share: a file, `imchannel trace`, and what no page may show.

use proto::v1::{OutboundMedia, SendCommand, outbound_media, send_command};

use super::super::lives::{CUSTOMER, Gateway};
use crate::harness::outbound::text;
use crate::harness::run_cli_with;

/// A customer whose messages the BSP rejects.
pub(super) const REFUSED_CUSTOMER: &str = "4915187654321";
/// WhatsApp's id of a message of the customer.
pub(super) const WAMID: &str = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFDNBQUI=";
/// A text of every message.
pub(super) const SECRET: &str = "my secret text";

/// A command that sends an uploaded file.
pub(super) fn file(command_id: &str, media_id: &str) -> SendCommand {
    let document = OutboundMedia {
        source: Some(outbound_media::Source::MediaId(media_id.to_owned())),
        ..OutboundMedia::default()
    };
    SendCommand {
        content: Some(send_command::Content::Document(document)),
        ..text(0, command_id, CUSTOMER, "")
    }
}

/// A customer's message, as Gupshup posts it.
pub(super) fn customers_message() -> String {
    format!(
        r#"{{"app":"a","timestamp":1772359199000,"version":2,"type":"message","payload":{{"id":"{WAMID}","source":"{CUSTOMER}","type":"text","payload":{{"text":"{SECRET}"}},"sender":{{"phone":"{CUSTOMER}","name":"Jane Doe"}}}}}}"#
    )
}

/// The exit code of `imchannel trace ID`, and what it printed.
pub(super) async fn trace(gateway: &Gateway, id: &str) -> (Option<i32>, String) {
    let args = ["trace", "--console-url", &gateway.timeline.url, id];
    let output = run_cli_with(&gateway.outbound.installation.nats.url(), "imchannel", &args, &[]).await;
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

/// Fails if a text shows something personal.
pub(super) fn assert_nothing_personal(what: &str, text: &str) {
    for personal in [CUSTOMER, REFUSED_CUSTOMER, "secret text", "Jane", "HBgNNDkx", "1511234", "1518765"] {
        assert!(!text.contains(personal), "{what} shows {personal}: {text}");
    }
}
