//! Reads the parameters of a request, from a query or a JSON body, and collects everything that is wrong with them.
//!
//! Times and numbers may come as text or as a number: the documentation says text, the official SDK sends integers, and both work in the
//! wild. What a value means is up to the endpoint.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use crate::wire::{ApiError, FieldViolation, scalar_text};

/// The parameters of one request.
#[derive(Debug, Default)]
pub(crate) struct Params {
    values: BTreeMap<String, Value>,
    asked: Vec<&'static str>,
    violations: Vec<FieldViolation>,
    /// They stand in the address alone.
    is_query: bool,
}

impl Params {
    /// The parameters of a query.
    pub(crate) fn from_query(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let value = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), Value::String(percent_decode(value)))
        };
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in pairs.map(value) {
            // A parameter that is repeated is a list.
            match values.get_mut(&name) {
                Some(Value::Array(list)) => list.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
                None => {
                    values.insert(name, value);
                }
            }
        }
        Self {
            values,
            is_query: true,
            ..Self::default()
        }
    }

    /// The parameters of a body, with those of the query where the body has none.
    ///
    /// # Errors
    /// 9499 when the body is no JSON object.
    pub(crate) fn from_body(body: &[u8], query: &str) -> Result<Self, ApiError> {
        let mut params = Self::from_query(query);
        params.is_query = false;
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => params.values.extend(fields),
            _ => {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    9_499,
                    "Bad Request: body is not a JSON object",
                ));
            }
        }
        Ok(params)
    }

    /// The parameters in one canonical text, whatever their order and whether numbers came as text.
    pub(crate) fn canonical(&self) -> String {
        let field = |(name, value): (&String, &Value)| match scalar_text(value) {
            Some(text) => format!("{name}={text}"),
            None => format!("{name}={value}"),
        };
        self.values
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(field)
            .collect::<Vec<_>>()
            .join("&")
    }

    /// A text, or `None` when it is absent or empty.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name)?.clone();
        let text = scalar_text(&value);
        if text.is_none() {
            self.violation(name, &value.to_string(), "must be a string");
        }
        text.filter(|text| !text.is_empty())
    }

    /// A text that must be there; empty after a violation.
    pub(crate) fn required_text(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if text.is_none() && !self.is_violated(name) {
            self.violation(name, "", &format!("{name} is required"));
        }
        text.unwrap_or_default()
    }

    /// A whole number.
    pub(crate) fn integer(&mut self, name: &'static str) -> Option<i64> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.violation(name, &text, "must be an integer");
        }
        number
    }

    /// A whole number within `low..=high`.
    pub(crate) fn integer_in(&mut self, name: &'static str, low: i64, high: i64) -> Option<i64> {
        let number = self.integer(name)?;
        if !(low..=high).contains(&number) {
            self.violation(
                name,
                &number.to_string(),
                &format!("must be between {low} and {high}"),
            );
        }
        Some(number)
    }

    /// Marks `name` as missing unless `value` is there.
    pub(crate) fn require<T>(&mut self, name: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.is_violated(name) {
            self.violation(name, "", &format!("{name} is required"));
        }
        value
    }

    /// An instant in Unix seconds that must be there; the epoch after a violation.
    pub(crate) fn instant(&mut self, name: &'static str) -> Timestamp {
        let seconds = self.integer(name);
        let instant = self.require(name, seconds).map(Timestamp::from_second);
        match instant {
            Some(Ok(instant)) => instant,
            Some(Err(_)) => {
                self.violation(name, "", "is out of range");
                Timestamp::UNIX_EPOCH
            }
            None => Timestamp::UNIX_EPOCH,
        }
    }

    /// A flag; false when absent.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        match self.text(name).as_deref() {
            None => false,
            // The vendor's Python SDK writes them as Python does.
            Some("false" | "False") => false,
            Some("true" | "True") => true,
            Some(other) => {
                self.violation(name, other, "must be a boolean");
                false
            }
        }
    }

    /// An object, or `None` when it is absent.
    pub(crate) fn object(&mut self, name: &'static str) -> Option<Value> {
        let value = self.get(name)?.clone();
        if !value.is_object() {
            self.violation(name, &value.to_string(), "must be an object");
        }
        Some(value)
    }

    /// A list of texts; empty when absent.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<String> {
        let Some(value) = self.get(name).cloned() else {
            return Vec::new();
        };
        let texts = match &value {
            Value::Array(items) => items.iter().map(scalar_text).collect(),
            // In a query, a list of one.
            Value::String(text) if self.is_query => Some(vec![text.clone()]),
            _ => None,
        };
        texts.unwrap_or_else(|| {
            self.violation(name, &value.to_string(), "must be a list of strings");
            Vec::new()
        })
    }

    /// Notes each of `names` that is there: no such parameter is documented.
    pub(crate) fn refuse(&mut self, names: &[&'static str]) {
        for name in names {
            if let Some(value) = self.get(name).map(Value::to_string) {
                self.violation(name, &value, "is not a parameter");
            }
        }
    }

    /// Notes that something is wrong with `name`.
    pub(crate) fn violation(&mut self, name: &str, value: &str, description: &str) {
        let violation = FieldViolation {
            field: name.to_owned(),
            value: value.to_owned(),
            description: description.to_owned(),
        };
        self.violations.push(violation);
    }

    /// The parameters that nobody asked for.
    pub(crate) fn unknown(&self) -> Vec<String> {
        self.values
            .keys()
            .filter(|name| !self.asked.contains(&name.as_str()))
            .cloned()
            .collect()
    }

    /// # Errors
    /// 99992402 with every violation noted so far.
    pub(crate) fn check(&mut self) -> Result<(), ApiError> {
        if self.violations.is_empty() {
            Ok(())
        } else {
            Err(ApiError::fields(std::mem::take(&mut self.violations)))
        }
    }

    fn get(&mut self, name: &'static str) -> Option<&Value> {
        self.asked.push(name);
        self.values.get(name).filter(|value| !value.is_null())
    }

    fn is_violated(&self, name: &str) -> bool {
        self.violations
            .iter()
            .any(|violation| violation.field == name)
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = text
            .get(index + 1..index + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[index], escaped) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_as_text_or_number() {
        for body in [
            r#"{"start_time":"1760000000"}"#,
            r#"{"start_time":1760000000}"#,
        ] {
            let mut params = Params::from_body(body.as_bytes(), "user_id_type=open_id").unwrap();
            assert_eq!(params.instant("start_time").as_second(), 1_760_000_000);
            assert_eq!(params.text("user_id_type").as_deref(), Some("open_id"));
            assert!(params.check().is_ok() && params.unknown().is_empty());
            assert_eq!(
                params.canonical(),
                "start_time=1760000000&user_id_type=open_id"
            );
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let mut params =
            Params::from_body(br#"{"a":"x","c":[1],"d":"maybe","e":"y","z":1}"#, "").unwrap();
        params.integer("a");
        params.required_text("b");
        params.text("c");
        params.flag("d");
        params.texts("e");
        assert_eq!(params.unknown(), ["z"]);
        assert_eq!(params.violations.len(), 5);
        assert_eq!(params.check().unwrap_err().code, 99_992_402);
    }

    #[test]
    fn queries_are_decoded() {
        let mut params = Params::from_query("file_token=a%3D%3D&page_token=&x=1+2&bad=%zz");
        assert_eq!(params.text("file_token").as_deref(), Some("a=="));
        assert_eq!(params.text("page_token"), None);
        assert_eq!(params.text("x").as_deref(), Some("1 2"));
        assert_eq!(params.text("bad").as_deref(), Some("%zz"));
    }
}
