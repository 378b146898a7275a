//! The rows between `<sheetData>` and its end: bytes to cells, a row at a time, without looking at anything twice.
//!
//! ```text
//!   rows ──<row ‥>──► cells ──<c ‥>──► value ──</c>──► cells ──</row>──► rows ──</sheetData>──► over
//! ```
//! A row that is not whole in the window is taken again from its start when more has come, so nothing is kept in the middle of one.

use std::borrow::Cow;
use std::ops::Range;

use super::formats::Format;
use super::strings::Strings;
use super::text::{Blanks, decode};
use super::{Known, Step, Unknown, blanks, text_until_tag};
use crate::decode::Limits;
use crate::table::Cell;

/// Rows and columns that a sheet has at most.
const GRID: (u32, u32) = (1_048_576, 16_384);
/// A longer tag has no place here.
const MOST_TAG: usize = 4 << 10;

/// What all sheets have cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    cells: u64,
    text_bytes: u64,
}

/// Reads the rows of one sheet.
#[derive(Debug)]
pub(super) struct Rows<'x> {
    pub(super) strings: &'x Strings,
    pub(super) formats: &'x [Format],
    pub(super) is_1904: bool,
    pub(super) limits: &'x Limits,
    pub(super) spent: &'x mut Spent,
    /// 0-based number of a row that does not name its own.
    next: u32,
}

/// What a cell says its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Shared,
    Inline,
    Text,
    Bool,
    Error,
}

/// The cells of one row and what they cost.
#[derive(Debug, Default)]
struct Row<'t> {
    cells: Vec<Cell<'t>>,
    /// Which columns hold which shared string; they are looked up together when the row is whole.
    shared: Vec<(usize, usize)>,
    /// Where those strings lie.
    spans: Vec<Range<usize>>,
    /// 0-based.
    number: u32,
    /// Number of the row and a quote, as its cells end their names.
    digits: [u8; 8],
    digits_mask: u64,
    spent: Spent,
}

impl<'x> Rows<'x> {
    pub(super) fn new(
        strings: &'x Strings,
        formats: &'x [Format],
        is_1904: bool,
        limits: &'x Limits,
        spent: &'x mut Spent,
    ) -> Self {
        Self {
            strings,
            formats,
            is_1904,
            limits,
            spent,
            next: 0,
        }
    }

    /// Hands the whole rows at the start of `text` to `each`, by their 0-based number; rows without anything in them are left out. Gives
    /// how many bytes they were, and whether the sheet's rows have ended.
    pub(super) fn scan<'t>(
        &mut self,
        text: &'t str,
        is_last: bool,
        each: &mut dyn FnMut(u32, &[Cell<'t>]) -> Known<()>,
    ) -> Known<(usize, bool)>
    where
        'x: 't,
    {
        let mut row = Row::default();
        let mut at = 0;
        loop {
            match self.row(text, at, &mut row) {
                Ok(None) => return Ok((at, true)),
                Ok(Some(end)) => {
                    self.look_up(&mut row)?;
                    self.end_row(&row)?;
                    if !row.cells.is_empty() {
                        each(row.number, &row.cells)?;
                    }
                    at = end;
                }
                Err(Step::More) if !is_last => return Ok((at, false)),
                Err(Step::More) => return Err(super::tags::CUT),
                Err(Step::Unknown(unknown)) => return Err(unknown),
            }
        }
    }

    /// Puts the shared strings into their cells. The table is larger than any cache, and the memory answers many questions in the time of one
    /// if no answer is needed before the next question: so first all places, then a byte of each text, and only then the texts.
    fn look_up<'t>(&self, row: &mut Row<'t>) -> Known<()>
    where
        'x: 't,
    {
        const MISSING: Unknown = Unknown("a cell's string is not in the table");
        row.spans.clear();
        let spans = row.shared.iter();
        row.spans
            .extend(spans.map(|(_, index)| self.strings.span(*index)));
        let touched = row.spans.iter().map(|span| self.strings.touch(span));
        std::hint::black_box(touched.fold(0, |all, byte| all ^ byte));
        // Columns only grow, and the cells between are there already.
        let end = row.shared.last().map_or(0, |(column, _)| column + 1);
        if row.cells.len() < end {
            row.leave_out_until(end);
        }
        for ((column, _), span) in row.shared.iter().zip(&row.spans) {
            let text = self.strings.text(span.clone()).ok_or(MISSING)?;
            row.spent.text_bytes += text.len() as u64;
            row.cells[*column] = Cell::Text(Cow::Borrowed(text));
        }
        Ok(())
    }

    fn end_row(&mut self, row: &Row<'_>) -> Known<()> {
        self.next = row.number + 1;
        self.spent.cells += row.spent.cells;
        self.spent.text_bytes += row.spent.text_bytes;
        if self.spent.cells > self.limits.cells
            || self.spent.text_bytes > self.limits.total_text_bytes
        {
            return Err(Unknown("there are too many cells or too much text"));
        }
        Ok(())
    }

    /// Reads the row that begins at `at`; gives where it ends, `None` at the end of the rows.
    fn row<'t>(&self, text: &'t str, at: usize, row: &mut Row<'t>) -> Result<Option<usize>, Step>
    where
        'x: 't,
    {
        let bytes = text.as_bytes();
        let at = blanks(text, at, self.limits)?;
        let Ok(at) = expect(bytes, at, b"<row") else {
            expect(bytes, at, b"</sheetData>")?;
            return Ok(None);
        };
        let (mut at, is_closed) = self.begin_row(text, at, row)?;
        if is_closed {
            return Ok(Some(at));
        }
        let mut column = 0;
        loop {
            at = blanks(text, at, self.limits)?;
            match bytes.get(at..at + 3) {
                Some([b'<', b'c', b' ' | b'>' | b'/' | b'\n' | b'\r' | b'\t']) => {
                    at = match self.usual_cell(text, at, row, &mut column) {
                        Some(behind) => behind,
                        None => self.cell(text, at + 2, row, &mut column)?,
                    };
                }
                Some(b"</r") => return expect(bytes, at, b"</row>").map(Some),
                Some(_) => return unknown("a row holds something else than cells"),
                None => return Err(Step::More),
            }
        }
    }

    /// Reads what follows `<row`.
    fn begin_row<'t>(
        &self,
        text: &'t str,
        start: usize,
        row: &mut Row<'t>,
    ) -> Result<(usize, bool), Step> {
        let mut number = None;
        let (at, is_closed) = attributes(text, start, |key, value| {
            if key != "r" {
                return Ok(());
            }
            let parsed = small_number(value.as_bytes()).filter(|n| *n > 0);
            let parsed = parsed.ok_or(Unknown("a row's number is none"))?;
            match number.replace(parsed - 1) {
                None => Ok(()),
                Some(_) => Err(Unknown("a row has two numbers")),
            }
        })?;
        row.cells.clear();
        row.shared.clear();
        row.spent = Spent::default();
        row.number = number.unwrap_or(self.next);
        if row.number < self.next || row.number >= self.limits.rows.min(GRID.0) {
            return unknown("rows are out of order or too many");
        }
        row.set_digits();
        Ok((at, is_closed))
    }

    /// Reads a cell at the next column that holds a string and has no style, as nearly all cells of an export are. `None` without a trace
    /// for any other, and for one that is not whole: [`Self::cell`] tells why.
    fn usual_cell<'t>(
        &self,
        text: &'t str,
        start: usize,
        row: &mut Row<'t>,
        column: &mut u32,
    ) -> Option<usize>
    where
        'x: 't,
    {
        let bytes = text.as_bytes();
        let name = bytes.get(start..)?.strip_prefix(b"<c r=\"")?;
        let digits = match *column {
            place @ 0..26 => name.strip_prefix(&[letter(place)])?,
            place @ 26..702 => name.strip_prefix(&[letter(place / 26 - 1), letter(place % 26)])?,
            _ => return None,
        };
        let differs = u64::from_le_bytes(*digits.first_chunk()?) ^ u64::from_le_bytes(row.digits);
        if differs & row.digits_mask != 0 || *column >= self.limits.columns {
            return None;
        }
        let rest = digits.get(row.digits_length()..)?;
        let behind = if let Some(index_text) = rest.strip_prefix(b" t=\"s\"><v>") {
            let (index, length) = few_digits(index_text)?;
            let behind = index_text.get(length..)?.strip_prefix(b"</v></c>")?;
            row.place_shared(*column, index);
            behind
        } else {
            let inline = rest.strip_prefix(b" t=\"inlineStr\"><is><t>")?;
            let from = bytes.len() - inline.len();
            let raw = text_until_tag(&text[from..], self.limits).ok()?;
            let behind = inline[raw.len()..].strip_prefix(b"</t></is></c>")?;
            let text = decode(raw, Blanks::Trimmed).ok()?;
            row.spent.text_bytes += text.len() as u64;
            row.place(*column, Cell::Text(text));
            behind
        };
        row.spent.cells += 1;
        *column += 1;
        Some(bytes.len() - behind.len())
    }

    /// Reads what follows `<c`; `column` is where the cell lies if it does not say, and then the one behind it.
    fn cell<'t>(
        &self,
        text: &'t str,
        start: usize,
        row: &mut Row<'t>,
        column: &mut u32,
    ) -> Result<usize, Step>
    where
        'x: 't,
    {
        let bytes = text.as_bytes();
        let mut at = start;
        let mut place = None;
        let mut style = None;
        let mut kind = None;
        let is_closed = loop {
            let Some(byte) = bytes.get(at) else {
                return Err(Step::More);
            };
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => at += 1,
                b'>' => break false,
                b'/' => break true,
                _ => {
                    let twice = match bytes.get(at..at + 3) {
                        Some(b"r=\"") => {
                            let (value, end) = row.reference(bytes, at + 3)?;
                            at = end;
                            place.replace(value).is_some()
                        }
                        Some(b"t=\"") => {
                            let (value, end) = kind_of(bytes, at + 3)?;
                            at = end;
                            kind.replace(value).is_some()
                        }
                        Some(b"s=\"") => {
                            let (value, end) = index(bytes, at + 3, b'"')?;
                            at = end + 1;
                            style.replace(value).is_some()
                        }
                        Some([b'r' | b's' | b't', b'=' | b' ' | b'\t' | b'\n' | b'\r', _]) => {
                            return unknown("a cell is written in an unusual way");
                        }
                        Some(_) => {
                            at = attribute(text, at)?.2;
                            false
                        }
                        None => return Err(Step::More),
                    };
                    if twice {
                        return unknown("a cell has an attribute twice");
                    }
                    check_separated(bytes, at)?;
                }
            }
        };
        if at - start > MOST_TAG {
            return unknown("a tag is too long");
        }
        let place = place.unwrap_or(*column);
        if place < *column || place >= self.limits.columns.min(GRID.1) {
            return unknown("cells are out of order or too many");
        }
        *column = place + 1;
        row.spent.cells += 1;
        if is_closed {
            return expect(bytes, at, b"/>");
        }
        let at = blanks(text, at + 1, self.limits)?;
        match bytes.get(at..at + 4) {
            Some(b"</c>") => return Ok(at + 4),
            // An end that is cut looks like another element than a value.
            None => return Err(Step::More),
            Some(_) => {}
        }
        let kind = kind.unwrap_or(Kind::Number);
        let at = if kind == Kind::Shared {
            let at = expect(bytes, at, b"<v>")?;
            let (index, at) = index(bytes, at, b'<')?;
            row.place_shared(place, index);
            expect(bytes, at, b"</v>")?
        } else {
            let (cell, at) = self.value(text, at, kind, style)?;
            match &cell {
                Cell::Empty => {}
                Cell::Text(text) => {
                    row.spent.text_bytes += text.len() as u64;
                    row.place(place, cell);
                }
                _ => row.place(place, cell),
            }
            at
        };
        if bytes.get(at..at + 4) == Some(b"</c>") {
            return Ok(at + 4);
        }
        let at = blanks(text, at, self.limits)?;
        expect(bytes, at, b"</c>")
    }

    fn value<'t>(
        &self,
        text: &'t str,
        at: usize,
        kind: Kind,
        style: Option<usize>,
    ) -> Result<(Cell<'t>, usize), Step>
    where
        'x: 't,
    {
        let bytes = text.as_bytes();
        if kind == Kind::Inline {
            return self.inline(text, at);
        }
        let at = expect(bytes, at, b"<v>")?;
        let raw = text_until_tag(&text[at..], self.limits)?;
        let end = expect(bytes, at + raw.len(), b"</v>")?;
        let cell = match kind {
            Kind::Text => Cell::Text(decode(raw, Blanks::Kept)?),
            _ if raw.is_empty() => Cell::Empty,
            Kind::Bool if raw == "0" => Cell::Bool(false),
            Kind::Bool if raw == "1" => Cell::Bool(true),
            Kind::Number => self.number(raw, style)?,
            Kind::Error => Cell::Error(error(raw)?),
            _ => return unknown("a cell's value is written in an unusual way"),
        };
        Ok((cell, end))
    }

    fn inline<'t>(&self, text: &'t str, at: usize) -> Result<(Cell<'t>, usize), Step> {
        const PRESERVED: &[u8] = b"<is><t xml:space=\"preserve\">";
        let bytes = text.as_bytes();
        let rest = &bytes[at..];
        let (start, blanks) = if rest.starts_with(b"<is><t>") {
            (at + b"<is><t>".len(), Blanks::Trimmed)
        } else if rest.starts_with(PRESERVED) {
            (at + PRESERVED.len(), Blanks::Kept)
        } else if rest.starts_with(b"<is><t/></is>") {
            return Ok((Cell::Text(Cow::Borrowed("")), at + b"<is><t/></is>".len()));
        } else if rest.len() < PRESERVED.len() {
            return Err(Step::More);
        } else {
            return unknown("an inline string is more than a text");
        };
        let raw = text_until_tag(&text[start..], self.limits)?;
        let end = expect(bytes, start + raw.len(), b"</t></is>")?;
        Ok((Cell::Text(decode(raw, blanks)?), end))
    }

    fn number(&self, raw: &str, style: Option<usize>) -> Result<Cell<'static>, Step> {
        let value = number(raw).ok_or(Unknown("a number is written in an unusual way"))?;
        // Without a style a number is a number, whatever the first format is.
        let format = style.and_then(|style| self.formats.get(style));
        Ok(match format {
            None | Some(Format::Number) => Cell::Number(value),
            Some(Format::Elapsed) => Cell::Elapsed { days: value },
            Some(Format::Date) => Cell::Date {
                days: value,
                is_1904: self.is_1904,
            },
        })
    }
}

impl<'t> Row<'t> {
    /// Notes how the names of this row's cells end.
    fn set_digits(&mut self) {
        self.digits = [0; 8];
        let mut rest = self.number + 1;
        let mut length = 0;
        while rest > 0 && length < 7 {
            self.digits.copy_within(0..7, 1);
            self.digits[0] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            length += 1;
        }
        self.digits[length] = b'"';
        self.digits_mask = u64::MAX >> (8 * (7 - length));
    }

    /// Reads a cell's name up to and with its quote; gives the 0-based column, and where it ended.
    fn reference(&self, bytes: &[u8], start: usize) -> Result<(u32, usize), Step> {
        let mut at = start;
        let mut column = 0;
        while let Some(letter @ b'A'..=b'Z') = bytes.get(at) {
            column = column * 26 + u32::from(letter - b'A') + 1;
            at += 1;
            if at - start > 3 {
                return unknown("a cell is outside of any sheet");
            }
        }
        let Some(digits) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
            return Err(Step::More);
        };
        let differs = u64::from_le_bytes(*digits) ^ u64::from_le_bytes(self.digits);
        if differs & self.digits_mask != 0 || column == 0 {
            return unknown("a cell is in another row than it says");
        }
        Ok((column - 1, at + self.digits_length()))
    }

    /// How many bytes the number and its quote are.
    fn digits_length(&self) -> usize {
        self.digits_mask.trailing_ones() as usize / 8
    }

    /// Puts a cell at its column; those to the left that are missing are empty.
    #[inline]
    fn place(&mut self, column: u32, cell: Cell<'t>) {
        if self.cells.len() != column as usize {
            self.leave_out_until(column as usize);
        }
        self.cells.push(cell);
    }

    fn leave_out_until(&mut self, column: usize) {
        self.cells.resize(column, Cell::Empty);
    }

    /// Notes a cell whose text is looked up later.
    #[inline]
    fn place_shared(&mut self, column: u32, index: usize) {
        self.shared.push((column as usize, index));
    }
}

/// `A` for 0.
fn letter(place: u32) -> u8 {
    b'A' + u8::try_from(place).unwrap_or_default()
}

fn unknown<T>(why: &'static str) -> Result<T, Step> {
    Err(Step::Unknown(Unknown(why)))
}

/// The position behind `wanted`, which must stand here.
fn expect(bytes: &[u8], at: usize, wanted: &[u8]) -> Result<usize, Step> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.starts_with(wanted) {
        return Ok(at + wanted.len());
    }
    if rest.len() < wanted.len() {
        return Err(Step::More);
    }
    unknown("a sheet is built in an unusual way")
}

/// Walks over the attributes of a tag; gives where it ends, and whether its element is closed at once.
fn attributes<'t>(
    text: &'t str,
    start: usize,
    mut each: impl FnMut(&'t str, &'t str) -> Known<()>,
) -> Result<(usize, bool), Step> {
    let bytes = text.as_bytes();
    check_separated(bytes, start)?;
    let mut at = start;
    loop {
        let Some(byte) = bytes.get(at) else {
            return Err(Step::More);
        };
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'>' => return Ok((at + 1, false)),
            b'/' => return Ok((expect(bytes, at, b"/>")?, true)),
            _ => {
                let (key, value, end) = attribute(text, at)?;
                each(key, value)?;
                at = end;
                check_separated(bytes, at)?;
            }
        }
        if at - start > MOST_TAG {
            return unknown("a tag is too long");
        }
    }
}

/// One attribute and where it ends.
fn attribute(text: &str, start: usize) -> Result<(&str, &str, usize), Step> {
    let bytes = text.as_bytes();
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-' | b'.');
    let length = bytes[start..].iter().take_while(|b| is_key(b)).count();
    let at = start + length;
    let Some([b'=', quote @ (b'"' | b'\'')]) = bytes.get(at..at + 2) else {
        return if bytes.len() < at + 2 {
            Err(Step::More)
        } else {
            unknown("an attribute is written in an unusual way")
        };
    };
    let value = at + 2;
    for (index, byte) in bytes[value..].iter().enumerate() {
        match byte {
            b if b == quote && length > 0 => {
                let end = value + index;
                return Ok((&text[start..at], &text[value..end], end + 1));
            }
            0 | b'<' => return unknown("an attribute is written in an unusual way"),
            _ if index > MOST_TAG => return unknown("a tag is too long"),
            _ => {}
        }
    }
    Err(Step::More)
}

/// Whether a blank or the tag's end stands here.
fn check_separated(bytes: &[u8], at: usize) -> Result<(), Step> {
    match bytes.get(at) {
        Some(b' ' | b'>' | b'/' | b'\t' | b'\n' | b'\r') => Ok(()),
        Some(_) => unknown("an attribute is written in an unusual way"),
        None => Err(Step::More),
    }
}

/// The type of a cell and the position behind its quote.
fn kind_of(bytes: &[u8], at: usize) -> Result<(Kind, usize), Step> {
    let rest = &bytes[at..];
    for (name, kind) in [
        (&b"s\""[..], Kind::Shared),
        (b"inlineStr\"", Kind::Inline),
        (b"n\"", Kind::Number),
        (b"str\"", Kind::Text),
        (b"b\"", Kind::Bool),
        (b"e\"", Kind::Error),
    ] {
        if rest.starts_with(name) {
            return Ok((kind, at + name.len()));
        }
    }
    if rest.len() < b"inlineStr\"".len() {
        return Err(Step::More);
    }
    unknown("a cell's type is unknown")
}

/// One to seven digits with something else behind them; gives their value and how many they are. Eight bytes are looked at together, the
/// first one lowest.
#[inline]
fn few_digits(bytes: &[u8]) -> Option<(usize, usize)> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let values = u64::from_le_bytes(*bytes.first_chunk()?) ^ ZEROS;
    // The highest bit of a byte says that it is no digit; those behind the first such byte do not matter.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let length = others.trailing_zeros() / 8;
    if !(1..8).contains(&length) {
        return None;
    }
    // Zeros in front, then pairs, then both fours.
    let digits = values << (8 * (8 - length));
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let (odd, even) = (pairs & 0xff_0000_00ff, (pairs >> 16) & 0xff_0000_00ff);
    let sum = odd
        .wrapping_mul(0x000f_4240_0000_0064)
        .wrapping_add(even.wrapping_mul(0x0000_2710_0000_0001));
    Some(((sum >> 32) as usize, length as usize))
}

/// Up to nine digits and then `end`; gives their value and where `end` stands.
#[inline]
fn index(bytes: &[u8], start: usize, end: u8) -> Result<(usize, usize), Step> {
    let mut at = start;
    let mut value = 0;
    loop {
        match bytes.get(at) {
            Some(digit @ b'0'..=b'9') if at - start < 9 => {
                value = value * 10 + usize::from(digit - b'0');
            }
            Some(b) if *b == end && at > start => return Ok((value, at)),
            Some(_) => return unknown("an index is no number"),
            None => return Err(Step::More),
        }
        at += 1;
    }
}

/// Up to seven digits without a leading zero.
fn small_number(digits: &[u8]) -> Option<u32> {
    let is_plain = (1..=7).contains(&digits.len()) && digits[0] != b'0';
    digits.iter().try_fold(0, |value, digit| {
        (is_plain && digit.is_ascii_digit()).then(|| value * 10 + u32::from(digit - b'0'))
    })
}

/// A decimal number as every reader understands it, to the nearest double.
fn number(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let mut integer = 0;
    for digit in unsigned {
        if !digit.is_ascii_digit() || unsigned.len() > 15 {
            return decimal(text, unsigned);
        }
        integer = integer * 10 + u64::from(digit - b'0');
    }
    // Up to 15 digits are exact in a double.
    let value = integer as f64;
    let is_number = !unsigned.is_empty();
    is_number.then_some(if unsigned.len() < bytes.len() {
        -value
    } else {
        value
    })
}

/// A number with a fraction or an exponent, or many digits.
fn decimal(text: &str, unsigned: &[u8]) -> Option<f64> {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = &unsigned[digits(unsigned)..];
    if rest.len() == unsigned.len() {
        return None;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = &fraction[digits(fraction)..];
        if rest.len() == fraction.len() {
            return None;
        }
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', digits @ ..] => digits,
            digits => digits,
        };
        rest = &exponent[digits(exponent)..];
        if rest.len() == exponent.len() {
            return None;
        }
    }
    rest.is_empty().then(|| text.parse().ok()).flatten()
}

fn error(raw: &str) -> Known<&'static str> {
    const ERRORS: [&str; 7] = [
        "#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!",
    ];
    ERRORS
        .into_iter()
        .find(|error| *error == raw)
        .ok_or(Unknown("a formula's error is unknown"))
}

#[cfg(test)]
mod tests {
    use super::few_digits;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_are_read_together_as_one_by_one(number in 0u32..10_000_000, zeros in 0usize..3, behind in prop::collection::vec(any::<u8>(), 8)) {
            let text = format!("{}{number}", "0".repeat(zeros));
            let mut bytes = text.clone().into_bytes();
            bytes.extend(&behind);
            let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let expected = (digits < 8).then(|| {
                let value = std::str::from_utf8(&bytes[..digits]).expect("digits").parse();
                (value.expect("few"), digits)
            });
            prop_assert_eq!(few_digits(&bytes), expected);
        }

        #[test]
        fn what_is_no_number_is_none(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let is_some = bytes.len() >= 8 && (1..8).contains(&digits);
            prop_assert_eq!(few_digits(&bytes).is_some(), is_some);
        }
    }
}
