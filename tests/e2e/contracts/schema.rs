//! Whether a JSON value is what a schema of a document describes: the part of JSON Schema that the documents use.

use serde_json::Value;

use super::{Document, entries, texts};

impl Document {
    /// Checks a value, and everything in it, against a schema. A field that is not described is a fault: documents describe all.
    pub(super) fn assert_conforms(&self, schema: &Value, value: &Value, at: &str) {
        let schema = self.resolve(schema);
        if let Some(wanted) = schema["type"].as_str() {
            assert!(is_of(wanted, value), "{at}: {value} is no {wanted}");
        }
        let allowed = schema["enum"].as_array();
        assert!(
            allowed.is_none_or(|allowed| allowed.contains(value)),
            "{at}: {value} is not one of {allowed:?}"
        );
        let wanted = &schema["const"];
        assert!(wanted.is_null() || wanted == value, "{at}: {value} is not {wanted}");
        self.assert_limits(schema, value, at);
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.assert_conforms(&schema["items"], item, &format!("{at}[{index}]"));
        }
        if !schema["properties"].is_object() {
            return;
        }
        for name in texts(&schema["required"]) {
            assert!(value.get(name).is_some(), "{at}: {name} is missing in {value}");
        }
        for (name, field) in entries(value) {
            let property = property(&schema["properties"], name);
            let property = property.unwrap_or_else(|| panic!("{at}: {name} is not described"));
            self.assert_conforms(property, field, &format!("{at}.{name}"));
        }
    }

    fn assert_limits(&self, schema: &Value, value: &Value, at: &str) {
        if let (Some(minimum), Some(number)) = (schema["minimum"].as_i64(), value.as_i64()) {
            assert!(number >= minimum, "{at}: {number} is less than {minimum}");
        }
        if let (Some(maximum), Some(number)) = (schema["maximum"].as_i64(), value.as_i64()) {
            assert!(number <= maximum, "{at}: {number} is more than {maximum}");
        }
        let count = value.as_array().map(|items| items.len() as u64);
        if let (Some(maximum), Some(count)) = (schema["maxItems"].as_u64(), count) {
            assert!(count <= maximum, "{at}: {count} items");
        }
        if schema["format"] == "date-time" {
            let text = value.as_str().unwrap();
            assert!(text.parse::<jiff::Timestamp>().is_ok(), "{at}: {text} is no time");
        }
    }
}

fn is_of(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("add the type {other}"),
    }
}

/// A property, also one of a mapping that YAML merges in.
fn property<'v>(properties: &'v Value, name: &str) -> Option<&'v Value> {
    properties.get(name).or_else(|| properties.get("<<")?.get(name))
}
