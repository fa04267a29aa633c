//! Compiles `proto/imchannel/v1` with protox, so that no protoc is needed, and adds proto3 JSON.

use std::path::PathBuf;

use prost::Message;

const ROOT: &str = "../../proto";
const FILES: [&str; 8] = [
    "imchannel/v1/source.proto",
    "imchannel/v1/report.proto",
    "imchannel/v1/message.proto",
    "imchannel/v1/command.proto",
    "imchannel/v1/result.proto",
    "imchannel/v1/media.proto",
    "imchannel/v1/account.proto",
    "imchannel/v1/customer.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let descriptors = protox::compile(FILES, [ROOT])?;
    let encoded = descriptors.encode_to_vec();

    prost_build::Config::new()
        .compile_well_known_types()
        // Decode the bytes of a file as a slice of the message, without a copy.
        .bytes([".imchannel.v1.OutboundMedia.data"])
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new().register_descriptors(&encoded)?.build(&[".imchannel.v1"])?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("imchannel.v1.descriptors"), encoded)?;
    Ok(())
}
