//! `X-Twilio-Signature`: Base64 of HMAC-SHA1 with the account's Auth Token over the URL as Twilio called it,
//! followed by every form field as name and value, sorted by name (Twilio, "Security", validating requests).
//!
//! Three details of Twilio's own validators: each different value of a repeated field counts once, in order;
//! the URL may be signed with or without its default port; and for a body that is not a form, the query
//! contains `bodySHA256` instead.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::form;
use crate::provider::SignedRequest;

const HEADER: &str = "x-twilio-signature";

pub(super) fn holds(keys: &[&[u8]], request: &SignedRequest<'_>) -> bool {
    let Some(presented) = request.headers.get(HEADER) else {
        return false;
    };
    let Ok(presented) = STANDARD.decode(presented.as_bytes()) else {
        return false;
    };
    let url = format!("{}{}", request.public_url, request.path_and_query);
    let Some(fields) = signed_fields(&url, request.body) else {
        return false;
    };
    let mut holds = false;
    for url in with_and_without_port(&url) {
        for key in keys {
            let signature = sign(key, &url, &fields);
            holds |= bool::from(signature.as_slice().ct_eq(&presented));
        }
    }
    holds
}

/// The part of the signed text that comes from the body; `None` if the body does not match the signed hash.
fn signed_fields(url: &str, body: &[u8]) -> Option<Vec<u8>> {
    if let Some(wanted) = query_value(url, "bodySHA256") {
        let digest = hex::encode(Sha256::digest(body));
        return bool::from(digest.as_bytes().ct_eq(wanted.as_bytes())).then(Vec::new);
    }
    // Byte for byte: the signed data need not be UTF-8.
    let mut by_name: BTreeMap<Cow<'_, [u8]>, BTreeSet<Cow<'_, [u8]>>> = BTreeMap::new();
    for (name, value) in form::pairs(body) {
        by_name.entry(name).or_default().insert(value);
    }
    let mut signed = Vec::new();
    for (name, values) in by_name {
        for value in values {
            signed.extend_from_slice(&name);
            signed.extend_from_slice(&value);
        }
    }
    Some(signed)
}

fn query_value<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The URL unchanged, and with its default port added or removed.
fn with_and_without_port(url: &str) -> Vec<String> {
    let mut urls = vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else {
        return urls;
    };
    let port = if scheme == "http" { ":80" } else { ":443" };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let has_port =
        authority.rsplit_once(':').is_some_and(|(_, digits)| digits.bytes().all(|b| b.is_ascii_digit()));
    if let Some(bare) = authority.strip_suffix(port) {
        urls.push(format!("{scheme}://{bare}{path}"));
    } else if !has_port {
        urls.push(format!("{scheme}://{authority}{port}{path}"));
    }
    urls
}

fn sign(key: &[u8], url: &str, fields: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC accepts a key of any length");
    mac.update(url.as_bytes());
    mac.update(fields);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests;
