//! What `up` says: where to post and how to look, and then every event that comes out.

use std::net::SocketAddr;

use bus::read;
use bus::{EventKind, Subject};
use channel::file::Described;

use crate::out::{DIM, GOOD, Out, STRONG, styled, text};
use crate::{notice, tail};

/// What a newcomer needs to know.
pub(super) struct Greeting {
    pub(super) ingress: SocketAddr,
    pub(super) media: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) nats_url: Option<String>,
    pub(super) channels: Vec<Described>,
}

impl Greeting {
    /// Says where to post and how to look.
    pub(super) fn say(&self, out: &Out) {
        let Self { ingress, media, admin, nats_url, channels } = self;
        let url = |channel: &Described| {
            format!(
                "http://{ingress}/social/on/whatsapp/{}/report/{}",
                channel.bsp().profile().id,
                channel.id()
            )
        };
        let urls: Vec<_> = channels.iter().map(url).collect();
        out.object(&serde_json::json!({
            "ingress": ingress.to_string(), "media": media.to_string(), "admin": admin.to_string(), "nats_url": nats_url, "urls": urls,
        }));
        out.say("");
        out.say(&text!("{} imchannel takes webhooks on http://{ingress}", styled(GOOD, "ready:")));
        if channels.is_empty() {
            out.say(
                "No channels file was given; `imchannel channel list` shows the channels that are stored.",
            );
        } else {
            out.say(&styled(STRONG, "Post to (reports and messages alike)"));
        }
        for (channel, url) in channels.iter().zip(&urls) {
            out.say(&format!("  {url}"));
            out.say(&text!("      with {}", styled(DIM, channel.bsp().profile().credential_hint)));
        }
        let program =
            std::env::current_exe().map_or_else(|_| "imchannel".into(), |path| path.display().to_string());
        let option = nats_url.as_ref().map(|url| format!("--nats-url {url} ")).unwrap_or_default();
        if let Some(channel) = channels.iter().find(|channel| channel.bsp().sending().is_some()) {
            out.say(&styled(STRONG, "Send (or --image FILE, --document FILE)"));
            out.say(&format!(
                "  {program} {option}send --channel {} --to 8618257518838 --text Hello",
                channel.id()
            ));
        }
        out.say(&styled(STRONG, "Look (or messages, sends, webhooks, deadletters)"));
        out.say(&format!("  {program} {option}tail reports --from-beginning"));
        out.say(&format!("  curl http://{admin}/ready    curl http://{admin}/metrics"));
        out.say("Log lines and the events that come out follow. Ctrl-C stops everything.");
        out.say("");
    }
}

/// Prints every event that comes out, masked.
pub(super) async fn show_events(mut events: read::Messages, out: Out) {
    while let Some(event) = events.next().await {
        let Ok(event) = event else { continue };
        let (object, line) = match event.delivery.address() {
            Some(Subject::Event(EventKind::Report, ..)) => tail::report(&event.delivery, false),
            Some(Subject::Event(EventKind::Message, ..)) => tail::message(&event.delivery, false),
            Some(Subject::Event(EventKind::Send, ..) | Subject::ResultOfNone(..)) => {
                tail::sent(&event.delivery, false)
            }
            Some(Subject::Event(EventKind::Media, ..)) => tail::fetched(&event.delivery),
            Some(Subject::Event(EventKind::Account, ..)) => notice::account(&event.delivery, false),
            Some(Subject::Event(EventKind::Customer, ..)) => notice::customer(&event.delivery, false),
            _ => continue,
        };
        out.object(&object);
        out.say(&line);
    }
}
