//! The machine and the versions that the page names.

use std::process::Command;

use crate::results::Machine;

/// Files that a run itself writes: their changes do not make a commit another one.
const WRITTEN: [&str; 3] = [":!BENCHMARKS.md", ":!BENCHMARKS.json", ":!docs/images"];

/// What this machine is.
pub(crate) async fn describe() -> Machine {
    Machine {
        processor: processor(),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        system: first_line("uname", &["-sr"]),
        rustc: first_line("rustc", &["--version"]),
        nats_server: servers::nats::version().await.unwrap_or_else(|_| "unknown".to_owned()),
    }
}

/// The commit of the working tree, with `+` if it has changes.
pub(crate) fn commit() -> String {
    let commit = first_line("git", &["rev-parse", "--short", "HEAD"]);
    let status = [&["status", "--porcelain", "--", "."], &WRITTEN[..]].concat();
    let changed = first_line("git", &status);
    if matches!(changed.as_str(), "" | UNKNOWN) { commit } else { format!("{commit}+") }
}

/// What is shown where a program does not say it.
const UNKNOWN: &str = "unknown";

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        return UNKNOWN.to_owned();
    };
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
