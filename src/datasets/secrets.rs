//! Blanks secret values in a body before it is kept; every other byte stays as it came.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// The body without the values at `paths`. A path names members from the outside in, such as
/// `data.meeting.password`; `[]` is every element of a list. A text becomes `""`, anything else
/// `null`.
///
/// # Errors
/// The body is no JSON, or has a list where a path expects an object, or the other way round: where
/// a secret may be is not known then.
pub fn without_secrets<'b>(
    body: &'b [u8],
    paths: &[&str],
) -> Result<Cow<'b, [u8]>, serde_json::Error> {
    if paths.is_empty() {
        return Ok(Cow::Borrowed(body));
    }
    let root: &RawValue = serde_json::from_slice(body)?;
    let mut places = Vec::new();
    for path in paths {
        let steps: Vec<&str> = path.split('.').collect();
        find(root, &steps, &mut |secret| {
            places.push(place_in(body, secret))
        })?;
    }
    Ok(blank(body, places))
}

/// The most lists and objects inside of one another that are searched. Answers have some five.
const DEEPEST: usize = 100;

/// Why no secret can be looked for.
#[derive(Debug, thiserror::Error)]
pub enum Unsearchable {
    /// The body is no JSON.
    #[error("it is no JSON (line {}, column {})", .0.line(), .0.column())]
    NoJson(#[from] serde_json::Error),
    /// More lists and objects lie inside of one another than any answer has.
    #[error("more than {DEEPEST} lists and objects lie inside of one another")]
    TooDeep,
}

/// The body without the values of members that are secret by their name, wherever they stand:
/// passwords, and tokens by which something is read. Every other byte stays as it came.
///
/// # Errors
/// The body is no JSON, or deeper than any answer.
pub fn without_named_secrets(body: &[u8]) -> Result<Cow<'_, [u8]>, Unsearchable> {
    let root: &RawValue = serde_json::from_slice(body)?;
    let mut places = Vec::new();
    find_named(root, DEEPEST, &mut |secret| {
        places.push(place_in(body, secret))
    })?;
    Ok(blank(body, places))
}

/// Whether the member of that name is a secret. Tokens of pages and of documents are none: they
/// open nothing by themselves.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let opens = [
        "token",
        "file_token",
        "access_token",
        "tenant_access_token",
        "user_access_token",
        "app_access_token",
        "refresh_token",
        "ticket",
        "access_code",
    ];
    name.contains("password") || name.contains("secret") || opens.contains(&name.as_str())
}

fn find_named<'b>(
    value: &'b RawValue,
    depth: usize,
    found: &mut dyn FnMut(&'b RawValue),
) -> Result<(), Unsearchable> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Unsearchable::TooDeep);
    };
    if value.get().starts_with('[') {
        for element in serde_json::from_str::<Vec<&RawValue>>(value.get())? {
            find_named(element, depth, found)?;
        }
    }
    if value.get().starts_with('{') {
        for (name, member) in serde_json::from_str::<Members<'_>>(value.get())?.0 {
            match is_secret(&name) {
                true => found(member),
                false => find_named(member, depth, found)?,
            }
        }
    }
    Ok(())
}

/// The body with `""` or `null` at each place.
fn blank(body: &[u8], mut places: Vec<Range<usize>>) -> Cow<'_, [u8]> {
    places.sort_unstable_by_key(|place| place.start);
    places.dedup();
    let mut kept = Vec::with_capacity(body.len());
    let mut end = 0;
    for place in places {
        // Inside of one that is blanked already.
        if place.start < end {
            continue;
        }
        kept.extend_from_slice(&body[end..place.start]);
        let is_text = body[place.start] == b'"';
        kept.extend_from_slice(if is_text { b"\"\"" } else { b"null" });
        end = place.end;
    }
    kept.extend_from_slice(&body[end..]);
    Cow::Owned(kept)
}

/// Hands each value at the end of the path to `found`. A list where an object is expected, or the
/// other way round, may hold the secret at another place, so it is an error.
fn find<'b>(
    value: &'b RawValue,
    steps: &[&str],
    found: &mut dyn FnMut(&'b RawValue),
) -> Result<(), serde_json::Error> {
    let Some((step, rest)) = steps.split_first() else {
        found(value);
        return Ok(());
    };
    if !value.get().starts_with(['{', '[']) {
        return Ok(());
    }
    if *step == "[]" {
        for element in serde_json::from_str::<Vec<&RawValue>>(value.get())? {
            find(element, rest, found)?;
        }
        return Ok(());
    }
    for (name, member) in serde_json::from_str::<Members<'_>>(value.get())?.0 {
        if name == *step {
            find(member, rest, found)?;
        }
    }
    Ok(())
}

/// Where a value stands in the body that it was read from.
fn place_in(body: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - body.as_ptr() as usize;
    start..start + value.get().len()
}

/// All members of an object. A map would keep only one of two with the same name.
struct Members<'b>(Vec<(String, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Members<'b> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(body: &str, paths: &[&str]) -> String {
        let kept = without_secrets(body.as_bytes(), paths).expect("JSON");
        String::from_utf8(kept.into_owned()).expect("UTF-8")
    }

    #[test]
    fn only_the_secret_values_change() {
        let paths = &["data.meeting.password", "data.list.[].pin"];
        for (body, kept) in [
            (
                "{ \"data\" :\n{\"meeting\":{\"password\" : \"971023\",\"no\":1.50}}}",
                "{ \"data\" :\n{\"meeting\":{\"password\" : \"\",\"no\":1.50}}}",
            ),
            (
                r#"{"data":{"list":[{"pin":12,"a":1},{"a":2},{"pin":"\"x\\"}]}}"#,
                r#"{"data":{"list":[{"pin":null,"a":1},{"a":2},{"pin":""}]}}"#,
            ),
            // Twice the same name, and a name that is written with an escape.
            (
                r#"{"data":{"meeting":{"password":"a","pass\u0077ord":"b"}}}"#,
                r#"{"data":{"meeting":{"password":"","pass\u0077ord":""}}}"#,
            ),
            (
                r#"{"data":{"meeting":null}}"#,
                r#"{"data":{"meeting":null}}"#,
            ),
            (r#"{"password":"a"}"#, r#"{"password":"a"}"#),
        ] {
            assert_eq!(blanked(body, paths), kept);
        }
        let nested = &["data", "data.password"];
        assert_eq!(
            blanked(r#"{"data":{"password":"a"}}"#, nested),
            r#"{"data":null}"#
        );
    }

    #[test]
    fn what_is_secret_by_its_name_is_blanked_wherever_it_stands() {
        for (body, kept) in [
            (
                r#"{"data":{"meeting":{"password":"1","no":1.50,"list":[{"Password":2},3]}}}"#,
                r#"{"data":{"meeting":{"password":"","no":1.50,"list":[{"Password":null},3]}}}"#,
            ),
            (
                r#"{"token":{"a":"b"},"page_token":"p","note_doc_token":"d","file_token":"f"}"#,
                r#"{"token":null,"page_token":"p","note_doc_token":"d","file_token":""}"#,
            ),
            (
                r#"[{"meeting_password_hint":"x"},{"app_secret":"y"},{"pass\u0077ord":"z"}]"#,
                r#"[{"meeting_password_hint":""},{"app_secret":""},{"pass\u0077ord":""}]"#,
            ),
            (
                r#"{"id":6911188411932033028}"#,
                r#"{"id":6911188411932033028}"#,
            ),
            (r#""password""#, r#""password""#),
        ] {
            let found = without_named_secrets(body.as_bytes()).expect("JSON");
            assert_eq!(String::from_utf8_lossy(&found), kept);
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(without_named_secrets(deep.as_bytes()).is_err());
        assert!(without_named_secrets(b"no JSON").is_err());
    }

    #[test]
    fn without_a_secret_not_a_byte_changes_and_what_cannot_be_read_is_refused() {
        let body = b"no JSON";
        assert_eq!(
            without_secrets(body, &[]).expect("as it came"),
            body.as_slice()
        );
        assert!(without_secrets(body, &["data.password"]).is_err());
        for elsewhere in [
            r#"{"data":[{"password":"a"}]}"#,
            r#"{"data":{"list":{"password":"a"}}}"#,
        ] {
            let paths = &["data.password", "data.list.[].password"];
            assert!(
                without_secrets(elsewhere.as_bytes(), paths).is_err(),
                "{elsewhere}"
            );
        }
    }
}
