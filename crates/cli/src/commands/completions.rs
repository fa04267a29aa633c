//! `imchannel completions`: scripts by which a shell completes commands and options.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::exit::Exit;
use crate::output::Out;

/// A shell that has a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// In ~/.bashrc: source <(imchannel completions bash)
    Bash,
    /// Into a folder of $fpath, as _imchannel, before compinit runs.
    Zsh,
    /// Into ~/.config/fish/completions/imchannel.fish
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that reads the script.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script of the command line `declared`.
pub(crate) fn run(command: &Completions, declared: clap::Command, out: &Out) -> anyhow::Result<Exit> {
    let script = script(command.shell, declared)?;
    out.object(&json!({ "script": script }));
    out.lines(&script);
    Ok(Exit::Ok)
}

fn script(shell: Shell, mut declared: clap::Command) -> anyhow::Result<String> {
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut bytes = Vec::new();
    clap_complete::generate(generator, &mut declared, "imchannel", &mut bytes);
    String::from_utf8(bytes).context("the script is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help;

    #[test]
    fn a_script_has_every_command_and_is_printed_as_it_is() {
        for shell in Shell::value_variants() {
            let script = script(*shell, help::declared()).unwrap();
            for command in help::declared().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?} lacks {}", command.get_name());
            }
            assert!(script.contains("nats-url"), "{shell:?}");
            // `Out` would escape anything else.
            let is_safe = |c: char| c == '\n' || !service::terminal::is_unsafe(c);
            assert_eq!(script.chars().find(|c| !is_safe(*c)), None, "{shell:?}");
        }
    }
}
