//! Gives the programs the commit that they are built from.
//!
//! A builder without the repository (an image, a package) names it: `BUILD_REVISION`, and `BUILD_DATE`. Otherwise git is
//! asked, for optimized builds only: a debug build would be compiled again after each commit, and none is deployed.

#[path = "src/commit.rs"]
mod commit;

use std::path::Path;

/// The top of the repository.
const ROOT: &str = "../..";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/commit.rs");
    println!("cargo:rerun-if-env-changed=BUILD_REVISION");
    println!("cargo:rerun-if-env-changed=BUILD_DATE");
    let variable = |name| std::env::var(name).ok();
    let named = commit::named(variable("BUILD_REVISION").as_deref(), variable("BUILD_DATE").as_deref());
    let is_debug = variable("OPT_LEVEL").as_deref() == Some("0");
    let build = named.or_else(|| if is_debug { Some("debug build".to_owned()) } else { checked_out() });
    let number = env!("CARGO_PKG_VERSION");
    let full = build.map_or_else(|| number.to_owned(), |build| format!("{number} ({build})"));
    println!("cargo:rustc-env=IMCHANNEL_FULL_VERSION={full}");
}

fn checked_out() -> Option<String> {
    let root = Path::new(ROOT);
    for file in commit::watched(root) {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    commit::checked_out(root)
}
