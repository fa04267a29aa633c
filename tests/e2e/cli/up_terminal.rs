//! `imchannel up` at a terminal: what a newcomer sees, can paste, and is told.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::secured::root;
use crate::harness::{TIMEOUT, binary, run_cli_with};

/// `imchannel` on a pseudo-terminal (`script` of util-linux), with what it has written there so far.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: ChildStdout,
    text: String,
}

impl Terminal {
    /// Starts it in a folder, with the columns that the terminal has. `args` need no quotes for a shell.
    fn start(folder: &Path, columns: u16, args: &str) -> Self {
        let program = binary("imchannel");
        let line = format!("stty cols {columns} rows 40; exec {} {args}", program.display());
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env_clear().current_dir(folder);
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm-256color");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (keys, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, output, text: String::new() }
    }

    /// `up` with the example channels, on free ports.
    fn up(folder: &Path, columns: u16, more: &str) -> Self {
        let channels = root().join("examples/channels.toml");
        let ports = "--ingress 127.0.0.1:0 --media 127.0.0.1:0 --admin 127.0.0.1:0";
        Self::start(folder, columns, &format!("up --channels {} {ports} {more}", channels.display()))
    }

    /// Reads until the text is there, without its colors.
    async fn until(&mut self, wanted: &str) {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while !self.text.contains(wanted) {
            let read = tokio::time::timeout_at(deadline, self.read()).await;
            assert!(matches!(read, Ok(true)), "no {wanted:?} in\n{}", self.text);
        }
    }

    /// Reads to the end.
    async fn rest(&mut self) {
        let read = tokio::time::timeout(TIMEOUT, async { while self.read().await {} }).await;
        assert!(read.is_ok(), "it does not end:\n{}", self.text);
    }

    /// Reads what is there; `false` at the end.
    async fn read(&mut self) -> bool {
        let mut bytes = [0; 8192];
        let length = self.output.read(&mut bytes).await.unwrap_or_default();
        let new = String::from_utf8_lossy(&bytes[..length]).replace('\r', "");
        self.text.push_str(&new);
        self.text = without_colors(&self.text);
        length > 0
    }

    async fn press_ctrl_c(&mut self) {
        self.keys.write_all(b"\x03").await.unwrap();
        self.keys.flush().await.unwrap();
    }

    async fn exit_code(&mut self) -> Option<i32> {
        self.rest().await;
        self.child.wait().await.unwrap().code()
    }
}

/// Without complete control sequences; one that is cut off stays until the rest of it is read.
fn without_colors(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let Some(end) = after.find(|c: char| c.is_ascii_alphabetic()) else {
            return plain + "\u{1b}[" + after;
        };
        rest = &after[end + 1..];
    }
    plain + rest
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
    let mut up = Terminal::up(folder.path(), COLUMNS, "");
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
    let mut up = Terminal::up(folder.path(), 100, "--log --quiet");
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
    let mut first = Terminal::up(folder.path(), 100, &format!("--data-dir {data}"));
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
