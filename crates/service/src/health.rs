//! `health`: asks the process at its admin port whether it is ready. For probes in images without a shell or
//! other programs.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::admin::ADMIN_LISTEN;
use crate::settings::{self, ConfigReader};
use crate::terminal;

/// Name of the subcommand.
pub(crate) const NAME: &str = "health";
/// Timeout of the health check.
const LIMIT: Duration = Duration::from_secs(3);
/// Most bytes of a response that are read. All responses are smaller.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(crate) fn command() -> clap::Command {
    let command = clap::Command::new(NAME)
        .about("Ask the running process whether it is ready; exit code 0 when it is, 1 when not");
    // Also after the subcommand, where people write it.
    settings::add_to(command, &[&ADMIN_LISTEN]).arg(
        clap::Arg::new("live")
            .long("live")
            .action(clap::ArgAction::SetTrue)
            .help("Ask only whether the process runs"),
    )
}

pub(crate) fn check(matches: &clap::ArgMatches, asked: &clap::ArgMatches) -> ExitCode {
    let is_behind = asked.value_source(ADMIN_LISTEN.flag) == Some(clap::parser::ValueSource::CommandLine);
    let mut reader = ConfigReader::from_matches(if is_behind { asked } else { matches }, &[&ADMIN_LISTEN]);
    let Some(listen) = reader.value::<SocketAddr>(&ADMIN_LISTEN) else {
        terminal::print("IMCHANNEL_ADMIN_LISTEN is not an address; write one such as 0.0.0.0:9090");
        return ExitCode::FAILURE;
    };
    let path = if asked.get_flag("live") { "/live" } else { "/ready" };
    match get(listen, path) {
        Ok((true, answer)) => {
            terminal::print(answer);
            ExitCode::SUCCESS
        }
        Ok((false, answer)) => {
            terminal::print(answer);
            ExitCode::FAILURE
        }
        Err(error) => {
            terminal::print(format_args!("no response: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Sends a GET request to the admin port of a process. Returns whether the status is 200, and the body.
///
/// # Errors
/// If there is no response within 3 s.
pub fn get(listen: SocketAddr, path: &str) -> std::io::Result<(bool, String)> {
    // A process that listens on all addresses is asked at the loopback address.
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, listen.port()), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Ok((head.starts_with("HTTP/1.1 200 "), body.trim().to_owned()))
}
