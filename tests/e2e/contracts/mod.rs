//! Compares the contract documents with the code: `docs/asyncapi.yaml` with the bus's definitions, the compiled .proto
//! files and messages of a running installation, `docs/openapi.yaml` with the BSPs' profiles and real responses,
//! `docs/openapi-timeline.yaml` with a running timeline. In
//! both directions: nothing is left out, and nothing is described that does not exist.

mod asyncapi;
mod examples;
mod openapi;
mod schema;
mod timeline;

use std::collections::BTreeSet;

use serde_json::Value;

/// A contract document.
struct Document(Value);

impl Document {
    fn read(text: &str) -> Self {
        Self(serde_saphyr::from_str(text).unwrap())
    }

    /// Returns a value, or the value that it refers to.
    fn resolve<'d>(&'d self, mut value: &'d Value) -> &'d Value {
        while let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').unwrap();
            value = self.0.pointer(pointer).unwrap_or_else(|| panic!("nothing is at {reference}"));
        }
        value
    }

    /// The entries of an object of the document, each resolved.
    fn entries<'d>(&'d self, object: &'d Value) -> impl Iterator<Item = (&'d str, &'d Value)> {
        entries(object).map(|(name, value)| (name, self.resolve(value)))
    }
}

/// Returns the entries of an object, or none.
fn entries(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    object.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// Returns the texts in an array, or none.
fn texts(array: &Value) -> BTreeSet<&str> {
    array.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}
