//! Which numbers are dates: the cell formats of `styles.xml`, classified as the reference reader does.

use std::collections::HashMap;

use super::tags::{Tag, Tags, Token};
use super::{Known, Unknown};
use crate::decode::Limits;

/// Where the formats lie.
pub(super) const STYLES: &str = "xl/styles.xml";
/// Longer format codes than any program writes.
const MOST_CODE: usize = 200;

/// What a number in a cell means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Number,
    Date,
    Elapsed,
}

/// Reads `styles.xml` into the formats of `cellXfs`, in order.
pub(super) fn formats(text: &str, limits: &Limits, formats: &mut Vec<Format>) -> Known<()> {
    let mut codes: HashMap<&str, Format> = HashMap::new();
    // The sections that were there.
    let mut seen: Vec<&str> = Vec::new();
    // The element below the root in which the walk is.
    let mut section = "";
    let mut tags = Tags::new(text)?;
    while let Some(token) = tags.next()? {
        let Token::Start(tag) = token else { continue };
        let is_section = matches!(
            tag.local_name(),
            "numFmts" | "fonts" | "fills" | "borders" | "cellXfs" | "styleSheet"
        );
        match (tag.depth, tag.name) {
            (1, "styleSheet") => {}
            (2, name) => {
                if is_section && (name != tag.local_name() || seen.contains(&name)) {
                    return Err(Unknown("styles.xml is built in an unusual way"));
                }
                if is_section {
                    seen.push(name);
                }
                section = name;
            }
            (1, _) => return Err(Unknown("styles.xml holds something else")),
            _ if is_section => return Err(Unknown("styles.xml is built in an unusual way")),
            // The last definition of a number counts.
            (3, "numFmt") if section == "numFmts" => codes.extend(code(&tag)?),
            (3, "xf") if section == "cellXfs" => {
                formats.push(format_of(&tag, &codes)?);
                if formats.len() as u64 > limits.formats {
                    return Err(Unknown("there are too many formats"));
                }
            }
            _ => check_inner(section, &tag)?,
        }
    }
    Ok(())
}

/// Elements that a reader would take for others than they are.
fn check_inner(section: &str, tag: &Tag<'_>) -> Known<()> {
    let is_nested = match section {
        "numFmts" => tag.local_name() == "numFmt",
        "cellXfs" => tag.local_name() == "xf",
        "fonts" | "fills" | "borders" => {
            tag.depth > 3 && matches!(tag.local_name(), "font" | "fill" | "border")
        }
        _ => false,
    };
    if is_nested {
        return Err(Unknown("styles.xml is built in an unusual way"));
    }
    // The only text in here that other readers take the entities out of.
    if section == "fonts" && tag.local_name() == "name" {
        tag.value("val")?;
    }
    Ok(())
}

fn code<'t>(tag: &Tag<'t>) -> Known<Option<(&'t str, Format)>> {
    let (id, code) = (tag.raw("numFmtId")?, tag.value("formatCode")?);
    let (Some(id), Some(code)) = (id, code) else {
        return Ok(None);
    };
    if code.len() > MOST_CODE {
        return Err(Unknown("a number format is too long"));
    }
    Ok(Some((id, classify(&code))))
}

fn format_of(tag: &Tag<'_>, codes: &HashMap<&str, Format>) -> Known<Format> {
    let Some(id) = tag.raw("numFmtId")? else {
        return Ok(Format::Number);
    };
    let custom = codes.get(id).copied();
    Ok(custom.unwrap_or_else(|| built_in(id)))
}

fn built_in(id: &str) -> Format {
    // Compared as text: `014` is none of them.
    match id {
        "14" | "15" | "16" | "17" | "18" | "19" | "20" | "21" | "22" | "45" | "47" => Format::Date,
        "27" | "28" | "29" | "30" | "31" | "32" | "33" | "34" | "35" | "36" => Format::Date,
        "50" | "51" | "52" | "53" | "54" | "55" | "56" | "57" | "58" => Format::Date,
        "46" => Format::Elapsed,
        _ => Format::Number,
    }
}

/// Looks through the first section of a format code for a letter of a date or time that is no literal, and no colour's or currency's.
fn classify(code: &str) -> Format {
    let mut is_escaped = false;
    let mut is_quoted = false;
    let mut brackets = 0u8;
    let mut previous = ' ';
    // Within `[h`, `[mm` and their like.
    let mut is_elapsed = false;
    // Behind the `A` of `AM/PM`.
    let mut is_half_day = false;
    for c in code.chars() {
        let lower = c.to_ascii_lowercase();
        if is_escaped {
            is_escaped = false;
        } else if matches!(c, '_' | '\\' | '*') {
            is_escaped = true;
        } else if is_quoted {
            is_quoted = c != '"';
        } else if c == '"' {
            is_quoted = true;
        } else if c == ';' {
            return Format::Number;
        } else if c == '[' {
            brackets += 1;
        } else if c == ']' && brackets == 1 && is_elapsed {
            return Format::Elapsed;
        } else if c == ']' {
            brackets = brackets.saturating_sub(1);
        } else if lower == 'a' && !is_half_day && brackets == 0 {
            is_half_day = true;
        } else if brackets == 0 && is_of_a_date(lower, is_half_day) {
            return Format::Date;
        } else if !(is_elapsed && c.eq_ignore_ascii_case(&previous)) {
            is_elapsed = previous == '[' && matches!(lower, 'm' | 'h' | 's');
        }
        previous = c;
    }
    Format::Number
}

/// Whether a letter outside of brackets makes the code a date's: behind an `A` only what makes it `AM/PM` or `A/P` does.
fn is_of_a_date(lower: char, is_half_day: bool) -> bool {
    if is_half_day {
        matches!(lower, 'p' | 'm' | '/')
    } else {
        matches!(lower, 'd' | 'm' | 'h' | 'y' | 's')
    }
}
