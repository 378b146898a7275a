//! JSON values as Feishu really sends them: numbers as strings, strings as numbers, null for an
//! absent value.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An integer that may come as `7` or `"7"`.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| serde::de::Error::custom("expected an integer, as number or text"))
}

/// Text that may come as `"7"`, `7` or null; null is the empty text.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        _ => Err(serde::de::Error::custom("expected a text")),
    }
}

/// Text that is a secret from here on.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Shape {
        #[serde(deserialize_with = "integer")]
        number: i64,
        #[serde(default, deserialize_with = "text")]
        name: String,
    }

    #[test]
    fn numbers_come_as_numbers_or_text_and_null_is_nothing() {
        for json in [
            r#"{"number":3,"name":"7"}"#,
            r#"{"number":"3","name":7,"new":[1]}"#,
        ] {
            let shape: Shape = serde_json::from_str(json).expect("the shape");
            assert_eq!((shape.number, shape.name.as_str()), (3, "7"));
        }
        assert!(serde_json::from_str::<Shape>(r#"{"number":1.5}"#).is_err());
        assert!(serde_json::from_str::<Shape>(r#"{"number":1e400}"#).is_err());
    }
}
