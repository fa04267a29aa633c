//! `[channel.infobip]`: the account that a channel sends through.

use std::time::Duration;

use serde_json::{Value, json};

use super::PROFILE;
use crate::provider::SettingsContext;
use crate::secret_reference::SecretReference;
use crate::sending::{Account, UNKNOWN_HOLD_DEFAULT};
use crate::toml_table::Table;
use crate::web_url;

/// Suffix of the host that Infobip gives each account.
const HOST_SUFFIX: &str = ".api.infobip.com";
/// Default rate limit of a channel, in calls per second: WhatsApp's limit of a sender without an increase.
const SENDS_PER_SECOND_DEFAULT: u32 = 80;
/// Highest rate limit of a channel, in calls per second: WhatsApp's highest limit of a sender.
const SENDS_PER_SECOND_MAX: u32 = 1_000;
/// Shortest `resend_unknown_after`, in seconds: longer than any call. Before it sends again, the sender
/// checks the BSP's message log as often as its settings require, so that with the defaults nothing is sent
/// again within 300 s.
const RESEND_AFTER_S_MIN: u32 = 30;
/// Longest `resend_unknown_after`, in seconds: well before the deadline of a command.
const RESEND_AFTER_S_MAX: u32 = 12 * 3600;
/// Longest `unknown_hold`, in seconds. 0 holds later messages until the outcome of the earlier message is
/// known, which takes minutes.
const UNKNOWN_HOLD_S_MAX: u32 = 3600;

pub(super) fn read(table: &mut Table<'_, '_>, context: &SettingsContext) -> Value {
    let base_url = table.required_string("base_url");
    let api_key = table.required_string("api_key");
    let scenario_key = table.required_string("scenario_key");
    let sends_per_second = table.integer("sends_per_second", 1, SENDS_PER_SECOND_MAX);
    let resend_after_s = table.integer("resend_unknown_after", RESEND_AFTER_S_MIN, RESEND_AFTER_S_MAX);
    let unknown_hold_s = table.integer("unknown_hold", 0, UNKNOWN_HOLD_S_MAX);
    table.refuse_unknown_keys();
    if !table.is_present() {
        return Value::Null;
    }
    if let Some(url) = base_url
        && let Err(fault) = check_base_url(url.value, &context.extra_hosts)
    {
        table.add_fault(url.offset, format_args!("'base_url' {fault}"));
    }
    if let Some(key) = api_key
        && reference(key.value).is_none()
    {
        table.add_fault(key.offset, "'api_key' must be a reference such as env:INFOBIP_NAME or file:NAME");
    }
    let mut settings = json!({
        "base_url": base_url.map(|at| at.value.trim_end_matches('/')),
        "api_key": api_key.map(|at| at.value),
        "scenario_key": scenario_key.map(|at| at.value),
        "sends_per_second": sends_per_second.unwrap_or(SENDS_PER_SECOND_DEFAULT),
    });
    if let Some(seconds) = resend_after_s {
        settings["resend_unknown_after"] = json!(seconds);
    }
    if let Some(seconds) = unknown_hold_s {
        settings["unknown_hold"] = json!(seconds);
    }
    settings
}

/// The account of stored settings; `None` if they contain none.
pub(super) fn account(settings: &Value) -> Option<Account> {
    let resend_after_s = settings["resend_unknown_after"].as_u64();
    let unknown_hold = settings["unknown_hold"].as_u64().map_or(UNKNOWN_HOLD_DEFAULT, Duration::from_secs);
    Some(Account {
        base_url: settings["base_url"].as_str()?.to_owned(),
        key: reference(settings["api_key"].as_str()?)?,
        sends_per_second: u32::try_from(settings["sends_per_second"].as_u64()?).ok()?.max(1),
        resend_unknown_after: resend_after_s.map(Duration::from_secs),
        unknown_hold: Some(unknown_hold).filter(|hold| !hold.is_zero()),
    })
}

fn reference(text: &str) -> Option<SecretReference> {
    SecretReference::parse(text, PROFILE.secret_variables)
}

fn check_base_url(url: &str, extra_hosts: &[String]) -> Result<(), String> {
    let uri = web_url::parse(url).map_err(|fault| fault.to_string())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if loopback => {}
        _ => return Err("must begin with https:// (http only to a loopback address)".to_owned()),
    }
    if uri.path() != "/" || uri.query().is_some() || url.contains('#') {
        return Err("must contain only a scheme, a host and a port".to_owned());
    }
    let infobips = host.len() > HOST_SUFFIX.len() && host.to_ascii_lowercase().ends_with(HOST_SUFFIX);
    let listed = extra_hosts.iter().any(|extra| extra.eq_ignore_ascii_case(host));
    if infobips || listed {
        return Ok(());
    }
    Err("must be a host of *.api.infobip.com or one listed in IMCHANNEL_INFOBIP_HOSTS".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_message_is_held_for_30_s_unless_the_channel_sets_another_time() {
        let hold = |extra: Value| {
            let mut settings = json!({ "base_url": "https://a.api.infobip.com", "api_key": "file:k", "sends_per_second": 1 });
            settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            account(&settings).unwrap().unknown_hold
        };
        // A record from before this setting.
        assert_eq!(hold(json!({})), Some(Duration::from_secs(30)));
        assert_eq!(hold(json!({ "unknown_hold": 5 })), Some(Duration::from_secs(5)));
        assert_eq!(hold(json!({ "unknown_hold": 0 })), None);
    }

    #[test]
    fn base_urls_outside_infobip_must_be_listed() {
        let extra = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        for good in [
            "https://abc12.api.infobip.com",
            "https://ABC12.API.infobip.com/",
            "http://127.0.0.1:9000",
            "https://localhost:9000",
        ] {
            assert_eq!(check_base_url(good, &extra), Ok(()), "{good}");
        }
        for bad in [
            "http://abc12.api.infobip.com",
            "https://api.infobip.com.evil.example",
            "https://.api.infobip.com",
            "https://abc.api.infobip.com/omni",
            "https://user@abc.api.infobip.com",
            "https://a..api.infobip.com",
            "https://-a.api.infobip.com",
            "https://abc.api.infobip.com:99999",
            "https://abc.api.infobip.com:0",
            "https://abc.api.infobip.com:",
            "https://abc.api.infobip.com?x=1",
            "ftp://abc.api.infobip.com",
            "abc.api.infobip.com",
            "",
            "http://[::1]:9000",
        ] {
            assert!(check_base_url(bad, &extra).is_err(), "{bad}");
        }
    }
}
