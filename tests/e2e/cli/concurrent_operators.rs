//! Two operators at the same time, and one who uses an id twice: no change is undone, and no one sees another command's
//! result.

use std::process::Output;

use bus::Priority;

use crate::harness::outbound::{Outbound, channel, text};
use crate::harness::{Installation, eventually, run_cli};

/// Rounds in which two commands run at the same time. Each round would probably show a lost change.
const ROUNDS: u32 = 12;

/// A channels file with this number of channels and this rate.
fn file(count: usize, rate: u32) -> String {
    let channel = |number| {
        format!(
            "[[channel]]\nid = \"channel-{number}\"\nbsp = \"infobip\"\ntenant = \"t\"\nwebhook = [{{ password = \"p\" }}]\n\
             [channel.infobip]\nbase_url = \"https://a.api.infobip.com\"\napi_key = \"file:k\"\nscenario_key = \"s\"\n\
             sends_per_second = {rate}\n"
        )
    };
    (0..count).map(channel).collect()
}

/// Runs `channel apply` with such a file.
async fn apply(installation: &Installation, count: usize, rate: u32) -> Output {
    let path = installation.folder().join(format!("channels-{rate}.toml"));
    std::fs::write(&path, file(count, rate)).unwrap();
    run_cli(installation, &["channel", "apply", "-f", path.to_str().unwrap()]).await
}

async fn installation() -> Installation {
    let installation = Installation::start_bare().await;
    bus::provision::apply(&installation.bus, &bus::streams::StreamSettings::default()).await.unwrap();
    installation
}

/// The rates of all channels, and whether each is paused.
async fn stored(installation: &Installation) -> Vec<(u64, bool)> {
    let found = bus::registry::list(&installation.bus).await.unwrap();
    let records = found.into_iter().map(|found| found.record.unwrap());
    records.map(|record| (record.settings["sends_per_second"].as_u64().unwrap(), record.paused)).collect()
}

fn words(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_and_pausing_at_once_does_both() {
    let installation = installation().await;
    assert!(apply(&installation, 1, 1000).await.status.success());
    for round in 1..=ROUNDS {
        let word = if round % 2 == 1 { "pause" } else { "resume" };
        let pausing = ["channel", word, "channel-0"];
        let (applied, paused) =
            tokio::join!(apply(&installation, 1, round), run_cli(&installation, &pausing));
        assert!(applied.status.success() && paused.status.success(), "{}{}", words(&applied), words(&paused));
        assert_eq!(stored(&installation).await, [(u64::from(round), round % 2 == 1)], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_files_applied_at_the_same_time_none_is_overwritten_silently() {
    const CHANNELS: usize = 40;
    let installation = installation().await;
    assert!(apply(&installation, CHANNELS, 1000).await.status.success());
    let mut refused = 0;
    for round in 0..ROUNDS {
        let (one, other) = (2 * round + 1, 2 * round + 2);
        let (first, second) =
            tokio::join!(apply(&installation, CHANNELS, one), apply(&installation, CHANNELS, other));
        let rates: Vec<_> = stored(&installation).await.into_iter().map(|(rate, _)| rate).collect();
        let all_are = |rate: u32| rates.iter().all(|stored| *stored == u64::from(rate));
        match (first.status.code(), second.status.code()) {
            // One after the other.
            (Some(0), Some(0)) => assert!(all_are(one) || all_are(other), "{rates:?}"),
            (Some(0), Some(1)) | (Some(1), Some(0)) => {
                refused += 1;
                let loser = if first.status.success() { &second } else { &first };
                assert!(words(loser).contains("another operator changed channel"), "{}", words(loser));
            }
            // Each was first for some channel, and both are reported.
            (Some(1), Some(1)) => refused += 1,
            codes => panic!("{codes:?}: {}{}", words(&first), words(&second)),
        }
    }
    assert!(refused > 0, "the two were never at work at the same time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_names_an_old_state_is_refused() {
    let installation = installation().await;
    assert!(apply(&installation, 1, 5).await.status.success());
    let bus = &installation.bus;
    let read = async || bus::registry::read(bus, "channel-0").await.unwrap().unwrap();
    let (old, record) = { (read().await.revision, read().await.record.unwrap()) };
    let is_changed = |result: Result<(), bus::registry::RegistryError>| {
        matches!(result, Err(bus::registry::RegistryError::Changed { .. }))
    };
    assert!(is_changed(bus::registry::replace(bus, &record, None).await), "made over one that is there");
    bus::registry::replace(bus, &record, Some(old)).await.unwrap();
    assert!(is_changed(bus::registry::replace(bus, &record, Some(old)).await));
    assert!(is_changed(bus::registry::remove(bus, "channel-0", old).await));
    let now = read().await.revision;
    bus::registry::remove(bus, "channel-0", now).await.unwrap();
    assert!(is_changed(bus::registry::replace(bus, &record, Some(now)).await), "over one that was removed");
    bus::registry::replace(bus, &record, None).await.unwrap();
    // A channel that was removed and created again has what it needs.
    let removed = run_cli(&installation, &["channel", "remove", "channel-0", "--yes"]).await;
    assert!(removed.status.success(), "{}", words(&removed));
    assert!(apply(&installation, 1, 5).await.status.success());
    assert!(bus::command_consumers::check(bus, &channel(0)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_used_for_another_text_is_refused() {
    let outbound = Outbound::start(&[50]).await;
    let send = async |id: &str, text: &str, until: &str| {
        let args = ["--json", "send", "--channel", "channel-0", "--to", "4915112345", "--text", text];
        let more = ["--command-id", id, "--until", until, "--timeout", "30s"];
        let output = run_cli(&outbound.installation, &[&args[..], &more].concat()).await;
        (output.status.code(), words(&output))
    };
    // While the first one is pending, and the stream still has its id.
    assert_eq!(send("once", "Hello", "stored").await.0, Some(0));
    let (code, said) = send("once", "Bye", "stored").await;
    assert!(code == Some(1) && said.contains("was already used"), "{code:?} {said}");
    assert_eq!(send("once", "Hello", "stored").await.0, Some(0));
    // The stream does not have its id any more: it waits as well, and the result of the first one is shown.
    outbound
        .publish_as(
            Priority::Interactive,
            &text(0, "waits", "4915112345", "Hello"),
            "an id that the stream has dropped",
        )
        .await;
    let late = tokio::join!(send("waits", "Bye", "accepted"), async {
        eventually("both wait", || async {
            let waiting =
                bus::command_consumers::lag(&outbound.installation.bus, Priority::Interactive, &channel(0))
                    .await;
            (waiting.unwrap()?.num_pending == 3).then_some(())
        })
        .await;
        outbound.sender().await
    });
    let ((code, said), sender) = late;
    assert!(code == Some(1) && said.contains("was already used"), "{code:?} {said}");
    // Long after it was decided.
    outbound.result("once").await;
    let (code, said) = send("once", "Bye", "accepted").await;
    assert!(code == Some(1) && said.contains("was already used"), "{code:?} {said}");
    let (code, said) = send("once", "Hello", "accepted").await;
    assert!(code == Some(0) && said.contains("ACCEPTED"), "{code:?} {said}");
    assert_eq!(outbound.account.received_count(), 2);
    sender.stop().await;
}
