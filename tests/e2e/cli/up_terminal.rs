//! `imchannel up` at a terminal: what a newcomer sees, can paste, and is told.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::run_cli_with;
use crate::harness::secured::root;
use crate::harness::terminal::Terminal;

/// `up` with the example channels, on free ports.
fn up(folder: &Path, columns: u16, more: &str) -> Terminal {
    let channels = root().join("examples/channels.toml");
    let ports = "--ingress 127.0.0.1:0 --media 127.0.0.1:0 --admin 127.0.0.1:0";
    Terminal::start(folder, columns, &format!("up --channels {} {ports} {more}", channels.display()))
}

/// Pastes a command line into a shell.
async fn paste(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_shows_what_to_paste_and_a_short_line_for_what_comes_of_it() {
    const COLUMNS: u16 = 100;
    let folder = tempfile::TempDir::new().unwrap();
    let mut up = up(folder.path(), COLUMNS, "");
    up.until("Ctrl-C stops everything").await;
    let steps = ["✓ starting nats-server nats://127.0.0.1:", "✓ starting redis-server redis://127.0.0.1:"];
    for step in steps {
        assert!(up.text.contains(step), "no {step} in\n{}", up.text);
    }
    let pasted: Vec<String> = up
        .text
        .lines()
        .filter_map(|line| {
            Some(line.trim().to_owned()).filter(|line| line.starts_with("curl http") && line.contains(" -d "))
        })
        .collect();
    assert_eq!(pasted.len(), 4, "a line for each example channel in\n{}", up.text);
    let start = up.text.len();
    for line in &pasted {
        paste(line).await;
    }
    for place in [
        "infobip/202105102694809992",
        "koomessage/koomessage-demo",
        "gupshup/gupshup-demo",
        "twilio/twilio-demo",
    ] {
        up.until(&format!("{place:<26} report   DELIVERED to *** test-1")).await;
    }
    // What cannot be understood has a line too. 441134960000 is the number in all of them.
    let body = pasted[1].split(" -d ").next().unwrap();
    paste(&format!("{body} -d '{{}}'")).await;
    up.until("dead letter").await;
    for line in up.text[start..].lines().filter(|line| !line.is_empty()) {
        assert!(line.chars().count() <= usize::from(COLUMNS), "too long: {line}");
        let time: Vec<_> = line.split(' ').next().unwrap().split(':').collect();
        assert!(time.len() == 3 && time.iter().all(|part| part.len() == 2), "no time: {line}");
    }
    up.press_ctrl_c().await;
    assert_eq!(up.exit_code().await, Some(0), "{}", up.text);
    assert!(up.text.contains("stopping"), "{}", up.text);
    assert!(up.text.trim_end().ends_with("stopped; the data stays in .imchannel"), "{}", up.text);
    assert!(!up.text.contains("[IMCHANNEL]") && !up.text[start..].contains("441134960000"), "{}", up.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_shown_when_they_are_asked_for() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut up = up(folder.path(), 100, "--log --quiet");
    up.until("Ctrl-C stops everything").await;
    let line = up
        .text
        .lines()
        .find(|line| line.trim().starts_with("curl http") && line.contains(" -d "))
        .unwrap()
        .to_owned();
    paste(&line).await;
    up.until("[IMCHANNEL] [onReport]").await;
    up.press_ctrl_c().await;
    assert_eq!(up.exit_code().await, Some(0), "{}", up.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_says_how_to_stop_the_first_one() {
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let mut first = up(folder.path(), 100, &format!("--data-dir {data}"));
    first.until("Ctrl-C stops everything").await;
    let second = run_cli_with("", "imchannel", &["up", "--data-dir", data], &[]).await;
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another `imchannel up`") && said.contains("--data-dir DIR"), "{said}");
    // What it says to do does it.
    let kill = said.split('`').find(|part| part.starts_with("kill ")).unwrap_or_else(|| panic!("{said}"));
    assert!(said.contains(&format!("(process {})", &kill[5..])), "{said}");
    paste(kill).await;
    assert_eq!(first.exit_code().await, Some(0), "{}", first.text);
    assert!(first.text.contains("stopped; the data stays in"), "{}", first.text);
}
