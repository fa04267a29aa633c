//! Styles and scripts. They are part of the program, and their path has a hash of their content, so that a browser keeps them until
//! they change.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::http::refusal::Refusal;

/// Characters of a hash in a path.
const HASH_CHARS: usize = 16;

struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

static ASSETS: [Asset; 5] = [
    Asset {
        name: "console.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("../../../assets/console.css"),
    },
    Asset {
        name: "console.js",
        content_type: JAVASCRIPT,
        content: include_str!("../../../assets/console.js"),
    },
    Asset {
        name: "htmx.min.js",
        content_type: JAVASCRIPT,
        content: include_str!("../../../assets/htmx.min.js"),
    },
    Asset {
        name: "htmx-ext-sse.min.js",
        content_type: JAVASCRIPT,
        content: include_str!("../../../assets/htmx-ext-sse.min.js"),
    },
    Asset {
        name: "icon.svg",
        content_type: "image/svg+xml",
        content: include_str!("../../../assets/icon.svg"),
    },
];

/// The beginning of every path of a file.
pub(in crate::http) const ASSETS_PATH: &str = "/assets/";

/// The hash of every file.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for asset in &ASSETS {
        hash.update(asset.content.as_bytes());
    }
    let mut hash = hex::encode(hash.finalize());
    hash.truncate(HASH_CHARS);
    hash
});

/// The path of a file.
pub(super) fn path(name: &str) -> String {
    format!("{ASSETS_PATH}{}/{name}", *HASH)
}

/// `GET /assets/{hash}/{name}`
pub(super) async fn file(Path((hash, name)): Path<(String, String)>) -> Result<Response, Refusal> {
    let asset = ASSETS.iter().find(|asset| asset.name == name && hash == *HASH).ok_or(Refusal::NoPath)?;
    let headers =
        [(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, "private, max-age=31536000, immutable")];
    Ok((headers, asset.content).into_response())
}
