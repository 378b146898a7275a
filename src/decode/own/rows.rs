//! Reads the rows inside `<sheetData>`: turns bytes into cells, one row at a time, in a single
//! pass.
//!
//! ```text
//! rows ──<row ‥>──► cells ──<c ‥>──► value ──</c>──► cells ──</row>──► rows ──</sheetData>──► end
//! ```
//! If a row is not complete in the window, it is read again from its start when more text has come.
//! So no state is kept in the middle of a row.

use std::borrow::Cow;
use std::ops::Range;

use super::formats::NumberFormat;
use super::strings::Strings;
use super::text::{Blanks, decode};
use super::{FastResult, ScanStop, Unsupported, skip_blanks, text_until_tag};
use crate::decode::WorkbookLimits;
use crate::decode::sheet::ContentSize;
use crate::table::{Cell, ErrorText};

/// The largest number of rows and of columns in a sheet.
const GRID_SIZE: (u32, u32) = (1_048_576, 16_384);
/// A longer tag is unsupported.
const MAX_TAG_BYTES: usize = 4 << 10;

/// Reads the rows of one sheet.
#[derive(Debug)]
pub(super) struct RowScanner<'x> {
    pub(super) strings: &'x Strings,
    pub(super) formats: &'x [NumberFormat],
    pub(super) is_1904: bool,
    pub(super) limits: &'x WorkbookLimits,
    pub(super) spent: &'x mut ContentSize,
    /// 0-based number of the next row, if that row does not give its own.
    next: u32,
}

/// The type of a cell's value, as its attribute `t` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellType {
    Number,
    Shared,
    Inline,
    Text,
    Bool,
    Error,
}

/// The cells of one row, and how much they hold.
#[derive(Debug, Default)]
struct RowBuffer<'t> {
    cells: Vec<Cell<'t>>,
    /// Columns with shared strings, and the strings' indexes. All are looked up together when the
    /// row is complete.
    shared: Vec<(usize, usize)>,
    /// Where those strings lie in the table.
    spans: Vec<Range<usize>>,
    /// 0-based.
    number: u32,
    /// The row's 1-based number in digits, and a quote: the end of the names of this row's cells.
    digits: [u8; 8],
    digits_mask: u64,
    spent: ContentSize,
}

impl<'x> RowScanner<'x> {
    pub(super) fn new(
        strings: &'x Strings,
        formats: &'x [NumberFormat],
        is_1904: bool,
        limits: &'x WorkbookLimits,
        spent: &'x mut ContentSize,
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

    /// Passes the complete rows at the start of `text` to `each`, with their 0-based number. Rows
    /// without cells are left out. Returns how many bytes were used, and whether the sheet's rows
    /// have ended.
    // As a function of its own it is small enough for all of its parts to be inlined into it.
    #[inline(never)]
    pub(super) fn scan<'t>(
        &mut self,
        text: &'t str,
        is_last: bool,
        each: &mut dyn FnMut(u32, &[Cell<'t>]) -> FastResult<()>,
    ) -> FastResult<(usize, bool)>
    where
        'x: 't,
    {
        let mut row = RowBuffer::default();
        let mut at = 0;
        loop {
            match self.read_row(text, at, &mut row) {
                Ok(None) => return Ok((at, true)),
                Ok(Some(end)) => {
                    self.resolve_shared_strings(&mut row)?;
                    self.end_row(&row)?;
                    if !row.cells.is_empty() {
                        each(row.number, &row.cells)?;
                    }
                    at = end;
                }
                Err(ScanStop::NeedsMore) if !is_last => return Ok((at, false)),
                Err(ScanStop::NeedsMore) => return Err(super::tags::CUT),
                Err(ScanStop::Unsupported(reason)) => return Err(reason),
            }
        }
    }

    /// Puts the shared strings into their cells. The table is larger than any cache, and memory
    /// serves many reads in the time of one if they do not depend on each other. So this reads
    /// first all positions, then one byte of each text, and only then the texts.
    fn resolve_shared_strings<'t>(&self, row: &mut RowBuffer<'t>) -> FastResult<()>
    where
        'x: 't,
    {
        const MISSING: Unsupported = Unsupported("a cell's string is not in the table");
        row.spans.clear();
        let spans = row.shared.iter();
        row.spans
            .extend(spans.map(|(_, index)| self.strings.span(*index)));
        let touched = row.spans.iter().map(|span| self.strings.first_byte(span));
        std::hint::black_box(touched.fold(0, |all, byte| all ^ byte));
        // Column numbers only grow, and the cells in between are already in the row.
        let end = row.shared.last().map_or(0, |(column, _)| column + 1);
        if row.cells.len() < end {
            row.pad_to(end);
        }
        for ((column, _), span) in row.shared.iter().zip(&row.spans) {
            let text = self.strings.text(span.clone()).ok_or(MISSING)?;
            row.spent.text_bytes += text.len() as u64;
            row.cells[*column] = Cell::Text(Cow::Borrowed(text));
        }
        Ok(())
    }

    fn end_row(&mut self, row: &RowBuffer<'_>) -> FastResult<()> {
        self.next = row.number + 1;
        self.spent.cells += row.spent.cells;
        self.spent.places += row.cells.len() as u64;
        self.spent.text_bytes += row.spent.text_bytes;
        if self.spent.cells.max(self.spent.places) > self.limits.cells
            || self.spent.text_bytes > self.limits.total_text_bytes
        {
            return Err(Unsupported("there are too many cells or too much text"));
        }
        Ok(())
    }

    /// Reads the row that begins at `at`. Returns where it ends, or `None` at the end of the rows.
    fn read_row<'t>(
        &self,
        text: &'t str,
        at: usize,
        row: &mut RowBuffer<'t>,
    ) -> Result<Option<usize>, ScanStop>
    where
        'x: 't,
    {
        let bytes = text.as_bytes();
        let at = skip_blanks(text, at, self.limits)?;
        let Ok(at) = skip_expected(bytes, at, b"<row") else {
            skip_expected(bytes, at, b"</sheetData>")?;
            return Ok(None);
        };
        let (mut at, is_closed) = self.begin_row(text, at, row)?;
        if is_closed {
            return Ok(Some(at));
        }
        let mut column = 0;
        loop {
            at = skip_blanks(text, at, self.limits)?;
            match bytes.get(at..at + 3) {
                Some([b'<', b'c', b' ' | b'>' | b'/' | b'\n' | b'\r' | b'\t']) => {
                    at = match self.read_usual_cell(text, at, row, &mut column) {
                        Some(behind) => behind,
                        None => self.read_cell(text, at + 2, row, &mut column)?,
                    };
                }
                Some(b"</r") => return skip_expected(bytes, at, b"</row>").map(Some),
                Some(_) => return unsupported("a row holds something else than cells"),
                None => return Err(ScanStop::NeedsMore),
            }
        }
    }

    /// Reads the rest of the tag after `<row`.
    fn begin_row<'t>(
        &self,
        text: &'t str,
        start: usize,
        row: &mut RowBuffer<'t>,
    ) -> Result<(usize, bool), ScanStop> {
        let mut number = None;
        let (at, is_closed) = attributes(text, start, |key, value| {
            if key != "r" {
                return Ok(());
            }
            let parsed = parse_row_number(value.as_bytes()).filter(|n| *n > 0);
            let parsed = parsed.ok_or(Unsupported("a row's number is malformed"))?;
            match number.replace(parsed - 1) {
                None => Ok(()),
                Some(_) => Err(Unsupported("a row has two numbers")),
            }
        })?;
        row.cells.clear();
        row.shared.clear();
        row.spent = ContentSize::default();
        row.number = number.unwrap_or(self.next);
        if row.number < self.next || row.number >= self.limits.rows.min(GRID_SIZE.0) {
            return unsupported("rows are out of order or too many");
        }
        row.set_digits();
        Ok((at, is_closed))
    }

    /// Reads a cell at the next column that holds a string and has no style. Nearly all cells of an
    /// export are like this. Returns `None` and changes nothing for any other cell, and for an
    /// incomplete one. Then [`Self::read_cell`] reads it or says why not.
    fn read_usual_cell<'t>(
        &self,
        text: &'t str,
        start: usize,
        row: &mut RowBuffer<'t>,
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
            let (index, length) = parse_short_number(index_text)?;
            let behind = index_text.get(length..)?.strip_prefix(b"</v></c>")?;
            row.put_shared(*column, index);
            behind
        } else {
            let inline = rest.strip_prefix(b" t=\"inlineStr\"><is><t>")?;
            let from = bytes.len() - inline.len();
            let raw = text_until_tag(&text[from..], self.limits).ok()?;
            let behind = inline[raw.len()..].strip_prefix(b"</t></is></c>")?;
            let text = decode(raw, Blanks::Trimmed).ok()?;
            row.spent.text_bytes += text.len() as u64;
            row.put(*column, Cell::Text(text));
            behind
        };
        row.spent.cells += 1;
        *column += 1;
        Some(bytes.len() - behind.len())
    }

    /// Reads the rest of a cell after `<c`. `column` is the cell's column if the cell does not name
    /// one. Afterwards it is the column behind the cell.
    fn read_cell<'t>(
        &self,
        text: &'t str,
        start: usize,
        row: &mut RowBuffer<'t>,
        column: &mut u32,
    ) -> Result<usize, ScanStop>
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
                return Err(ScanStop::NeedsMore);
            };
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => at += 1,
                b'>' => break false,
                b'/' => break true,
                _ => {
                    let twice = match bytes.get(at..at + 3) {
                        Some(b"r=\"") => {
                            let (value, end) = row.read_reference(bytes, at + 3)?;
                            at = end;
                            place.replace(value).is_some()
                        }
                        Some(b"t=\"") => {
                            let (value, end) = read_cell_type(bytes, at + 3)?;
                            at = end;
                            kind.replace(value).is_some()
                        }
                        Some(b"s=\"") => {
                            let (value, end) = read_index(bytes, at + 3, b'"')?;
                            at = end + 1;
                            style.replace(value).is_some()
                        }
                        Some([b'r' | b's' | b't', b'=' | b' ' | b'\t' | b'\n' | b'\r', _]) => {
                            return unsupported("a cell is written in an unusual way");
                        }
                        Some(_) => {
                            at = attribute(text, at)?.2;
                            false
                        }
                        None => return Err(ScanStop::NeedsMore),
                    };
                    if twice {
                        return unsupported("a cell has an attribute twice");
                    }
                    check_separated(bytes, at)?;
                }
            }
        };
        if at - start > MAX_TAG_BYTES {
            return unsupported("a tag is too long");
        }
        let place = place.unwrap_or(*column);
        if place < *column || place >= self.limits.columns.min(GRID_SIZE.1) {
            return unsupported("cells are out of order or too many");
        }
        *column = place + 1;
        row.spent.cells += 1;
        if is_closed {
            return skip_expected(bytes, at, b"/>");
        }
        let at = skip_blanks(text, at + 1, self.limits)?;
        match bytes.get(at..at + 4) {
            Some(b"</c>") => return Ok(at + 4),
            // The text may be cut in the middle of `</c>`.
            None => return Err(ScanStop::NeedsMore),
            Some(_) => {}
        }
        let kind = kind.unwrap_or(CellType::Number);
        let at = if kind == CellType::Shared {
            let at = skip_expected(bytes, at, b"<v>")?;
            let (index, at) = read_index(bytes, at, b'<')?;
            row.put_shared(place, index);
            skip_expected(bytes, at, b"</v>")?
        } else {
            let (cell, at) = self.read_value(text, at, kind, style)?;
            match &cell {
                Cell::Empty => {}
                Cell::Text(text) => {
                    row.spent.text_bytes += text.len() as u64;
                    row.put(place, cell);
                }
                _ => row.put(place, cell),
            }
            at
        };
        if bytes.get(at..at + 4) == Some(b"</c>") {
            return Ok(at + 4);
        }
        let at = skip_blanks(text, at, self.limits)?;
        skip_expected(bytes, at, b"</c>")
    }

    fn read_value<'t>(
        &self,
        text: &'t str,
        at: usize,
        kind: CellType,
        style: Option<usize>,
    ) -> Result<(Cell<'t>, usize), ScanStop>
    where
        'x: 't,
    {
        let bytes = text.as_bytes();
        if kind == CellType::Inline {
            return self.read_inline_string(text, at);
        }
        let at = skip_expected(bytes, at, b"<v>")?;
        let raw = text_until_tag(&text[at..], self.limits)?;
        let end = skip_expected(bytes, at + raw.len(), b"</v>")?;
        let cell = match kind {
            CellType::Text => Cell::Text(decode(raw, Blanks::Kept)?),
            CellType::Number if raw.is_empty() => Cell::Empty,
            // The type says that there is a value.
            CellType::Bool | CellType::Error if raw.is_empty() => Cell::Unstored,
            CellType::Bool if raw == "0" => Cell::Bool(false),
            CellType::Bool if raw == "1" => Cell::Bool(true),
            CellType::Number => self.number_cell(raw, style)?,
            CellType::Error => Cell::Error(error_text(raw)?),
            _ => return unsupported("a cell's value is written in an unusual way"),
        };
        Ok((cell, end))
    }

    fn read_inline_string<'t>(
        &self,
        text: &'t str,
        at: usize,
    ) -> Result<(Cell<'t>, usize), ScanStop> {
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
            return Err(ScanStop::NeedsMore);
        } else {
            return unsupported("an inline string is more than a text");
        };
        let raw = text_until_tag(&text[start..], self.limits)?;
        let end = skip_expected(bytes, start + raw.len(), b"</t></is>")?;
        Ok((Cell::Text(decode(raw, blanks)?), end))
    }

    fn number_cell(&self, raw: &str, style: Option<usize>) -> Result<Cell<'static>, ScanStop> {
        let value =
            parse_number(raw).ok_or(Unsupported("a number is written in an unusual way"))?;
        // A number without a style is never a date, whatever the first format is.
        let format = match style {
            Some(style) => self.formats.get(style),
            None => self.formats.first().filter(|first| first.is_padded()),
        };
        Ok(match format {
            None | Some(NumberFormat::Number) => Cell::Number(value),
            Some(NumberFormat::Padded(padding)) => match padding.shown(value) {
                Some(shown) => Cell::Text(Cow::Owned(shown)),
                None => Cell::Number(value),
            },
            Some(NumberFormat::Elapsed) => Cell::Elapsed { days: value },
            Some(NumberFormat::Date) => Cell::Date {
                days: value,
                is_1904: self.is_1904,
            },
        })
    }
}

impl<'t> RowBuffer<'t> {
    /// Sets the digits with which the names of this row's cells end.
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

    /// Reads a cell's name and its closing quote. Returns the 0-based column, and where the name
    /// ends.
    fn read_reference(&self, bytes: &[u8], start: usize) -> Result<(u32, usize), ScanStop> {
        let mut at = start;
        let mut column = 0;
        while let Some(letter @ b'A'..=b'Z') = bytes.get(at) {
            column = column * 26 + u32::from(letter - b'A') + 1;
            at += 1;
            if at - start > 3 {
                return unsupported("a cell is outside of any sheet");
            }
        }
        let Some(digits) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
            return Err(ScanStop::NeedsMore);
        };
        let differs = u64::from_le_bytes(*digits) ^ u64::from_le_bytes(self.digits);
        if differs & self.digits_mask != 0 || column == 0 {
            return unsupported("a cell is in another row than it says");
        }
        Ok((column - 1, at + self.digits_length()))
    }

    /// Length of the number and its quote, bytes.
    fn digits_length(&self) -> usize {
        self.digits_mask.trailing_ones() as usize / 8
    }

    /// Puts a cell at its column. Missing cells to the left become empty ones.
    #[inline]
    fn put(&mut self, column: u32, cell: Cell<'t>) {
        if self.cells.len() != column as usize {
            self.pad_to(column as usize);
        }
        self.cells.push(cell);
    }

    fn pad_to(&mut self, column: usize) {
        self.cells.resize(column, Cell::Empty);
    }

    /// Records a cell whose text is looked up later.
    #[inline]
    fn put_shared(&mut self, column: u32, index: usize) {
        self.shared.push((column as usize, index));
    }
}

/// The letter of a number below 26; `A` for 0.
fn letter(place: u32) -> u8 {
    b'A' + u8::try_from(place).unwrap_or_default()
}

fn unsupported<T>(why: &'static str) -> Result<T, ScanStop> {
    Err(ScanStop::Unsupported(Unsupported(why)))
}

/// The position behind `wanted`, which must be at `at`.
fn skip_expected(bytes: &[u8], at: usize, wanted: &[u8]) -> Result<usize, ScanStop> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.starts_with(wanted) {
        return Ok(at + wanted.len());
    }
    if rest.len() < wanted.len() {
        return Err(ScanStop::NeedsMore);
    }
    unsupported("a sheet is built in an unusual way")
}

/// Walks over the attributes of a tag. Returns where the tag ends, and whether its element is
/// closed at once.
fn attributes<'t>(
    text: &'t str,
    start: usize,
    mut each: impl FnMut(&'t str, &'t str) -> FastResult<()>,
) -> Result<(usize, bool), ScanStop> {
    let bytes = text.as_bytes();
    check_separated(bytes, start)?;
    let mut at = start;
    loop {
        let Some(byte) = bytes.get(at) else {
            return Err(ScanStop::NeedsMore);
        };
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'>' => return Ok((at + 1, false)),
            b'/' => return Ok((skip_expected(bytes, at, b"/>")?, true)),
            _ => {
                let (key, value, end) = attribute(text, at)?;
                each(key, value)?;
                at = end;
                check_separated(bytes, at)?;
            }
        }
        if at - start > MAX_TAG_BYTES {
            return unsupported("a tag is too long");
        }
    }
}

/// Key, value and end of the attribute at `start`.
fn attribute(text: &str, start: usize) -> Result<(&str, &str, usize), ScanStop> {
    let bytes = text.as_bytes();
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-' | b'.');
    let length = bytes[start..].iter().take_while(|b| is_key(b)).count();
    let at = start + length;
    let Some([b'=', quote @ (b'"' | b'\'')]) = bytes.get(at..at + 2) else {
        return if bytes.len() < at + 2 {
            Err(ScanStop::NeedsMore)
        } else {
            unsupported("an attribute is written in an unusual way")
        };
    };
    let value = at + 2;
    for (index, byte) in bytes[value..].iter().enumerate() {
        match byte {
            b if b == quote && length > 0 => {
                let end = value + index;
                return Ok((&text[start..at], &text[value..end], end + 1));
            }
            0 | b'<' => return unsupported("an attribute is written in an unusual way"),
            _ if index > MAX_TAG_BYTES => return unsupported("a tag is too long"),
            _ => {}
        }
    }
    Err(ScanStop::NeedsMore)
}

/// Checks that a blank or the tag's end is at `at`.
fn check_separated(bytes: &[u8], at: usize) -> Result<(), ScanStop> {
    match bytes.get(at) {
        Some(b' ' | b'>' | b'/' | b'\t' | b'\n' | b'\r') => Ok(()),
        Some(_) => unsupported("an attribute is written in an unusual way"),
        None => Err(ScanStop::NeedsMore),
    }
}

/// The type of a cell, and the position behind its closing quote.
fn read_cell_type(bytes: &[u8], at: usize) -> Result<(CellType, usize), ScanStop> {
    let rest = &bytes[at..];
    for (name, kind) in [
        (&b"s\""[..], CellType::Shared),
        (b"inlineStr\"", CellType::Inline),
        (b"n\"", CellType::Number),
        (b"str\"", CellType::Text),
        (b"b\"", CellType::Bool),
        (b"e\"", CellType::Error),
    ] {
        if rest.starts_with(name) {
            return Ok((kind, at + name.len()));
        }
    }
    if rest.len() < b"inlineStr\"".len() {
        return Err(ScanStop::NeedsMore);
    }
    unsupported("a cell's type is unknown")
}

/// Parses one to seven digits that are followed by another byte. Returns their value and how many
/// there are. Eight bytes are handled together, as one integer with the first byte lowest.
#[inline]
fn parse_short_number(bytes: &[u8]) -> Option<(usize, usize)> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let values = u64::from_le_bytes(*bytes.first_chunk()?) ^ ZEROS;
    // The highest bit of a byte is set if it is not a digit. Bytes behind the first such byte do
    // not matter.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let length = others.trailing_zeros() / 8;
    if !(1..8).contains(&length) {
        return None;
    }
    // Puts zeros in front, then joins digits into pairs, and pairs into the result.
    let digits = values << (8 * (8 - length));
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let (odd, even) = (pairs & 0xff_0000_00ff, (pairs >> 16) & 0xff_0000_00ff);
    let sum = odd
        .wrapping_mul(0x000f_4240_0000_0064)
        .wrapping_add(even.wrapping_mul(0x0000_2710_0000_0001));
    Some(((sum >> 32) as usize, length as usize))
}

/// Reads up to nine digits that are followed by `end`. Returns their value and the position of
/// `end`.
#[inline]
fn read_index(bytes: &[u8], start: usize, end: u8) -> Result<(usize, usize), ScanStop> {
    let mut at = start;
    let mut value = 0;
    loop {
        match bytes.get(at) {
            Some(digit @ b'0'..=b'9') if at - start < 9 => {
                value = value * 10 + usize::from(digit - b'0');
            }
            Some(b) if *b == end && at > start => return Ok((value, at)),
            Some(_) => return unsupported("an index is no number"),
            None => return Err(ScanStop::NeedsMore),
        }
        at += 1;
    }
}

/// Parses up to seven digits without a leading zero.
fn parse_row_number(digits: &[u8]) -> Option<u32> {
    let is_plain = (1..=7).contains(&digits.len()) && digits[0] != b'0';
    digits.iter().try_fold(0, |value, digit| {
        (is_plain && digit.is_ascii_digit()).then(|| value * 10 + u32::from(digit - b'0'))
    })
}

/// Parses a decimal number, in a form that every reader understands, to the nearest double.
fn parse_number(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let mut integer = 0;
    for digit in unsigned {
        if !digit.is_ascii_digit() || unsigned.len() > 15 {
            return parse_decimal(text, unsigned);
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

/// Parses a number with a fraction, an exponent or many digits.
fn parse_decimal(text: &str, unsigned: &[u8]) -> Option<f64> {
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

/// The text of a formula's error. Which ones there are grows with the years.
fn error_text(raw: &str) -> FastResult<ErrorText> {
    let is_plain = |b: u8| b == b' ' || (b.is_ascii_graphic() && b != b'&');
    match raw.bytes().all(is_plain) {
        true => Ok(raw.into()),
        false => Err(Unsupported(
            "a formula's error is written in an unusual way",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_short_number;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_are_read_together_as_one_by_one(
            number in 0u32..10_000_000,
            zeros in 0usize..3,
            behind in prop::collection::vec(any::<u8>(), 8),
        ) {
            let text = format!("{}{number}", "0".repeat(zeros));
            let mut bytes = text.clone().into_bytes();
            bytes.extend(&behind);
            let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let expected = (digits < 8).then(|| {
                let value = std::str::from_utf8(&bytes[..digits]).expect("digits").parse();
                (value.expect("few"), digits)
            });
            prop_assert_eq!(parse_short_number(&bytes), expected);
        }

        #[test]
        fn what_is_no_number_is_none(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let is_some = bytes.len() >= 8 && (1..8).contains(&digits);
            prop_assert_eq!(parse_short_number(&bytes).is_some(), is_some);
        }
    }
}
