//! What a person types at a shell: completions that the shells accept, and `--version`, which is the same everywhere.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::harness::run_cli_with;

/// Writes the completions for a shell into a folder.
async fn completions(shell: &str, folder: &Path) -> PathBuf {
    let output = run_cli_with("", "imchannel", &["completions", shell], &[]).await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let path = folder.join(shell);
    std::fs::write(&path, &output.stdout).unwrap();
    path
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What bash offers for the last of these words.
async fn offered_by_bash(script: &Path, words: &[&str]) -> Vec<String> {
    let count = words.len().to_string();
    let program = r#"source "$1"; shift; COMP_CWORD=$(( $1 - 1 )); shift; COMP_WORDS=("$@")
        _imchannel imchannel "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", program, "bash"]).arg(script).arg(count).args(words);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_shell_accepts_its_completions() {
    let folder = tempfile::TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = completions(shell, folder.path()).await;
        // Without the shell, its script is still made.
        if shell == "bash" || is_installed(shell) {
            let output = Command::new(shell).arg("-n").arg(&script).output().await.unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        }
    }
}

#[tokio::test]
async fn bash_completes_commands_values_and_options() {
    let folder = tempfile::TempDir::new().unwrap();
    let script = completions("bash", folder.path()).await;
    assert_eq!(offered_by_bash(&script, &["imchannel", "doc"]).await, ["doctor"]);
    assert_eq!(offered_by_bash(&script, &["imchannel", "tail", "rep"]).await, ["reports"]);
    assert_eq!(offered_by_bash(&script, &["imchannel", "channel", "pau"]).await, ["pause"]);
    // The global options, which the help of a command leaves out, and the settings of `up`.
    assert_eq!(offered_by_bash(&script, &["imchannel", "tail", "--nats-u"]).await, ["--nats-url"]);
    assert_eq!(offered_by_bash(&script, &["imchannel", "up", "--log-p"]).await, ["--log-payloads"]);
}

#[tokio::test]
async fn every_program_says_the_same_version() {
    let mut versions = Vec::new();
    for program in
        ["imchannel", "imchannel-ingress", "imchannel-normalizer", "imchannel-sender", "imchannel-media"]
    {
        let output = run_cli_with("", program, &["--version"], &[]).await;
        let said = String::from_utf8(output.stdout).unwrap();
        let version = said.trim_end().strip_prefix(program).and_then(|rest| rest.strip_prefix(' '));
        versions.push(version.unwrap_or_else(|| panic!("{program}: {said}")).to_owned());
    }
    // The tests' programs are debug builds, unless the builder has named the commit.
    assert!(versions[0].starts_with(concat!(env!("CARGO_PKG_VERSION"), " (")), "{versions:?}");
    assert!(
        versions[0].ends_with(')') && versions.iter().all(|version| *version == versions[0]),
        "{versions:?}"
    );
}

#[tokio::test]
async fn help_lists_commands_by_what_they_are_for() {
    let output = run_cli_with("", "imchannel", &["--help"], &[]).await;
    let help = String::from_utf8(output.stdout).unwrap();
    let place = |text: &str| help.find(text).unwrap_or_else(|| panic!("no {text} in\n{help}"));
    let order = [
        "\nRun:\n  up ",
        "\nLook:\n  trace ",
        "\nRepair:\n  replay ",
        "--nats-url",
        "Examples:",
        "Exit codes:",
    ];
    assert!(order.map(place).is_sorted(), "{help}");
    let output = run_cli_with("", "imchannel", &["channel", "pause", "--help"], &[]).await;
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("Example:\n  imchannel channel pause ") && help.contains("NATS user: operator"),
        "{help}"
    );
    assert!(!help.contains("--infobip-hosts"), "{help}");
}
