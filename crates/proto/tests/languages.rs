//! Checks that every `.proto` file has the same options for the generators of other languages. Without them,
//! Java puts all messages of a file into one outer class, and protoc-gen-go rejects the file.

#![allow(clippy::unwrap_used, reason = "a test may")]

use prost_reflect::DescriptorPool;

const CSHARP_NAMESPACE: &str = "Imchannel.V1";
const GO_PACKAGE: &str = "imchannel/v1;imchannelv1";
const JAVA_PACKAGE: &str = "imchannel.v1";

#[test]
fn every_file_names_its_packages_for_other_languages() {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let files: Vec<_> = pool.files().filter(|file| file.package_name() == "imchannel.v1").collect();
    assert!(files.len() >= 8, "{} files", files.len());
    for file in files {
        let name = file.name().to_owned();
        let options = file.file_descriptor_proto().options.clone().unwrap_or_default();
        assert_eq!(options.csharp_namespace.as_deref(), Some(CSHARP_NAMESPACE), "{name}");
        assert_eq!(options.go_package.as_deref(), Some(GO_PACKAGE), "{name}");
        assert_eq!(options.java_package.as_deref(), Some(JAVA_PACKAGE), "{name}");
        assert_eq!(options.java_multiple_files, Some(true), "{name}");
    }
}
