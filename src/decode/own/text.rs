//! Decodes the text between two tags: entities, line ends, blanks at its ends, and the `_xHHHH_`
//! escapes of spreadsheets.

use std::borrow::Cow;

use super::{FastResult, Unsupported};

/// Length of `_xHHHH_`.
const ESCAPE: usize = 7;

/// Whether blanks at the ends are part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blanks {
    Kept,
    Trimmed,
}

/// Decodes the text of a `<t>` or of a formula's result.
pub(super) fn decode(raw: &str, blanks: Blanks) -> FastResult<Cow<'_, str>> {
    if !has_special(raw.as_bytes()) {
        return Ok(Cow::Borrowed(trim(raw, blanks)));
    }
    decode_special(raw, blanks)
}

/// Whether there is anything to replace, or a NUL. The compiler turns the loop over pieces of 16
/// bytes into vector code. The last piece overlaps the one before.
fn has_special(bytes: &[u8]) -> bool {
    fn contains_special<const N: usize>(piece: &[u8; N]) -> bool {
        let any = piece.iter().fold(0, |any, &b| {
            any | u8::from(b == b'&')
                | u8::from(b == b'\r')
                | u8::from(b == b'_')
                | u8::from(b == 0)
        });
        any != 0
    }
    if let Some(last) = bytes.last_chunk::<16>() {
        return bytes.as_chunks::<16>().0.iter().any(contains_special) || contains_special(last);
    }
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => contains_special(first) || contains_special(last),
        _ => bytes.iter().any(|b| matches!(b, b'&' | b'\r' | b'_' | 0)),
    }
}

#[cold]
fn decode_special(raw: &str, blanks: Blanks) -> FastResult<Cow<'_, str>> {
    let text = match unescape(raw)? {
        Cow::Borrowed(text) => return Ok(spreadsheet_escapes(trim(text, blanks))),
        Cow::Owned(text) => text,
    };
    let unescaped = spreadsheet_escapes(trim(&text, blanks)).into_owned();
    Ok(Cow::Owned(unescaped))
}

fn trim(text: &str, blanks: Blanks) -> &str {
    let is_blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t' | b'\r' | b'\n'));
    let bytes = text.as_bytes();
    if blanks == Blanks::Kept || !(is_blank(bytes.first()) || is_blank(bytes.last())) {
        return text;
    }
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Replaces entities, and turns line ends into `\n`.
pub(super) fn unescape(raw: &str) -> FastResult<Cow<'_, str>> {
    if memchr::memchr3(b'&', b'\r', 0, raw.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr3(b'&', b'\r', 0, rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let found = &rest[at..];
        if let Some(behind) = found.strip_prefix('\r') {
            text.push('\n');
            rest = behind.strip_prefix('\n').unwrap_or(behind);
            continue;
        }
        let (name, behind) = found[1..]
            .split_once(';')
            .filter(|_| found.starts_with('&'))
            .ok_or(Unsupported("a text holds a NUL or half an entity"))?;
        text.push(entity(name).ok_or(Unsupported("a text holds an unknown entity"))?);
        rest = behind;
    }
    text.push_str(rest);
    Ok(Cow::Owned(text))
}

fn entity(name: &str) -> Option<char> {
    let number = |digits: &str, radix| {
        let is_plain = (1..=8).contains(&digits.len()) && !digits.starts_with(['+', '-']);
        let code = u32::from_str_radix(digits, radix).ok();
        code.filter(|code| is_plain && *code != 0)
            .and_then(char::from_u32)
    };
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => match name.strip_prefix("#x") {
            Some(digits) => number(digits, 16),
            None => number(name.strip_prefix('#')?, 10),
        },
    }
}

/// Replaces `_xHHHH_`, which is a UTF-16 unit in four hex digits. Half a surrogate pair becomes
/// U+FFFD.
fn spreadsheet_escapes(text: &str) -> Cow<'_, str> {
    let Some(first) = find_escape(text, 0) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut found = Some(first);
    while let Some((at, unit)) = found {
        out.push_str(&text[copied..at]);
        copied = at + ESCAPE;
        let low = (0xd800..0xdc00)
            .contains(&unit)
            .then(|| unit_at(text, copied));
        let pair = match low.flatten() {
            Some(low) if (0xdc00..0xe000).contains(&low) => {
                copied += ESCAPE;
                char::from_u32(
                    0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00),
                )
            }
            _ => char::from_u32(unit.into()),
        };
        out.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
        found = find_escape(text, copied);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Position and UTF-16 unit of the first escape at or behind `from`.
fn find_escape(text: &str, from: usize) -> Option<(usize, u16)> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += memchr::memchr(b'_', bytes.get(at..)?)?;
        if let Some(unit) = unit_at(text, at) {
            return Some((at, unit));
        }
        at += 1;
    }
}

fn unit_at(text: &str, at: usize) -> Option<u16> {
    let escape: &[u8; ESCAPE] = text.as_bytes().get(at..at + ESCAPE)?.try_into().ok()?;
    let [b'_', b'x', digits @ .., b'_'] = escape else {
        return None;
    };
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}
