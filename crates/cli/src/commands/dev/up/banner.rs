//! What `up` says at its start: where to post, with which password, and how to look.

use std::net::SocketAddr;

use channel::file::{ChannelSpec, CredentialSpec};
use service::example_secrets;

use super::view::View;
use crate::output::{DIM, GOOD, Out, STRONG, styled, text};

/// Most channels that are listed. The others are counted.
const CHANNELS_SHOWN: usize = 8;
/// The passwords of examples/channels.toml, which are public.
const DEMO_PASSWORDS: [&str; 4] = ["infobip-secret", "koomessage-secret", "gupshup-secret", "twilio-secret"];

/// What a newcomer needs to know.
pub(super) struct Greeting {
    pub(super) ingress: SocketAddr,
    pub(super) media: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) console: SocketAddr,
    pub(super) nats_url: Option<String>,
    pub(super) channels: Vec<ChannelSpec>,
    /// Whether commands that are run in this folder find the gateway by themselves.
    pub(super) is_found_here: bool,
}

impl Greeting {
    /// Says where to post and how to look.
    pub(super) fn say(&self, view: View, out: &Out) {
        let Self { ingress, media, admin, console, nats_url, channels, .. } = self;
        let urls: Vec<_> = channels.iter().map(|channel| self.url(channel)).collect();
        out.object(&serde_json::json!({
            "ingress": ingress.to_string(), "media": media.to_string(), "admin": admin.to_string(),
            "console": console.to_string(), "nats_url": nats_url, "urls": urls,
        }));
        out.print("");
        out.print(&text!("{} imchannel takes webhooks on http://{ingress}", styled(GOOD, "ready:")));
        out.print(&text!("{} http://{console}", styled(STRONG, "Console")));
        self.say_where_to_post(out);
        let program = self.program(view);
        let option = match nats_url {
            Some(url) if view == View::Lines || !self.is_found_here => format!("--nats-url {url} "),
            _ => String::new(),
        };
        if let Some(channel) = channels.iter().find(|channel| channel.bsp().sending().is_some()) {
            out.print(&styled(STRONG, "Send (or --image FILE, --document FILE)"));
            out.print(&format!(
                "  {program} {option}send --channel {} --to 8618257518838 --text Hello",
                channel.id()
            ));
        }
        out.print(&styled(STRONG, "Look (or messages, sends, webhooks, deadletters)"));
        out.print(&format!("  {program} {option}tail reports --from-beginning"));
        out.print(&format!("  {program} {option}top"));
        out.print(&format!("  curl http://{admin}/ready    curl http://{admin}/metrics"));
        out.print(match view {
            View::Terminal => {
                "Events follow, one line each, with the time in UTC. --log adds log lines. Ctrl-C stops everything."
            }
            View::Lines => "Log lines and the events that come out follow. Ctrl-C stops everything.",
        });
        out.print("");
    }

    /// This program, as it can be typed: short on a terminal, where it is typed in this folder.
    fn program(&self, view: View) -> String {
        let Ok(path) = std::env::current_exe() else { return "imchannel".to_owned() };
        let here = std::env::current_dir().ok().filter(|_| view == View::Terminal && self.is_found_here);
        let short = here.and_then(|here| path.strip_prefix(here).ok());
        short.unwrap_or(&path).display().to_string()
    }

    fn url(&self, channel: &ChannelSpec) -> String {
        let bsp = channel.bsp().profile().id;
        format!("http://{}/social/on/whatsapp/{bsp}/report/{}", self.ingress, channel.id())
    }

    fn say_where_to_post(&self, out: &Out) {
        if self.channels.is_empty() {
            out.print(
                "No channels file was given; `imchannel channel list` shows the channels that are stored.",
            );
            return;
        }
        out.print(&styled(STRONG, "Post to (reports and messages alike)"));
        for channel in self.channels.iter().take(CHANNELS_SHOWN) {
            let url = self.url(channel);
            match demo_login(channel) {
                Some(login) => out.print(&text!("  {}", curl(channel, login, &url))),
                None => {
                    out.print(&format!("  {url}"));
                    out.print(&text!("      with {}", styled(DIM, channel.bsp().profile().credential_hint)));
                }
            }
        }
        let more = self.channels.len().saturating_sub(CHANNELS_SHOWN);
        if more > 0 {
            out.print(&format!("  and {more} more: imchannel channel list"));
        }
    }
}

/// The first login of a channel whose password is public. Any other password is not shown.
fn demo_login(channel: &ChannelSpec) -> Option<&CredentialSpec> {
    channel.credentials().iter().find(|login| {
        let password = String::from_utf8_lossy(login.password.expose());
        DEMO_PASSWORDS.contains(&password.as_ref()) || example_secrets::is_example(&password)
    })
}

/// A command line that posts a report as the BSP does.
fn curl(channel: &ChannelSpec, login: &CredentialSpec, url: &str) -> String {
    let profile = channel.bsp().profile();
    let password = String::from_utf8_lossy(login.password.expose());
    let credential = match &login.user {
        Some(user) => format!("-u '{user}:{password}'"),
        None => format!("-H '{}'", profile.credential_hint.replace("PASSWORD", &password)),
    };
    format!(
        "curl {url} {credential} -H 'Content-Type: {}' -d '{}'",
        profile.media_type, profile.sample_report
    )
}

#[cfg(test)]
mod tests {
    use bsp::SettingsContext;
    use channel::file;

    use super::*;

    #[test]
    fn the_example_channels_have_a_command_line_to_paste() {
        let source = include_str!("../../../../../../examples/channels.toml");
        let channels = file::parse(source, &SettingsContext::default()).unwrap();
        for channel in &channels {
            let login =
                demo_login(channel).unwrap_or_else(|| panic!("{} has no demo password", channel.id()));
            let line = curl(channel, login, "http://127.0.0.1:8080/x");
            let password = format!("{}-secret", channel.bsp().profile().id);
            assert!(line.contains(&password) && !line.contains("PASSWORD"), "{line}");
        }
    }

    #[test]
    fn a_real_password_is_not_shown() {
        let source = "[[channel]]\nid = \"c-1\"\nbsp = \"koomessage\"\ntenant = \"t\"\nwebhook = [{ password = \"infobip-secret-2\" }]\n";
        let channels = file::parse(source, &SettingsContext::default()).unwrap();
        assert!(demo_login(&channels[0]).is_none());
    }
}
