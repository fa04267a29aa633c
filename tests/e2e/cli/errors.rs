//! Errors of the command line: what is wrong, why, and what to do.

use std::process::Output;
use std::time::{Duration, Instant};

use bus::Priority;
use channel::{CredentialKey, Record};
use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::harness::outbound::{Outbound, channel, text};
use crate::harness::{CHANNELS, Installation, KEY, Program, Webhook, eventually, run_cli, run_cli_with};

/// Of the example's channels, one of a BSP from which imchannel only receives.
const LISTENED_TO: &str = "koomessage-demo";
/// One of Infobip without an account.
const WITHOUT_ACCOUNT: &str = "bare";
const BARE: &str =
    "[[channel]]\nid = \"bare\"\nbsp = \"infobip\"\ntenant = \"t\"\nwebhook = [{ password = \"p\" }]\n";

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_not_known_is_an_error() {
    let installation = Installation::start().await;
    for args in [
        &["tail", "reports", "--channel", "no-such", "--no-follow"][..],
        // Immediately, and not after watching nothing for hours.
        &["tail", "webhooks", "--channel", "no-such"],
        &["tail", "commands", "--channel", "no-such", "--since", "1h"],
        &["deadletter", "list", "--channel", "no-such"],
        &["deadletter", "replay", "--all", "--channel", "no-such"],
        &["replay", "webhooks", "--since", "1h", "--channel", "no-such"],
        &["lanes", "list", "--channel", "no-such"],
    ] {
        let output = run_cli(&installation, args).await;
        let said = said(&output);
        assert!(code(&output) == Some(1) && said.contains("channel no-such"), "{args:?}: {said}");
    }
    let known = ["tail", "reports", "--channel", LISTENED_TO, "--no-follow"];
    assert_eq!(code(&run_cli(&installation, &known).await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_names_its_channel_and_its_origin() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    assert_eq!(Webhook::koomessage("{}").post(ingress.address).await.status.as_u16(), 200);
    eventually("it is a dead letter", || async { installation.dead_letters().await.pop() }).await;
    let shown = said(&run_cli(&installation, &["deadletter", "show", "1"]).await);
    let first = shown.lines().next().unwrap_or_default();
    assert_eq!(
        first,
        format!("dead letter 1 of channel koomessage/{LISTENED_TO}, from WEBHOOKS/1/0"),
        "{shown}"
    );
    let json = run_cli(&installation, &["--json", "deadletter", "show", "1"]).await;
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["channel"], LISTENED_TO);
    assert_eq!(json["origin"], "WEBHOOKS/1/0");
    // The texts for one object are singular.
    let dropped = said(&run_cli(&installation, &["deadletter", "drop", "1", "--yes"]).await);
    assert!(dropped.contains("1 dead letter") && !dropped.contains("letters"), "{dropped}");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_which_channels_can_send_and_how_fast() {
    let outbound = Outbound::start(&[20, 7]).await;
    let installation = &outbound.installation;
    installation.apply_channels(CHANNELS).await;
    installation.apply_channels(BARE).await;
    outbound.set_paused(1, true).await;
    let list = said(&run_cli(installation, &["channel", "list"]).await);
    let row = |id: &str| list.lines().find(|line| line.contains(id)).unwrap_or_default().to_owned();
    for (id, sends) in [
        (channel(0).as_str(), "20/s"),
        (channel(1).as_str(), "paused (7/s)"),
        (WITHOUT_ACCOUNT, "no account"),
        (LISTENED_TO, "only receives"),
    ] {
        assert!(row(id).contains(sends), "no {sends} in {:?} of\n{list}", row(id));
    }
    let json = said(&run_cli(installation, &["--json", "channel", "list"]).await);
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rate = |id: &str| {
        let row = rows.iter().find(|row| row["id"] == id).unwrap();
        (row["can_send"].clone(), row["sends_per_second"].clone())
    };
    assert_eq!(rate(channel(0).as_str()), (true.into(), 20.into()));
    assert_eq!(rate(LISTENED_TO), (false.into(), Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn send_says_why_nothing_can_be_sent_through_a_channel() {
    let installation = Installation::start().await;
    installation.apply_channels(BARE).await;
    let send = async |channel: &str| {
        let args = ["send", "--channel", channel, "--to", "4915112345", "--text", "Hello"];
        let output = run_cli(&installation, &args).await;
        assert_eq!(code(&output), Some(2), "{}", said(&output));
        said(&output)
    };
    let listened = send(LISTENED_TO).await;
    assert!(
        listened.contains("imchannel only receives from koomessage") && listened.contains("infobip"),
        "{listened}"
    );
    let bare = send(WITHOUT_ACCOUNT).await;
    assert!(bare.contains("no account") && bare.contains("[channel.infobip]"), "{bare}");
    assert!(send("no-such").await.contains("channel no-such does not exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn send_says_what_is_known_when_its_time_is_up() {
    let outbound = Outbound::start(&[50]).await;
    let send = async |until: &str, timeout: &str| {
        let id = channel(0).to_string();
        let args = ["send", "--channel", &id, "--to", "4915112345", "--text", "Hello"];
        let args = [&args[..], &["--until", until, "--timeout", timeout]].concat();
        let output = run_cli(&outbound.installation, &args).await;
        assert_eq!(code(&output), Some(1), "{}", said(&output));
        said(&output)
    };
    let alone = send("accepted", "1s").await;
    assert!(
        alone.contains("was not accepted by the BSP within 1 s") && alone.contains("its lane has no owner"),
        "{alone}"
    );
    outbound.set_paused(0, true).await;
    let _sender = outbound.sender().await;
    let paused = send("accepted", "1s").await;
    assert!(
        paused
            .contains("an operator paused the channel (resume it with `imchannel channel resume channel-0`"),
        "{paused}"
    );
    // A wrong key: the lane writes the reason into its lease.
    let key = outbound.installation.folder().join("api.key");
    std::fs::write(&key, "another-key").unwrap();
    outbound.set_paused(0, false).await;
    eventually("the lane is halted", || async { outbound.halted(0).await?.contains("401").then_some(()) })
        .await;
    let refused = send("accepted", "1s").await;
    assert!(refused.contains("the account fails (401 UNAUTHORIZED)"), "{refused}");
    // No report is posted here, so the delivery stays unknown.
    std::fs::write(&key, "0123456789abcdef0123456789abcdef-key").unwrap();
    eventually("what waited is sent", || async { (outbound.account.received_count() == 3).then_some(()) })
        .await;
    let accepted = send("delivered", "5s").await;
    assert!(
        accepted.contains("was not reported as delivered within 5 s; the BSP has accepted it"),
        "{accepted}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_stores_channels_under_another_key_when_it_is_told_to() {
    let installation = Installation::start_bare().await;
    let file = installation.folder().join("channels.toml");
    std::fs::write(&file, CHANNELS).unwrap();
    let url = installation.nats.url();
    let setup = async |key: &str, more: &[&str]| {
        let args = [&["setup", "--channels", file.to_str().unwrap()][..], more].concat();
        let output = run_cli_with(&url, "imchannel", &args, &[("IMCHANNEL_CREDENTIAL_KEY", key)]).await;
        (code(&output), said(&output))
    };
    assert_eq!(setup(KEY, &[]).await.0, Some(0));
    let other = "another-key-0123456789-0123456789";
    let (refused, why) = setup(other, &[]).await;
    assert!(refused == Some(2) && why.contains("--rekey"), "{why}");
    let (done, text) = setup(other, &["--rekey"]).await;
    assert_eq!(done, Some(0), "{text}");
    let fingerprint = CredentialKey::new(other.as_bytes()).unwrap().fingerprint();
    let stored: Vec<Record> = bus::registry::list(&installation.bus)
        .await
        .unwrap()
        .into_iter()
        .map(|stored| stored.record.unwrap())
        .collect();
    assert!(!stored.is_empty() && stored.iter().all(|record| record.key_fingerprint == fingerprint));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cause_is_printed_once() {
    // No server responds there.
    for args in [&["streams", "check"][..], &["channel", "list"], &["tail", "reports", "--no-follow"]] {
        let output = run_cli_with("nats://127.0.0.1:1", "imchannel", args, &[]).await;
        let said = said(&output);
        assert_eq!(code(&output), Some(1), "{said}");
        let line = said.lines().find(|line| line.contains("cannot connect")).unwrap_or_default();
        let parts: Vec<&str> = line.split(": ").collect();
        for (place, part) in parts.iter().enumerate() {
            assert!(!parts[..place].contains(part), "{part} is said twice in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_toml_has_one_fault_and_a_taken_folder_has_a_way_out() {
    let installation = Installation::start_bare().await;
    let file = installation.folder().join("channels.yaml");
    std::fs::write(&file, "channels:\n  - id: c-1\n    bsp: infobip\n  - id: c-2\n").unwrap();
    let output = run_cli(&installation, &["channel", "apply", "-f", file.to_str().unwrap()]).await;
    let text = said(&output);
    assert!(
        code(&output) == Some(2)
            && text.contains("has 1 fault:")
            && text.matches("invalid TOML").count() == 1,
        "{text}"
    );

    let folder = installation.folder().join("up");
    std::fs::create_dir(&folder).unwrap();
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let output = run_cli_with("", "imchannel", &["up", "--data-dir", folder.to_str().unwrap()], &[]).await;
    let text = said(&output);
    assert!(code(&output) == Some(1) && text.contains("--data-dir DIR"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_takes_its_options_after_the_word() {
    let installation = Installation::start().await;
    let mut ingress =
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
    let admin = ingress.address_after("probes and metrics on").await;
    for args in [
        &["health", "--live", "--admin-listen", &admin][..],
        &["health", "--admin-listen", &admin, "--live"],
        &["--admin-listen", &admin, "health", "--live"],
    ] {
        // Its environment names another one.
        let variables = [("IMCHANNEL_ADMIN_LISTEN", "127.0.0.1:1")];
        let output = run_cli_with("", "imchannel-ingress", args, &variables).await;
        assert_eq!(code(&output), Some(0), "{args:?}: {}", said(&output));
    }
}

/// Two thousand channels that can send, with pending commands in some of them, and no sender.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_is_quick_and_readable_with_two_thousand_channels() {
    let _alone = crate::harness::exclusive().await;
    const COUNT: usize = 2_000;
    let outbound = Outbound::start(&[50]).await;
    let installation = &outbound.installation;
    let record = bus::registry::list(&installation.bus).await.unwrap().remove(0).record;
    let record = record.unwrap();
    let made = stream::iter(1..COUNT).map(|number| {
        let record = Record { id: channel(number).to_string(), ..record.clone() };
        async move {
            bus::command_consumers::apply(&installation.bus, &channel(number)).await.unwrap();
            bus::registry::put(&installation.bus, &record).await.unwrap();
        }
    });
    made.buffer_unordered(32).collect::<Vec<()>>().await;
    for number in 0..10 {
        outbound
            .publish(Priority::Interactive, &text(number, &format!("c-{number}"), "4915112345", "Hello"))
            .await;
    }
    let secrets = installation.folder().to_string_lossy().into_owned();
    let variables = [("IMCHANNEL_SECRETS_DIR", secrets.as_str())];
    let began = Instant::now();
    let output =
        run_cli_with(&installation.nats.url(), "imchannel", &["doctor", "--watch-for", "1s"], &variables)
            .await;
    let (took, text) = (began.elapsed(), said(&output));
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(!text.contains("timed out after"), "{text}");
    assert!(text.contains("10 commands wait"), "{text}");
    let (lines, longest) = (text.lines().count(), text.lines().map(str::len).max().unwrap());
    assert!(lines < 120 && longest < 600, "{lines} lines, the longest of {longest} bytes:\n{text}");
}
