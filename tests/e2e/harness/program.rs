//! Programs as processes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::TIMEOUT;
use super::group_commit;
use super::installation::{Installation, KEY};

/// A program of this workspace, or of another version if the name is a path. The first call makes sure that all
/// programs are built from
/// these sources.
pub(crate) fn binary(name: &str) -> PathBuf {
    if name.contains('/') {
        return PathBuf::from(name);
    }
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
        // cargo describes this package to its tests in variables. A build script that reads them (ring's) would run
        // again, and all crates that depend on it would be compiled again, here and at the next build without them.
        let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars().filter(|(name, _)| of_package(name)) {
            build.env_remove(name);
        }
        let status = build.status().unwrap();
        assert!(status.success(), "the programs do not build");
        // target/debug/deps/e2e-… is one folder below the programs.
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().parent().unwrap().to_owned()
    });
    folder.join(name)
}

/// Without a URL the program gets no settings of an installation.
fn command(name: &str, nats_url: &str) -> Command {
    let mut command = Command::new(binary(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).stdin(Stdio::null()).kill_on_drop(true);
    if !nats_url.is_empty() {
        command.env("IMCHANNEL_NATS_URL", nats_url).env("IMCHANNEL_CREDENTIAL_KEY", KEY);
    }
    // A program of an earlier version refuses a setting that it does not have.
    if !name.contains('/')
        && let Ok(value) = std::env::var(group_commit::VARIABLE)
    {
        command.env(group_commit::VARIABLE, value);
    }
    command
}

/// A running program, with the lines that it has written.
pub(crate) struct Program {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

// A program may have started servers, which only a graceful stop ends, also after a failed test.
impl Drop for Program {
    fn drop(&mut self) {
        let Some(pid) = self.child.id() else { return };
        let _ = std::process::Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid.to_string()]).status();
        let deadline = std::time::Instant::now() + TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

impl Program {
    /// Starts a program on an installation, with these additional variables.
    pub(crate) fn start(name: &str, installation: &Installation, variables: &[(&str, &str)]) -> Self {
        Self::start_with_args(name, &installation.nats.url(), &[], variables)
    }

    pub(crate) fn start_with_args(
        name: &str,
        nats_url: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = command(name, nats_url);
        let mut child = command
            .args(args)
            .env("IMCHANNEL_ADMIN_LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// Returns the next line that contains `text`; panics if none comes.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        self.line_within(TIMEOUT, text).await
    }

    /// The same with another timeout.
    pub(crate) async fn line_within(&mut self, limit: std::time::Duration, text: &str) -> String {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(limit, async {
            while let Some(line) = self.lines.recv().await {
                if line.contains(text) {
                    return Some(line);
                }
                seen.push(line);
            }
            None
        });
        let found = found.await.ok().flatten();
        found.unwrap_or_else(|| panic!("no line with {text:?} among\n{}", seen.join("\n")))
    }

    /// Returns everything that was written after the last requested line, once the program has ended.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        while let Ok(Some(line)) = tokio::time::timeout(TIMEOUT, self.lines.recv()).await {
            rest.push_str(&line);
        }
        rest
    }

    /// Returns the address at the end of a line.
    pub(crate) async fn address_after(&mut self, text: &str) -> String {
        let line = self.line_with(text).await;
        line.rsplit(' ').next().unwrap().to_owned()
    }

    /// Waits for its end. Returns whether it succeeded.
    pub(crate) async fn ended_well(&mut self) -> bool {
        tokio::time::timeout(TIMEOUT, self.child.wait()).await.unwrap().unwrap().success()
    }

    /// Kills it like a crash.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&mut self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let kill = ["-c", "kill -\"$0\" \"$1\"", name, &pid];
        assert!(Command::new("sh").args(kill).status().await.unwrap().success());
    }

    /// Stops it and waits for its end. Returns whether it succeeded.
    pub(crate) async fn stop(&mut self) -> bool {
        self.signal("TERM").await;
        self.ended_well().await
    }

    /// Its current memory, and its peak memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// How often each of its threads has waited for something, and so had to wake up.
    pub(crate) fn waits(&self) -> HashMap<Thread, u64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id().unwrap())).unwrap();
        let waits = threads.map(|thread| {
            let thread = thread.unwrap();
            // A thread may have ended since.
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let name = of("Name:").unwrap_or_default().to_owned();
            let waits = of("voluntary_ctxt_switches:").map_or(0, |number| number.parse().unwrap());
            (Thread { id: thread.file_name(), name }, waits)
        });
        waits.collect()
    }
}

/// A thread of a program.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Thread {
    id: OsString,
    pub(crate) name: String,
}

/// Runs `imchannel` with arguments to its end.
pub(crate) async fn run_cli(installation: &Installation, args: &[&str]) -> Output {
    run_cli_with(&installation.nats.url(), "imchannel", args, &[]).await
}

/// Runs a program to its end.
pub(crate) async fn run_cli_with(
    nats_url: &str,
    name: &str,
    args: &[&str],
    variables: &[(&str, &str)],
) -> Output {
    let mut command = command(name, nats_url);
    command.args(args).envs(variables.iter().copied());
    tokio::time::timeout(TIMEOUT, command.output()).await.unwrap().unwrap()
}

/// Runs `imchannel` to its end, with a text on its standard input.
pub(crate) async fn run_cli_reading(input: &str, args: &[&str]) -> Output {
    let mut command = command("imchannel", "");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    // It may end before it has read everything.
    let _ = keys.write_all(input.as_bytes()).await;
    drop(keys);
    tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.unwrap().unwrap()
}
