//! The program `imchannel-normalizer`.

use std::process::ExitCode;

use service::process::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program {
        name: "imchannel-normalizer",
        about: "Turns stored webhooks into protobuf events",
        version: version::NUMBER,
        full_version: version::FULL,
    };
    service::process::main(
        program,
        &normalizer::settings::all(),
        normalizer::settings::read,
        normalizer::service,
    )
}
