//! The program `imchannel-ingress`.

use std::process::ExitCode;

use service::process::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program {
        name: "imchannel-ingress",
        about: "Receives webhooks of the BSPs, authenticates them and stores them on the bus",
        version: version::NUMBER,
        full_version: version::FULL,
    };
    service::process::main(program, &ingress::settings::all(), ingress::settings::read, ingress::service)
}
