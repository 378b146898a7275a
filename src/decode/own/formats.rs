//! Tells which numbers are dates: reads the cell formats of `styles.xml` and classifies them as
//! calamine does.

use std::collections::HashMap;
use std::sync::Arc;

use super::tags::{Tag, Tags, Token};
use super::{FastResult, Unsupported};
use crate::decode::WorkbookLimits;
use crate::decode::padding::Padding;

/// Longest format code, bytes. No program writes a longer one.
const MOST_CODE: usize = 200;

/// What a number in a cell means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NumberFormat {
    Number,
    /// A number that is shown with zeros in front.
    Padded(Arc<Padding>),
    Date,
    Elapsed,
}

impl NumberFormat {
    pub(super) const fn is_padded(&self) -> bool {
        matches!(self, Self::Padded(_))
    }
}

/// Reads `styles.xml` into the formats of `cellXfs`, in order.
pub(super) fn formats(
    text: &str,
    limits: &WorkbookLimits,
    formats: &mut Vec<NumberFormat>,
) -> FastResult<()> {
    let mut codes: HashMap<&str, NumberFormat> = HashMap::new();
    // The sections that were read.
    let mut seen: Vec<&str> = Vec::new();
    // The element below the root that contains the current one.
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
                    return Err(Unsupported("styles.xml is built in an unusual way"));
                }
                if is_section {
                    seen.push(name);
                }
                section = name;
            }
            (1, _) => return Err(Unsupported("styles.xml holds something else")),
            _ if is_section => return Err(Unsupported("styles.xml is built in an unusual way")),
            // If a number is defined several times, the last definition counts.
            (3, "numFmt") if section == "numFmts" => codes.extend(code(&tag)?),
            (3, "xf") if section == "cellXfs" => {
                formats.push(format_of(&tag, &codes)?);
                if formats.len() as u64 > limits.formats {
                    return Err(Unsupported("there are too many formats"));
                }
            }
            _ => check_inner(section, &tag)?,
        }
    }
    Ok(())
}

/// Gives up on an element in an unusual place if other readers would take it for one that they use.
fn check_inner(section: &str, tag: &Tag<'_>) -> FastResult<()> {
    let is_nested = match section {
        "numFmts" => tag.local_name() == "numFmt",
        "cellXfs" => tag.local_name() == "xf",
        "fonts" | "fills" | "borders" => {
            tag.depth > 3 && matches!(tag.local_name(), "font" | "fill" | "border")
        }
        _ => false,
    };
    if is_nested {
        return Err(Unsupported("styles.xml is built in an unusual way"));
    }
    // The only attribute here whose entities other readers resolve.
    if section == "fonts" && tag.local_name() == "name" {
        tag.value("val")?;
    }
    Ok(())
}

fn code<'t>(tag: &Tag<'t>) -> FastResult<Option<(&'t str, NumberFormat)>> {
    let (id, code) = (tag.raw_value("numFmtId")?, tag.value("formatCode")?);
    let (Some(id), Some(code)) = (id, code) else {
        return Ok(None);
    };
    if code.len() > MOST_CODE {
        return Err(Unsupported("a number format is too long"));
    }
    let mut format = classify(&code);
    // calamine keeps the codes of plain ids only.
    let is_plain = (1..10).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
    if format == NumberFormat::Number
        && is_plain
        && let Some(padding) = Padding::of(&code)
    {
        format = NumberFormat::Padded(Arc::new(padding));
    }
    Ok(Some((id, format)))
}

fn format_of(tag: &Tag<'_>, codes: &HashMap<&str, NumberFormat>) -> FastResult<NumberFormat> {
    let Some(id) = tag.raw_value("numFmtId")? else {
        return Ok(NumberFormat::Number);
    };
    let custom = codes.get(id).cloned();
    Ok(custom.unwrap_or_else(|| built_in(id)))
}

fn built_in(id: &str) -> NumberFormat {
    // Compared as text, so that `014` is not a date.
    match id {
        "14" | "15" | "16" | "17" | "18" | "19" | "20" | "21" | "22" | "45" | "47" => {
            NumberFormat::Date
        }
        "27" | "28" | "29" | "30" | "31" | "32" | "33" | "34" | "35" | "36" => NumberFormat::Date,
        "50" | "51" | "52" | "53" | "54" | "55" | "56" | "57" | "58" => NumberFormat::Date,
        "46" => NumberFormat::Elapsed,
        _ => NumberFormat::Number,
    }
}

/// Classifies a format code: looks in its first section for a letter of a date or time that is not
/// part of a literal, a colour or a currency.
fn classify(code: &str) -> NumberFormat {
    let mut is_escaped = false;
    let mut is_quoted = false;
    let mut brackets = 0u8;
    let mut previous = ' ';
    // Whether the position is within `[h`, `[mm` or the like.
    let mut is_elapsed = false;
    // Whether the position is behind the `A` of `AM/PM`.
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
            return NumberFormat::Number;
        } else if c == '[' {
            brackets += 1;
        } else if c == ']' && brackets == 1 && is_elapsed {
            return NumberFormat::Elapsed;
        } else if c == ']' {
            brackets = brackets.saturating_sub(1);
        } else if lower == 'a' && !is_half_day && brackets == 0 {
            is_half_day = true;
        } else if brackets == 0 && is_of_a_date(lower, is_half_day) {
            return NumberFormat::Date;
        } else if !(is_elapsed && c.eq_ignore_ascii_case(&previous)) {
            is_elapsed = previous == '[' && matches!(lower, 'm' | 'h' | 's');
        }
        previous = c;
    }
    NumberFormat::Number
}

/// Whether a letter outside of brackets makes the code a date format. Behind an `A` only the rest
/// of `AM/PM` or `A/P` does.
fn is_of_a_date(lower: char, is_half_day: bool) -> bool {
    if is_half_day {
        matches!(lower, 'p' | 'm' | '/')
    } else {
        matches!(lower, 'd' | 'm' | 'h' | 'y' | 's')
    }
}
