//! Reads the value of one cell, with a pure function for each kind of column.
//!
//! Takes a [`Cell`] and returns its value, `None` for nothing, or a [`Fault`]. It never guesses.
//! Typed columns ignore blanks around a text and what cannot be seen in it, whatever kind of blank
//! or mark it is, and take full-width forms for what they stand for. An empty cell, `-`, `--`, `–`
//! and `—` mean nothing. A text column keeps its text as it came. A number that needs a unit or
//! format and has none is a fault.

use std::borrow::Cow;

use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::column::{EnumValue, fold};
use crate::findings::Fault;
use crate::table::Cell;

/// Largest integer that a spreadsheet's number holds exactly: 2^53.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;
/// Longest elapsed time, days. A cell beyond it holds a date.
const LONGEST_ELAPSED_DAYS: f64 = 366.0;
const DAY_MS: i64 = 86_400_000;
/// Units, and the powers of ten that convert them.
pub(super) const KBPS: &[(&str, i32)] = &[("kbps", 0), ("mbps", 3), ("gbps", 6), ("bps", -3)];
pub(super) const DECIBELS: &[(&str, i32)] = &[("db", 0)];
pub(super) const FPS: &[(&str, i32)] = &[("fps", 0)];
pub(super) const MILLISECONDS: &[(&str, i32)] = &[("ms", 0), ("s", 3)];
pub(super) const PERCENT: &[(&str, i32)] = &[("%", 0), ("％", 0)];
pub(super) const HOURS: &[(&str, i32)] = &[("", 0)];

type CellResult<T> = Result<Option<T>, Fault>;

/// The text of any cell, as `_extra` keeps it. A text is unchanged.
#[must_use]
pub fn display_text<'c>(cell: &'c Cell<'_>) -> Cow<'c, str> {
    match cell {
        Cell::Empty => Cow::Borrowed(""),
        Cell::Text(text) => Cow::Borrowed(text),
        Cell::Number(number) => Cow::Owned(number.to_string()),
        Cell::Bool(true) => Cow::Borrowed("TRUE"),
        Cell::Bool(false) => Cow::Borrowed("FALSE"),
        Cell::Date { days, is_1904 } => match civil_of(*days, *is_1904) {
            Some(civil) => Cow::Owned(civil.to_string()),
            None => Cow::Owned(days.to_string()),
        },
        Cell::Elapsed { days } => match seconds_of(*days) {
            Ok(s) => Cow::Owned(format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)),
            Err(_) => Cow::Owned(days.to_string()),
        },
        Cell::Error(error) => Cow::Borrowed(error.as_str()),
        Cell::Unstored => Cow::Borrowed(""),
    }
}

/// Text as it came. Only an empty cell means nothing.
///
/// # Errors
/// A formula's error, and a number that is not finite.
pub fn text<'c>(cell: &'c Cell<'_>) -> CellResult<Cow<'c, str>> {
    match cell {
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Number(number) if !number.is_finite() => Err(Fault::NotFinite),
        cell if cell.is_empty() => Ok(None),
        cell => Ok(Some(display_text(cell))),
    }
}

/// An id: text without the blanks around it, or the digits of a whole number that a spreadsheet
/// holds exactly.
///
/// # Errors
/// A number that is fractional or beyond 2^53, because its digits are lost; dates, booleans and
/// errors.
pub fn id<'c>(cell: &'c Cell<'_>) -> CellResult<Cow<'c, str>> {
    match cell {
        Cell::Empty => Ok(None),
        Cell::Text(text) => Ok(meaningful(text)),
        Cell::Number(number) if number.fract() == 0.0 && number.abs() <= MAX_EXACT_INTEGER => {
            Ok(Some(Cow::Owned(format!("{number:.0}"))))
        }
        Cell::Number(number) if !number.is_finite() => Err(Fault::NotFinite),
        Cell::Number(_) => Err(Fault::InexactId),
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Bool(_) | Cell::Date { .. } | Cell::Elapsed { .. } => Err(Fault::NotAnId),
    }
}

/// The number of a meeting: digits, as many as there are, without the blanks that clients show
/// between them (`190 924 711`).
///
/// # Errors
/// As [`id`], and any other text: nothing could be joined by it.
pub fn meeting_no<'c>(cell: &'c Cell<'_>) -> CellResult<Cow<'c, str>> {
    let Some(mut text) = id(cell)? else {
        return Ok(None);
    };
    if text.contains(' ') {
        text = Cow::Owned(text.replace(' ', ""));
    }
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(Some(text)),
        false => Err(Fault::NotAMeetingNumber),
    }
}

/// An instant: `2022.07.21 11:01:40 (GMT+08:00)`, the same with `-` or `/`, ISO 8601, or a date
/// cell. A text without an offset is a civil time in `zone`. A time that a daylight-saving change
/// skips is moved forward by the gap. Of a time that it repeats, the earlier one is taken.
///
/// # Errors
/// Anything else, dates that do not exist (Excel's 1900-02-29 too), a date without a time, and
/// plain numbers.
pub fn time(cell: &Cell<'_>, zone: &TimeZone) -> CellResult<Timestamp> {
    match cell {
        Cell::Empty => Ok(None),
        Cell::Text(text) => match meaningful(text) {
            Some(text) => parse_time(&text, zone).map(Some),
            None => Ok(None),
        },
        Cell::Date { days, is_1904 } => {
            let civil = civil_of(*days, *is_1904).ok_or(Fault::OutOfRange)?;
            instant(civil, None, zone).map(Some)
        }
        Cell::Number(_) => Err(Fault::PlainNumberAsTime),
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Bool(_) | Cell::Elapsed { .. } => Err(Fault::NotATime),
    }
}

/// An instant in Unix seconds, as text or number. 0 means that there is no time.
///
/// # Errors
/// As [`integer`], and instants after the year 9999, as milliseconds would be.
pub fn unix_time(cell: &Cell<'_>) -> CellResult<Timestamp> {
    match integer(cell)? {
        None | Some(0) => Ok(None),
        Some(seconds) => Timestamp::from_second(seconds)
            .map(Some)
            .map_err(|_| Fault::OutOfRange),
    }
}

/// Whole seconds: `01:02:03`, `1:02:03`, `25:00:00`, or a date or elapsed-time cell (a fraction of
/// days).
///
/// # Errors
/// Anything else. A plain number too, because it could mean seconds or days.
pub fn duration_s(cell: &Cell<'_>) -> CellResult<i64> {
    match cell {
        Cell::Empty => Ok(None),
        Cell::Text(text) => match meaningful(text) {
            Some(text) => parse_duration(&text).map(Some),
            None => Ok(None),
        },
        Cell::Date { days, .. } | Cell::Elapsed { days } => seconds_of(*days).map(Some),
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Number(_) | Cell::Bool(_) => Err(Fault::NotADuration),
    }
}

/// A count: digits, which may be grouped by commas (`1,024`), or a number cell with a whole number.
///
/// # Errors
/// Fractions, signs, numbers below zero or beyond 2^53.
pub fn integer(cell: &Cell<'_>) -> CellResult<i64> {
    match cell {
        Cell::Empty => Ok(None),
        Cell::Text(text) => match meaningful(text) {
            Some(text) => parse_integer(&text).map(Some),
            None => Ok(None),
        },
        Cell::Number(number) => whole_number(*number).map(Some),
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Bool(_) | Cell::Date { .. } | Cell::Elapsed { .. } => Err(Fault::NotAnInteger),
    }
}

/// A count within int32.
///
/// # Errors
/// As [`integer`], and numbers beyond int32.
pub fn small_integer(cell: &Cell<'_>) -> CellResult<i32> {
    let number = integer(cell)?.map(i32::try_from);
    number.transpose().map_err(|_| Fault::OutOfRange)
}

/// The elements of a JSON array of texts. A whole number in it becomes its digits, and null stays
/// null. An array without elements means nothing.
///
/// # Errors
/// Anything else. A number that is fractional or beyond 64 bits too, because its digits are lost.
pub fn text_list(cell: &Cell<'_>) -> CellResult<Vec<Option<String>>> {
    match cell {
        Cell::Empty => Ok(None),
        // The texts in the list stay as they came.
        Cell::Text(text) => match meaningful(text) {
            Some(_) => parse_text_list(text.trim()),
            None => Ok(None),
        },
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Number(_) | Cell::Bool(_) | Cell::Date { .. } | Cell::Elapsed { .. } => {
            Err(Fault::NotAList)
        }
    }
}

/// 是/否, yes/no, true/false, 1/0 or a boolean cell.
///
/// # Errors
/// Anything else.
pub fn boolean(cell: &Cell<'_>) -> CellResult<bool> {
    match cell {
        Cell::Empty => Ok(None),
        Cell::Bool(value) => Ok(Some(*value)),
        Cell::Number(1.0) => Ok(Some(true)),
        Cell::Number(0.0) => Ok(Some(false)),
        Cell::Text(text) => match meaningful(text) {
            Some(text) => parse_bool(&text).map(Some),
            None => Ok(None),
        },
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Number(_) | Cell::Date { .. } | Cell::Elapsed { .. } => Err(Fault::NotABool),
    }
}

/// kbps: `50kbps`, `1.2Mbps`, `800bps`, `0`.
///
/// # Errors
/// Another unit or none, signs, exponents.
pub fn kbps(cell: &Cell<'_>) -> CellResult<f64> {
    measurement(cell, KBPS)
}

/// Milliseconds: `5ms`, `1.2s`, `0`.
///
/// # Errors
/// As [`kbps`].
pub fn milliseconds(cell: &Cell<'_>) -> CellResult<f64> {
    measurement(cell, MILLISECONDS)
}

/// Percent: `2%` is 2.0. A number cell is a fault: formatted as percent, Excel stores 2 % as 0.02.
///
/// # Errors
/// As [`kbps`].
pub fn percent(cell: &Cell<'_>) -> CellResult<f64> {
    measurement(cell, PERCENT)
}

/// Hours: `0.5`, a number without a unit.
///
/// # Errors
/// Any unit, signs, exponents.
pub fn hours(cell: &Cell<'_>) -> CellResult<f64> {
    match cell {
        Cell::Number(number) if *number < 0.0 => Err(Fault::Negative),
        Cell::Number(number) if number.is_finite() => Ok(Some(*number)),
        other => measurement(other, HOURS),
    }
}

/// Decibels: `6dB`, `-12dB`. A level of sound may lie below zero.
///
/// # Errors
/// As [`kbps`], but for one sign.
pub fn decibels(cell: &Cell<'_>) -> CellResult<f64> {
    let below_zero = match cell {
        Cell::Text(text) => text.trim().strip_prefix('-'),
        _ => None,
    };
    match below_zero.filter(|rest| !rest.is_empty()) {
        Some(rest) => Ok(measurement(&Cell::Text(rest.into()), DECIBELS)?.map(|level| -level)),
        None => measurement(cell, DECIBELS),
    }
}

/// Pictures a second: `30fps`.
///
/// # Errors
/// As [`kbps`].
pub fn frames_per_second(cell: &Cell<'_>) -> CellResult<f64> {
    measurement(cell, FPS)
}

/// Index of the value that the cell's text means, compared after folding. `Ok(Some(None))` for an
/// unknown text.
///
/// # Errors
/// A formula's error, and numbers that are not finite.
pub fn enumeration(cell: &Cell<'_>, values: &[EnumValue]) -> CellResult<Option<usize>> {
    let text = text(cell)?;
    let Some(text) = text.as_deref().and_then(meaningful) else {
        return Ok(None);
    };
    let text = &*text;
    let exact = values.iter().position(|value| value.texts.contains(&text));
    Ok(Some(exact.or_else(|| {
        let folded = fold(text);
        let means = |known: &&str| fold(known) == folded;
        values
            .iter()
            .position(|value| value.texts.iter().any(means))
    })))
}

/// The text as it reads, without blanks around it. `None` if it means that there is no value.
fn meaningful(text: &str) -> Option<Cow<'_, str>> {
    let text = match text.is_ascii() {
        true => Cow::Borrowed(text.trim()),
        false => match as_it_reads(text.trim()) {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        },
    };
    (!matches!(&*text, "" | "-" | "--" | "–" | "—")).then_some(text)
}

/// The text with one kind of blank, without marks that cannot be seen, and with full-width forms as
/// what they stand for. Clients and spreadsheets add all three.
fn as_it_reads(text: &str) -> Cow<'_, str> {
    let is_unseen = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let is_wide = |c: char| matches!(c, '\u{ff01}'..='\u{ff5e}');
    let is_blank = |c: char| c.is_whitespace() && !c.is_ascii();
    if !text.contains(|c| is_unseen(c) || is_wide(c) || is_blank(c)) {
        return Cow::Borrowed(text);
    }
    let seen = text.chars().filter(|c| !is_unseen(*c));
    let plain = seen.map(|c| match c {
        c if is_blank(c) => ' ',
        // The full-width forms stand in the order of ASCII.
        c if is_wide(c) => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    });
    Cow::Owned(plain.collect())
}

fn parse_time(text: &str, zone: &TimeZone) -> Result<Timestamp, Fault> {
    let mut rest = AsciiCursor(text.as_bytes());
    let civil = parse_civil(&mut rest).ok_or(Fault::NotATime)?;
    let suffix = &text[text.len() - rest.0.len()..];
    let offset = parse_offset(suffix)?;
    instant(civil.ok_or(Fault::OutOfRange)?, offset, zone)
}

fn instant(civil: DateTime, offset: Option<Offset>, zone: &TimeZone) -> Result<Timestamp, Fault> {
    let instant = match offset {
        Some(offset) => offset.to_timestamp(civil),
        None => zone.to_ambiguous_timestamp(civil).compatible(),
    };
    instant.map_err(|_| Fault::OutOfRange)
}

/// Reads a civil date-time and leaves what follows it. `None` means another form. `Some(None)`
/// means the right form of a time that does not exist.
fn parse_civil(rest: &mut AsciiCursor<'_>) -> Option<Option<DateTime>> {
    let year = i16::try_from(rest.number(4, 4)?).ok()?;
    let separator = *rest.0.first().filter(|b| b".-/".contains(b))?;
    rest.eat(separator)?;
    let month = rest.small_number(1, 2)?;
    rest.eat(separator)?;
    let day = rest.small_number(1, 2)?;
    rest.eat(b'T').or_else(|| rest.blanks())?;
    let hour = rest.small_number(1, 2)?;
    rest.eat(b':')?;
    let minute = rest.small_number(2, 2)?;
    let second = match rest.eat(b':') {
        Some(()) => rest.small_number(2, 2)?,
        None => 0,
    };
    let nanosecond = match rest.eat(b'.') {
        Some(()) => rest.fraction()?,
        None => 0,
    };
    let date = Date::new(year, month, day).ok();
    let time = Time::new(hour, minute, second, nanosecond).ok();
    Some(date.zip(time).map(|(date, time)| date.to_datetime(time)))
}

/// Parses ` (GMT+08:00)`, `(UTC)`, `Z`, `+08:00` or `（GMT+8）`. `None` if `suffix` is empty.
fn parse_offset(suffix: &str) -> Result<Option<Offset>, Fault> {
    let mut name = suffix.trim();
    if name.is_empty() {
        return Ok(None);
    }
    for (open, close) in [('(', ')'), ('（', '）')] {
        if let Some(inner) = name.strip_prefix(open) {
            name = inner.strip_suffix(close).ok_or(Fault::NotATime)?.trim();
        }
    }
    if name == "Z" {
        return Ok(Some(Offset::UTC));
    }
    let offset = ["GMT", "UTC"]
        .iter()
        .find_map(|zone| name.strip_prefix(zone));
    match offset.map_or(name, str::trim) {
        "" => Ok(Some(Offset::UTC)),
        offset => parse_hours(offset).map(Some),
    }
}

fn parse_hours(offset: &str) -> Result<Offset, Fault> {
    let mut rest = AsciiCursor(offset.as_bytes());
    let sign = match rest
        .eat(b'+')
        .map_or_else(|| rest.eat(b'-').map(|()| -1), |()| Some(1))
    {
        Some(sign) => sign,
        None => return Err(Fault::NotATime),
    };
    let hours = rest.number(1, 2).ok_or(Fault::NotATime)?;
    let has_colon = rest.eat(b':').is_some();
    let minutes = match rest.number(2, 2) {
        Some(minutes) => minutes,
        None if has_colon => return Err(Fault::NotATime),
        None => 0,
    };
    if !rest.0.is_empty() {
        return Err(Fault::NotATime);
    }
    // The widest offset in use is +14:00.
    if hours > 14 || minutes > 59 {
        return Err(Fault::OutOfRange);
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).map_err(|_| Fault::OutOfRange)?;
    Offset::from_seconds(sign * seconds).map_err(|_| Fault::OutOfRange)
}

fn parse_duration(text: &str) -> Result<i64, Fault> {
    let mut rest = AsciiCursor(text.as_bytes());
    let mut parts = || {
        let hours = rest.number(1, 5)?;
        rest.eat(b':')?;
        let minutes = rest.number(2, 2)?;
        rest.eat(b':')?;
        let seconds = rest.number(2, 2)?;
        rest.0.is_empty().then_some((hours, minutes, seconds))
    };
    let (hours, minutes, seconds) = parts().ok_or(Fault::NotADuration)?;
    if minutes > 59 || seconds > 59 {
        return Err(Fault::OutOfRange);
    }
    Ok(i64::from(hours * 3600 + minutes * 60 + seconds))
}

fn parse_integer(text: &str) -> Result<i64, Fault> {
    let digits = text.as_bytes();
    if digits.iter().all(u8::is_ascii_digit) {
        return text.parse().map_err(|_| Fault::OutOfRange);
    }
    if text
        .strip_prefix('-')
        .is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(Fault::Negative);
    }
    let mut groups = text.split(',');
    let is_number = |group: &str| group.bytes().all(|b| b.is_ascii_digit());
    let is_grouped = groups
        .next()
        .is_some_and(|g| (1..=3).contains(&g.len()) && is_number(g))
        && groups.all(|g| g.len() == 3 && is_number(g));
    if !is_grouped {
        return Err(Fault::NotAnInteger);
    }
    text.replace(',', "").parse().map_err(|_| Fault::OutOfRange)
}

fn whole_number(number: f64) -> Result<i64, Fault> {
    match number {
        n if !n.is_finite() => Err(Fault::NotFinite),
        n if n.fract() != 0.0 => Err(Fault::NotAnInteger),
        n if n < 0.0 => Err(Fault::Negative),
        n if n > MAX_EXACT_INTEGER => Err(Fault::OutOfRange),
        n => Ok(n as i64),
    }
}

fn parse_text_list(text: &str) -> CellResult<Vec<Option<String>>> {
    let elements: Vec<Value> = serde_json::from_str(text).map_err(|_| Fault::NotAList)?;
    let texts = elements.into_iter().map(|element| match element {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) if number.is_f64() => Err(Fault::InexactId),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(Fault::NotAList),
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    Ok((!texts.is_empty()).then_some(texts))
}

fn parse_bool(text: &str) -> Result<bool, Fault> {
    const YES: [&str; 4] = ["是", "yes", "true", "1"];
    const NO: [&str; 4] = ["否", "no", "false", "0"];
    if YES.iter().any(|yes| text.eq_ignore_ascii_case(yes)) {
        Ok(true)
    } else if NO.iter().any(|no| text.eq_ignore_ascii_case(no)) {
        Ok(false)
    } else {
        Err(Fault::NotABool)
    }
}

/// A number and one of `units`, with their powers of ten. Zero needs no unit.
fn measurement(cell: &Cell<'_>, units: &[(&str, i32)]) -> CellResult<f64> {
    match cell {
        Cell::Empty => Ok(None),
        Cell::Text(text) => match meaningful(text) {
            Some(text) => parse_measurement(&text, units).map(Some),
            None => Ok(None),
        },
        Cell::Number(0.0) => Ok(Some(0.0)),
        Cell::Number(number) if !number.is_finite() => Err(Fault::NotFinite),
        Cell::Number(_) => Err(Fault::NoUnit),
        Cell::Error(_) => Err(Fault::FormulaError),
        Cell::Unstored => Err(Fault::NoStoredValue),
        Cell::Bool(_) | Cell::Date { .. } | Cell::Elapsed { .. } => Err(Fault::NotAMeasurement),
    }
}

fn parse_measurement(text: &str, units: &[(&str, i32)]) -> Result<f64, Fault> {
    let is_digit = |b: &u8| b.is_ascii_digit() || *b == b'.';
    let (digits, unit) = text.split_at(text.bytes().take_while(is_digit).count());
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.ends_with('.') {
        return Err(Fault::NotAMeasurement);
    }
    let number: f64 = digits.parse().map_err(|_| Fault::NotAMeasurement)?;
    let unit = unit.trim_start();
    let power = match units.iter().find(|u| u.0.eq_ignore_ascii_case(unit)) {
        Some((_, power)) => *power,
        None if unit.is_empty() && number == 0.0 => 0,
        None if unit.is_empty() => return Err(Fault::NoUnit),
        None => return Err(Fault::NotAMeasurement),
    };
    let shifted = match power {
        0 => Ok(number),
        // Shifted as text, because 1.1 * 1000.0 is not 1100.
        power => format!("{digits}e{power}").parse(),
    };
    let value = shifted.map_err(|_| Fault::NotAMeasurement)?;
    value.is_finite().then_some(value).ok_or(Fault::NotFinite)
}

/// The civil time of a date cell, to the millisecond, as Excel keeps it. `None` before the first
/// day, after the year 9999, and for 1900-02-29, which does not exist.
fn civil_of(days: f64, is_1904: bool) -> Option<DateTime> {
    let (ms, last) = (
        milliseconds_of(days)?,
        if is_1904 { 2_957_003 } else { 2_958_465 },
    );
    let (day, ms_of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    // Day number of 1970-01-01 in the cell's date system.
    let unix_epoch = match day {
        d if d < 1 || d > last => return None,
        _ if is_1904 => 24_107,
        60 => return None,
        d if d < 60 => 25_568,
        _ => 25_569,
    };
    let since = SignedDuration::from_hours((day - unix_epoch) * 24);
    let civil = date(1970, 1, 1).at(0, 0, 0, 0).checked_add(since);
    let time_of_day = SignedDuration::from_millis(ms_of_day);
    civil
        .and_then(|midnight| midnight.checked_add(time_of_day))
        .ok()
}

fn milliseconds_of(days: f64) -> Option<i64> {
    let ms = (days * DAY_MS as f64).round();
    (ms.abs() < MAX_EXACT_INTEGER).then_some(ms as i64)
}

/// A number of days in whole seconds, rounded, because 1/86400 is not exact.
fn seconds_of(days: f64) -> Result<i64, Fault> {
    if !days.is_finite() {
        return Err(Fault::NotFinite);
    }
    if !(0.0..LONGEST_ELAPSED_DAYS).contains(&days) {
        return Err(Fault::OutOfRange);
    }
    let ms = milliseconds_of(days).ok_or(Fault::OutOfRange)?;
    Ok((ms + 500) / 1000)
}

/// Reads ASCII from the left.
struct AsciiCursor<'t>(&'t [u8]);

impl AsciiCursor<'_> {
    fn eat(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// One blank or more.
    fn blanks(&mut self) -> Option<()> {
        self.eat(b' ')?;
        self.0 = self.0.trim_ascii_start();
        Some(())
    }

    /// A number of `least` to `most` digits, at most nine.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits.min(most));
        if digits < least {
            return None;
        }
        self.0 = rest;
        Some(number.iter().fold(0, |n, b| n * 10 + u32::from(b - b'0')))
    }

    fn small_number(&mut self, least: usize, most: usize) -> Option<i8> {
        self.number(least, most).and_then(|n| i8::try_from(n).ok())
    }

    /// Up to nine decimals of a second, in nanoseconds.
    fn fraction(&mut self) -> Option<i32> {
        let before = self.0.len();
        let number = self.number(1, 9)?;
        let digits = u32::try_from(before - self.0.len()).ok()?;
        i32::try_from(number * 10u32.pow(9 - digits)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shanghai() -> TimeZone {
        TimeZone::get("Asia/Shanghai").expect("a zone of the bundled database")
    }

    fn t(text: &str) -> Cell<'_> {
        Cell::Text(text.into())
    }

    fn date_cell(days: f64, is_1904: bool) -> Cell<'static> {
        Cell::Date { days, is_1904 }
    }

    #[test]
    fn date_times_are_read_in_all_their_spellings() {
        for text in [
            "2022.07.21 11:01:40 (GMT+08:00)",
            "2022-07-21 11:01:40 (GMT+08:00)",
            "2022/7/21 11:01:40 （GMT+8）",
            " 2022.07.21  11:01:40 ",
            "2022.07.21 11:01:40",
            "2022.07.21 03:01:40 (UTC)",
            "2022.07.21 3:01:40 (GMT)",
            "2022.07.20 22:01:40 (GMT-05:00)",
            "2022.07.21 08:31:40 (UTC+05:30)",
            "2022-07-21T11:01:40+08:00",
            "2022-07-21T11:01:40.000+0800",
            "2022-07-21T03:01:40Z",
        ] {
            let read = time(&t(text), &shanghai()).expect(text).expect(text);
            assert_eq!(read.to_string(), "2022-07-21T03:01:40Z", "{text}");
        }
        let minutes = time(&t("2022.07.21 11:30 (GMT+08:00)"), &TimeZone::UTC);
        let minutes = minutes.expect("a time").expect("a value");
        assert_eq!(minutes.to_string(), "2022-07-21T03:30:00Z");
    }

    #[test]
    fn what_is_no_date_time_is_a_fault() {
        for (text, fault) in [
            ("2022.07.21", Fault::NotATime),
            ("21.07.2022 11:01:40", Fault::NotATime),
            ("2022.07-21 11:01:40", Fault::NotATime),
            ("2022.07.21 11:01:40 PM", Fault::NotATime),
            ("2022.07.21 11:01:40 (GMT+08:00", Fault::NotATime),
            ("2022.07.21 11:01:40 (CST)", Fault::NotATime),
            ("1657767600", Fault::NotATime),
            ("2022.02.30 11:01:40", Fault::OutOfRange),
            ("2022.07.21 24:00:00", Fault::OutOfRange),
            ("2022.07.21 11:01:60", Fault::OutOfRange),
            ("2022.07.21 11:01:40 (GMT+15:00)", Fault::OutOfRange),
        ] {
            assert_eq!(time(&t(text), &shanghai()), Err(fault), "{text}");
        }
        let number = time(&Cell::Number(44_763.4), &shanghai());
        assert_eq!(number, Err(Fault::PlainNumberAsTime));
        let error = time(&Cell::Error("#N/A".into()), &shanghai());
        assert_eq!(error, Err(Fault::FormulaError));
    }

    #[test]
    fn nothing_is_nothing_in_every_typed_column() {
        for text in ["", " ", "-", " -- ", "—", "–", "\u{a0}"] {
            assert_eq!(time(&t(text), &TimeZone::UTC), Ok(None));
            assert_eq!(duration_s(&t(text)), Ok(None));
            assert_eq!(integer(&t(text)), Ok(None));
            assert_eq!(small_integer(&t(text)), Ok(None));
            assert_eq!(unix_time(&t(text)), Ok(None));
            assert_eq!(text_list(&t(text)), Ok(None));
            assert_eq!(boolean(&t(text)), Ok(None));
            assert_eq!(kbps(&t(text)), Ok(None));
            assert_eq!(id(&t(text)), Ok(None));
            assert_eq!(enumeration(&t(text), &[]), Ok(None));
        }
        assert_eq!(super::text(&t("")), Ok(None));
        assert_eq!(super::text(&t(" - ")), Ok(Some(" - ".into())));
    }

    #[test]
    fn a_gap_moves_forward_and_a_fold_is_the_earlier() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        for (civil, instant) in [
            ("2026.03.29 02:30:00", "2026-03-29T01:30:00Z"),
            ("2026.10.25 02:30:00", "2026-10-25T00:30:00Z"),
        ] {
            let read = time(&t(civil), &berlin).expect(civil).expect(civil);
            assert_eq!(read.to_string(), instant);
        }
    }

    #[test]
    fn date_cells_follow_their_epoch() {
        for (days, is_1904, instant) in [
            (46_307.25, false, Some("2026-10-12T06:00:00Z")),
            (46_307.25 - 1_462.0, true, Some("2026-10-12T06:00:00Z")),
            (59.0, false, Some("1900-02-28T00:00:00Z")),
            (61.0, false, Some("1900-03-01T00:00:00Z")),
            (60.0, false, None),
            (60.9, false, None),
            (0.5, false, None),
            (-5.0, false, None),
            (1e300, false, None),
            (f64::NAN, false, None),
            (2_958_463.5, false, Some("9999-12-29T12:00:00Z")),
            (2_958_465.0, false, None),
            (2_958_466.0, false, None),
        ] {
            let read = time(&date_cell(days, is_1904), &TimeZone::UTC);
            let read = read.map(|time| time.map(|time| time.to_string()));
            let expected = instant.map(|i| Some(i.to_owned()));
            assert_eq!(read, expected.ok_or(Fault::OutOfRange), "{days}");
        }
    }

    #[test]
    fn durations_count_seconds() {
        for (text, seconds) in [
            ("00:00:59", 59),
            ("1:00:00", 3_600),
            ("25:00:01", 90_001),
            ("100:00:00", 360_000),
        ] {
            assert_eq!(duration_s(&t(text)), Ok(Some(seconds)), "{text}");
        }
        for (text, fault) in [
            ("01:00", Fault::NotADuration),
            ("3600", Fault::NotADuration),
            ("-01:00:00", Fault::NotADuration),
            ("01:00:00.5", Fault::NotADuration),
            ("00:60:00", Fault::OutOfRange),
        ] {
            assert_eq!(duration_s(&t(text)), Err(fault), "{text}");
        }
        let elapsed = |days| duration_s(&Cell::Elapsed { days });
        assert_eq!(elapsed(25.0 / 24.0), Ok(Some(90_000)));
        assert_eq!(elapsed(f64::NAN), Err(Fault::NotFinite));
        let time_of_day = duration_s(&date_cell(1.0 / 86_400.0, false));
        assert_eq!(time_of_day, Ok(Some(1)));
        let real_date = duration_s(&date_cell(46_307.0, false));
        assert_eq!(real_date, Err(Fault::OutOfRange));
        let number = duration_s(&Cell::Number(0.5));
        assert_eq!(number, Err(Fault::NotADuration));
    }

    #[test]
    fn counts_are_whole_and_not_negative() {
        for (text, number) in [
            ("110", 110),
            ("1,024", 1_024),
            ("12,345,678", 12_345_678),
            (" 2 ", 2),
            ("007", 7),
        ] {
            assert_eq!(integer(&t(text)), Ok(Some(number)), "{text}");
        }
        for (text, fault) in [
            ("1.0", Fault::NotAnInteger),
            ("1,02", Fault::NotAnInteger),
            ("1,0240", Fault::NotAnInteger),
            (",024", Fault::NotAnInteger),
            ("+3", Fault::NotAnInteger),
            ("-3", Fault::Negative),
            ("99999999999999999999", Fault::OutOfRange),
        ] {
            assert_eq!(integer(&t(text)), Err(fault), "{text}");
        }
        assert_eq!(integer(&Cell::Number(110.0)), Ok(Some(110)));
        for (number, fault) in [
            (1.5, Fault::NotAnInteger),
            (-1.0, Fault::Negative),
            (1e17, Fault::OutOfRange),
            (f64::INFINITY, Fault::NotFinite),
            (f64::NAN, Fault::NotFinite),
        ] {
            assert_eq!(integer(&Cell::Number(number)), Err(fault), "{number}");
        }
    }

    #[test]
    fn small_counts_fit_into_32_bits() {
        for (cell, number) in [
            (t("0"), Ok(Some(0))),
            (t("2147483647"), Ok(Some(i32::MAX))),
            (Cell::Number(12.0), Ok(Some(12))),
            (Cell::Empty, Ok(None)),
            (t("2147483648"), Err(Fault::OutOfRange)),
            (Cell::Number(2_147_483_648.0), Err(Fault::OutOfRange)),
            (t("-1"), Err(Fault::Negative)),
            (t("many"), Err(Fault::NotAnInteger)),
        ] {
            assert_eq!(small_integer(&cell), number, "{cell:?}");
        }
    }

    #[test]
    fn unix_seconds_are_instants_and_zero_is_none() {
        let at = |text: &str| Ok(Some(text.parse().expect("an instant")));
        for (cell, instant) in [
            (t("1602000000"), at("2020-10-06T16:00:00Z")),
            (Cell::Number(1_602_000_000.0), at("2020-10-06T16:00:00Z")),
            (t("253402207200"), at("9999-12-30T22:00:00Z")),
            (t("0"), Ok(None)),
            (Cell::Number(0.0), Ok(None)),
            (Cell::Empty, Ok(None)),
            (t("253402300800"), Err(Fault::OutOfRange)),
            (t("1602000000000"), Err(Fault::OutOfRange)),
            (t("99999999999999999999"), Err(Fault::OutOfRange)),
            (t("-1"), Err(Fault::Negative)),
            (t("noon"), Err(Fault::NotAnInteger)),
            (Cell::Number(0.5), Err(Fault::NotAnInteger)),
            (Cell::Bool(true), Err(Fault::NotAnInteger)),
            (Cell::Error("#N/A".into()), Err(Fault::FormulaError)),
        ] {
            assert_eq!(unix_time(&cell), instant, "{cell:?}");
        }
    }

    #[test]
    fn lists_hold_texts_and_the_digits_of_numbers() {
        for (text, texts) in [
            (r#"["a","b"]"#, &["a", "b"][..]),
            (r#" [ "a\"]", "", "-" ] "#, &["a\"]", "", "-"]),
            (
                "[1,\"2\",18446744073709551615]",
                &["1", "2", "18446744073709551615"],
            ),
        ] {
            let texts = texts.iter().map(|text| Some(text.to_string())).collect();
            assert_eq!(text_list(&t(text)), Ok(Some(texts)), "{text}");
        }
        for (cell, outcome) in [
            (t("[]"), Ok(None)),
            (t(" [ ] "), Ok(None)),
            (Cell::Empty, Ok(None)),
            (t("a"), Err(Fault::NotAList)),
            (t("a,b"), Err(Fault::NotAList)),
            (t(r#"["a""#), Err(Fault::NotAList)),
            (t(r#""a""#), Err(Fault::NotAList)),
            (t(r#"{"a":"b"}"#), Err(Fault::NotAList)),
            (t(r#"["a",null]"#), Ok(Some(vec![Some("a".into()), None]))),
            (t("[true]"), Err(Fault::NotAList)),
            (t(r#"[["a"]]"#), Err(Fault::NotAList)),
            (t("[1.5]"), Err(Fault::InexactId)),
            (t("[18446744073709551616]"), Err(Fault::InexactId)),
            (Cell::Number(1.0), Err(Fault::NotAList)),
            (Cell::Error("#N/A".into()), Err(Fault::FormulaError)),
        ] {
            assert_eq!(text_list(&cell), outcome, "{cell:?}");
        }
    }

    #[test]
    fn ids_keep_their_digits() {
        assert_eq!(id(&t(" 0123456789 ")), Ok(Some("0123456789".into())));
        let number = |number| id(&Cell::Number(number)).map(|id| id.map(Cow::into_owned));
        assert_eq!(number(190_924_711.0), Ok(Some("190924711".into())));
        assert_eq!(number(6.937e18), Err(Fault::InexactId));
        assert_eq!(number(0.5), Err(Fault::InexactId));
        assert_eq!(number(f64::NAN), Err(Fault::NotFinite));
        assert_eq!(id(&Cell::Bool(true)), Err(Fault::NotAnId));
        for (written, read) in [
            ("190924\u{200b}711", "190924711"),
            ("\u{202d}190924711\u{202c}", "190924711"),
            ("１９０924711", "190924711"),
            ("190 924 711", "190 924 711"),
            ("ou_a b", "ou_a b"),
            ("甲\u{3000}乙", "甲 乙"),
        ] {
            assert_eq!(id(&t(written)), Ok(Some(read.into())), "{written:?}");
        }
    }

    #[test]
    fn a_meeting_number_is_a_run_of_digits() {
        for (written, read) in [
            ("190924711", Some("190924711")),
            ("1909247110", Some("1909247110")),
            ("7", Some("7")),
            (" 190 924 711 ", Some("190924711")),
            ("1909 247 110", Some("1909247110")),
            ("190\u{a0}924\u{3000}711", Some("190924711")),
            ("190924\u{200b}711", Some("190924711")),
            ("\u{202d}190924711\u{202c}", Some("190924711")),
            ("１９０924711", Some("190924711")),
            ("'190924711", None),
            ("190-924-711", None),
            ("19092471a", None),
            ("+190924711", None),
            ("ID:190924711", None),
            ("19092471.1", None),
        ] {
            let expected = read.map(|read| Some(read.into()));
            let cell = t(written);
            let found = meeting_no(&cell);
            assert_eq!(
                found,
                expected.ok_or(Fault::NotAMeetingNumber),
                "{written:?}"
            );
        }
        let number = |number| meeting_no(&Cell::Number(number)).map(|no| no.map(Cow::into_owned));
        assert_eq!(number(190_924_711.0), Ok(Some("190924711".into())));
        assert_eq!(number(-1.0), Err(Fault::NotAMeetingNumber));
        assert_eq!(number(0.5), Err(Fault::InexactId));
        assert_eq!(meeting_no(&t(" - ")), Ok(None));
    }

    #[test]
    fn texts_in_a_list_stay_as_they_came() {
        let written = "[\"显示器（左）\", \"a\u{3000}b\", \"＂\"]";
        let read = text_list(&t(written)).expect("a list").expect("texts");
        let texts = ["显示器（左）", "a\u{3000}b", "＂"].map(|text| Some(text.to_owned()));
        assert_eq!(read, texts);
    }

    #[test]
    fn blanks_of_any_kind_unseen_marks_and_wide_forms_are_what_they_look_like() {
        let plain = time(&t("2026.10.12 06:10:42 (GMT+08:00)"), &shanghai());
        assert!(matches!(plain, Ok(Some(_))));
        for written in [
            "2026.10.12\u{a0}06:10:42\u{a0}(GMT+08:00)",
            "2026.10.12 06:10:42 (GMT+08:00)\u{200e}",
            "\u{feff}2026.10.12\u{202f}06:10:42 (GMT+08:00)",
            "2026．10．12 06：10：42 （GMT+08:00）",
        ] {
            assert_eq!(time(&t(written), &shanghai()), plain, "{written:?}");
        }
        assert_eq!(duration_s(&t("\u{200f}01:02:03\u{a0}")), Ok(Some(3_723)));
        assert_eq!(integer(&t("１２")), Ok(Some(12)));
        assert_eq!(integer(&t("\u{200b}-\u{200b}")), Ok(None));
        assert_eq!(boolean(&t("是\u{200e}")), Ok(Some(true)));
        assert_eq!(kbps(&t("50\u{a0}kbps")), kbps(&t("50 kbps")));
        // A text column keeps its text as it came.
        let written = "周\u{a0}会\u{200b}";
        assert_eq!(text(&t(written)), Ok(Some(written.into())));
    }

    #[test]
    fn yes_and_no_are_read_in_two_languages() {
        for text in ["是", "yes", "Yes", "TRUE", "1", " 是 "] {
            assert_eq!(boolean(&t(text)), Ok(Some(true)), "{text}");
        }
        for text in ["否", "no", "false", "0"] {
            assert_eq!(boolean(&t(text)), Ok(Some(false)), "{text}");
        }
        assert_eq!(boolean(&t("y")), Err(Fault::NotABool));
        assert_eq!(boolean(&Cell::Number(1.0)), Ok(Some(true)));
        assert_eq!(boolean(&Cell::Number(2.0)), Err(Fault::NotABool));
    }

    #[test]
    fn measurements_carry_their_unit() {
        for (text, value) in [
            ("50kbps", 50.0),
            ("1.2Mbps", 1_200.0),
            ("1.1Mbps", 1_100.0),
            ("800 bps", 0.8),
            ("0", 0.0),
        ] {
            assert_eq!(kbps(&t(text)), Ok(Some(value)), "{text}");
        }
        assert_eq!(milliseconds(&t("5ms")), Ok(Some(5.0)));
        assert_eq!(milliseconds(&t("1.2 s")), Ok(Some(1_200.0)));
        assert_eq!(percent(&t("0.8%")), Ok(Some(0.8)));
        assert_eq!(percent(&t("2 ％")), Ok(Some(2.0)));
        assert_eq!(hours(&t("0.5")), Ok(Some(0.5)));
        assert_eq!(hours(&Cell::Number(0.5)), Ok(Some(0.5)));
        assert_eq!(hours(&Cell::Number(-0.5)), Err(Fault::Negative));
        assert_eq!(hours(&t("0.5h")), Err(Fault::NotAMeasurement));
        for (text, level) in [("6dB", 6.0), ("-12 dB", -12.0), ("0", 0.0)] {
            assert_eq!(decibels(&t(text)), Ok(Some(level)), "{text}");
        }
        assert_eq!(decibels(&t("-")), Ok(None));
        assert!(decibels(&t("--6dB")).is_err() && decibels(&t("6")).is_err());
        assert_eq!(frames_per_second(&t("29.5fps")), Ok(Some(29.5)));
        for (text, fault) in [
            ("50", Fault::NoUnit),
            ("50ms", Fault::NotAMeasurement),
            ("-5kbps", Fault::NotAMeasurement),
            ("NaN", Fault::NotAMeasurement),
            ("1e5kbps", Fault::NotAMeasurement),
            ("5.kbps", Fault::NotAMeasurement),
            ("1.2.3kbps", Fault::NotAMeasurement),
        ] {
            assert_eq!(kbps(&t(text)), Err(fault), "{text}");
        }
        assert_eq!(percent(&Cell::Number(0.02)), Err(Fault::NoUnit));
    }

    #[test]
    fn enumerations_compare_folded() {
        const VALUES: &[EnumValue] = &[
            EnumValue {
                value: "released_manually",
                texts: &["已释放（手动释放）"],
            },
            EnumValue {
                value: "touch_panel",
                texts: &["触屏板", "触屏版", "touch screen"],
            },
        ];
        for (text, index) in [
            ("已释放(手动释放)", Some(0)),
            ("触屏版", Some(1)),
            (" Touch Screen", Some(1)),
            ("触屏", None),
        ] {
            assert_eq!(enumeration(&t(text), VALUES), Ok(Some(index)), "{text}");
        }
    }

    #[test]
    fn what_is_not_text_is_shown_as_a_person_would_see_it() {
        assert_eq!(
            display_text(&date_cell(46_307.25, false)),
            "2026-10-12T06:00:00"
        );
        assert_eq!(display_text(&Cell::Elapsed { days: 1.5 }), "36:00:00");
        assert_eq!(display_text(&Cell::Number(6.937e18)), "6937000000000000000");
        assert_eq!(display_text(&Cell::Bool(true)), "TRUE");
    }

    proptest! {
        #[test]
        fn written_instants_read_back(
            second in -2_000_000_000i64..4_000_000_000,
            quarter_hours in -48i32..=56,
        ) {
            let instant = Timestamp::from_second(second).expect("in range");
            let offset = Offset::from_seconds(quarter_hours * 900).expect("in range");
            let civil = offset.to_datetime(instant);
            let sign = if quarter_hours < 0 { '-' } else { '+' };
            let minutes = quarter_hours.abs() * 15;
            let (hours, minutes) = (minutes / 60, minutes % 60);
            let civil = civil.strftime("%Y.%m.%d %H:%M:%S");
            let written = format!("{civil} (GMT{sign}{hours:02}:{minutes:02})");
            prop_assert_eq!(time(&t(&written), &TimeZone::UTC), Ok(Some(instant)));
        }

        #[test]
        fn civil_times_read_back_in_the_zone(second in 700_000_000i64..4_000_000_000) {
            // Shanghai has had no gap or fold since 1991.
            let instant = Timestamp::from_second(second).expect("in range");
            let written = shanghai().to_datetime(instant).strftime("%Y-%m-%d %H:%M:%S").to_string();
            prop_assert_eq!(time(&t(&written), &shanghai()), Ok(Some(instant)));
        }

        #[test]
        fn serials_read_back(second in -2_000_000_000i64..4_000_000_000) {
            // 1970-01-01 is day 25,569 of the 1900 system; both are past 1904-01-02.
            let days = second as f64 / 86_400.0 + 25_569.0;
            let instant = Timestamp::from_second(second).expect("in range");
            prop_assert_eq!(time(&date_cell(days, false), &TimeZone::UTC), Ok(Some(instant)));
            let of_1904 = date_cell(days - 1_462.0, true);
            prop_assert_eq!(time(&of_1904, &TimeZone::UTC), Ok(Some(instant)));
        }

        #[test]
        fn durations_read_back(seconds in 0i64..31_000_000) {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let written = format!("{hours}:{minutes:02}:{:02}", seconds % 60);
            prop_assert_eq!(duration_s(&t(&written)), Ok(Some(seconds)));
            let days = seconds as f64 / 86_400.0;
            prop_assert_eq!(duration_s(&Cell::Elapsed { days }), Ok(Some(seconds)));
        }

        #[test]
        fn numbers_read_back(number in 0i64..1 << 53) {
            let written = number.to_string();
            prop_assert_eq!(integer(&t(&written)), Ok(Some(number)));
            prop_assert_eq!(integer(&Cell::Number(number as f64)), Ok(Some(number)));
            let cell = Cell::Number(number as f64);
            prop_assert_eq!(id(&cell), Ok(Some(written.into())));
        }

        #[test]
        fn measurements_read_back(thousandths in 0u32..10_000_000) {
            let number = f64::from(thousandths) / 1000.0;
            prop_assert_eq!(kbps(&t(&format!("{number}kbps"))), Ok(Some(number)));
            prop_assert_eq!(percent(&t(&format!("{number}%"))), Ok(Some(number)));
            prop_assert_eq!(kbps(&t(&format!("{number}Mbps"))), Ok(Some(f64::from(thousandths))));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,40}|[0-9.:/ ()+GMTUCZkmbps%,-]{0,40}") {
            let cell = t(&text);
            let _ = (time(&cell, &shanghai()), duration_s(&cell), integer(&cell), boolean(&cell));
            let _ = (id(&cell), super::text(&cell));
            let _ = (kbps(&cell), milliseconds(&cell), percent(&cell));
        }
    }
}
