//! The program `imchannel-sender`.

use std::process::ExitCode;

use service::process::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program {
        name: "imchannel-sender",
        about: "Sends commands through BSPs, each at most once, and publishes their results",
        version: version::NUMBER,
        full_version: version::FULL,
    };
    service::process::main(program, &sender::settings::all(), sender::settings::read, sender::service)
}
