//! Reads only JSON objects as structs.
//!
//! Readers derived by serde also accept an array for a struct, field by field in the order of the source:
//! `[1,2,3]` would be a report. [`from_str`] and [`from_slice`] reject that at every level, in structs, lists
//! of structs, optional structs and enum variants, without a second pass over the text. All derived types are
//! read with these functions.
//!
//! While a webhook is parsed, they also record the members that are skipped ([`crate::unread`]).

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde_json::de::Read;
use serde_json::value::RawValue;

use super::LOOSE_SCALAR;
use crate::unread;

/// Like `serde_json::from_str`, but rejects an array in place of a struct.
///
/// # Errors
/// serde's error if the text is not JSON or has another shape.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> serde_json::Result<T> {
    unread::reading(text, || whole(serde_json::Deserializer::from_str(text)))
}

/// Like `serde_json::from_slice`, but rejects an array in place of a struct.
///
/// # Errors
/// As [`from_str`].
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> serde_json::Result<T> {
    whole(serde_json::Deserializer::from_slice(bytes))
}

fn whole<'de, R: Read<'de>, T: Deserialize<'de>>(
    mut json: serde_json::Deserializer<R>,
) -> serde_json::Result<T> {
    let value = T::deserialize(Objects(&mut json))?;
    json.end()?;
    Ok(value)
}

/// Forwards all calls unchanged, except that structs are read with [`Fields`].
struct Objects<T>(T);

/// Reads the fields of an object. serde's defaults reject all other types.
struct Fields<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }
}

/// Deserializer methods that do not concern structs.
macro_rules! hand_on {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Objects(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    hand_on! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_identifier()
        deserialize_unit_struct(name: &'static str)
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Fields(visitor))
    }

    /// A member whose key is not in the struct.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        if !unread::is_on() {
            return self.0.deserialize_ignored_any(Objects(visitor));
        }
        unread::mark(raw(self.0)?);
        visitor.visit_unit()
    }

    /// A text, or a part that is read later. Until then it counts as unread.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        match name {
            LOOSE_SCALAR => visitor.visit_borrowed_str(raw(self.0)?),
            RAW => {
                let raw = raw(self.0)?;
                unread::mark(raw);
                visitor.visit_map(Part(raw, std::marker::PhantomData))
            }
            _ => self.0.deserialize_newtype_struct(name, Objects(visitor)),
        }
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// The name by which serde_json recognizes a reader of its `RawValue`, and the only key of the object that it
/// passes to that reader.
const RAW: &str = "$serde_json::private::RawValue";

/// Any JSON, unchanged.
fn raw<'de, D: Deserializer<'de>>(json: D) -> Result<&'de str, D::Error> {
    <&RawValue>::deserialize(json).map(RawValue::get)
}

/// Passes raw JSON to the reader of a `RawValue`, as serde_json does.
struct Part<'de, E>(&'de str, std::marker::PhantomData<E>);

impl<'de, E: Error> MapAccess<'de> for Part<'de, E> {
    type Error = E;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, E> {
        seed.deserialize(BorrowedStrDeserializer::new(RAW)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, E> {
        seed.deserialize(BorrowedStrDeserializer::new(self.0))
    }
}

/// Visitor methods that accept a scalar.
macro_rules! take_scalar {
    ($($method:ident($type:ty))*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    take_scalar! {
        visit_bool(bool) visit_char(char) visit_f32(f32) visit_f64(f64)
        visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (variant, content) = self.0.variant_seed(seed)?;
        Ok((variant, Objects(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Objects(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Fields(visitor))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Inner {
        #[serde(default)]
        name: String,
    }

    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    enum Kind {
        Bare,
        Wrapped(Inner),
        Named {
            #[serde(default)]
            id: u64,
        },
    }

    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Outer<'a> {
        one: Option<Inner>,
        #[serde(default)]
        many: Vec<Inner>,
        #[serde(default)]
        named: BTreeMap<String, Inner>,
        kind: Option<Kind>,
        pair: Option<(i8, f64)>,
        #[serde(borrow)]
        raw: Option<&'a serde_json::value::RawValue>,
        text: Option<&'a str>,
    }

    #[test]
    fn an_array_is_not_read_as_a_struct_at_any_level() {
        for array in [
            r#"[]"#,
            r#"[null,[],{},null,null,null,null]"#,
            r#"{"one":["a"]}"#,
            r#"{"one":[]}"#,
            r#"{"many":[{"name":"a"},["b"]]}"#,
            r#"{"named":{"a":["b"]}}"#,
            r#"{"kind":{"Wrapped":["a"]}}"#,
            r#"{"kind":{"Named":[7]}}"#,
        ] {
            let fault = from_str::<Outer<'_>>(array).unwrap_err();
            assert!(
                fault.is_data() && fault.to_string().contains("invalid type: sequence"),
                "{array}: {fault}"
            );
            assert!(from_slice::<Outer<'_>>(array.as_bytes()).is_err(), "{array}");
        }
    }

    #[test]
    fn all_other_json_is_read_as_by_serde_json() {
        for json in [
            r#"{"one":{"name":"a"},"many":[{"name":"b"},{}],"named":{"c":{}},"kind":"Bare","pair":[1,2.5]}"#,
            r#"{"kind":{"Wrapped":{"name":"a"}},"raw":[{"a":1}],"text":"borrowed","new":[{"x":[]}]}"#,
            r#" {"kind":{"Named":{"id":7}},"one":null} "#,
            r#"{"one":{"name":"a"}} x"#,
            r#"{"one":{"name":7}}"#,
            r#"{"kind":"Unknown"}"#,
            r#"{"one":{"name":"a""#,
            "7",
            "",
        ] {
            let written = |read: serde_json::Result<Outer<'_>>| match read {
                Ok(outer) => serde_json::to_string(&outer).unwrap(),
                Err(fault) => fault.to_string(),
            };
            assert_eq!(written(from_str(json)), written(serde_json::from_str(json)), "{json}");
        }
    }
}
