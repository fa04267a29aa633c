//! `imchannel` as a person at a terminal sees it.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{TIMEOUT, binary};

/// `imchannel` on a pseudo-terminal (`script` of util-linux), with what it has written there so far.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: ChildStdout,
    pub(crate) text: String,
}

impl Terminal {
    /// Starts it in a folder, with the columns that the terminal has. `args` need no quotes for a shell.
    pub(crate) fn start(folder: &Path, columns: u16, args: &str) -> Self {
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

    /// Reads until the text is there, without its colors.
    pub(crate) async fn until(&mut self, wanted: &str) {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while !self.text.contains(wanted) {
            let read = tokio::time::timeout_at(deadline, self.read()).await;
            assert!(matches!(read, Ok(true)), "no {wanted:?} in\n{}", self.text);
        }
    }

    /// Reads to the end.
    pub(crate) async fn rest(&mut self) {
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

    /// Interrupts it.
    pub(crate) async fn press_ctrl_c(&mut self) {
        self.keys.write_all(b"\x03").await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// Types a line.
    pub(crate) async fn type_line(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
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
