//! The program `imchannel-timeline`.

use std::process::ExitCode;

use service::process::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service::priority::yield_to_others();
    let program = Program {
        name: "imchannel-timeline",
        about: "Says what happened to each message",
        version: version::NUMBER,
        full_version: version::FULL,
    };
    service::process::main(program, &timeline::settings::all(), timeline::settings::read, timeline::service)
}
