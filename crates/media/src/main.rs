//! The program `imchannel-media`.

use std::process::ExitCode;

use service::process::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program {
        name: "imchannel-media",
        about: "Takes files of messages and serves them to the BSP",
        version: version::NUMBER,
        full_version: version::FULL,
    };
    service::process::main(program, &media::settings::all(), media::settings::read, media::service)
}
