//! The program `imchannel-sender`.

use std::process::ExitCode;

use service::process::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program {
        name: "imchannel-sender",
        about: "Sends commands through BSPs, each at most once, and publishes their results",
        version: env!("CARGO_PKG_VERSION"),
    };
    service::process::main(program, &sender::settings::all(), sender::settings::read, sender::service)
}
