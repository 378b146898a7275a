//! Checks the markup of one part byte by byte, before a reader builds anything from it.
//!
//! ```text
//!   Text ──'<'──► Tag ──'>' outside of quotes──► Text
//! ```
//! It refuses what makes calamine 0.38 abort, overflow or silently give a wrong value: false
//! counts, cell references that wrap around, string indexes that are no number (read as 0), values
//! with markup inside (cut short), DTDs, and encodings other than UTF-8. What calamine refuses or
//! drops without need, such as an error value of later years or a formula without a value, is odd:
//! it is written in a form that calamine reads, if a copy of the part is asked for. Takes chunks of
//! any size in constant memory. Does not know what the cells mean.

use super::odd_cell::OddCell;
use super::{Error, WorkbookLimits};

/// No valid workbook has a longer tag.
const MAX_TAG: usize = 64 << 10;
/// Deepest nesting of elements. Cells of a sheet are six deep, effects of pictures about thirty.
const MAX_DEPTH: usize = 100;
/// Digits of a string's index. A longer one wraps around in a reader, and no table is that long.
const MAX_INDEX_DIGITS: usize = 10;

/// Most bytes of one cell with all its markup, where it may have to be written in another way.
const MAX_CELL_BYTES: usize = 16 << 20;
/// Relations or sheets of a part. No workbook has as many.
const MAX_LISTED: usize = 10_000;
/// The error values that calamine knows.
const KNOWN_ERRORS: [&[u8]; 7] = [
    b"#DIV/0!", b"#N/A", b"#NAME?", b"#NULL!", b"#NUM!", b"#REF!", b"#VALUE!",
];

/// A relation as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) is_external: bool,
}

/// What was found in one part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartFacts {
    /// Relations, in order.
    pub(super) relations: Vec<Relation>,
    /// Ids of the relations of the sheets, in order.
    pub(super) sheet_ids: Vec<String>,
    /// Whether calamine can only read a copy of the part.
    pub(super) is_odd: bool,
    /// Number of shared strings in the table.
    strings: u64,
    /// Number of shared strings that the table claims to have. A reader would reserve memory for
    /// all of them.
    claimed_strings: u64,
    /// Number of cell formats.
    formats: u64,
    sheet_data: u32,
    worksheet_starts: u32,
    worksheet_ends: u32,
}

/// What a `<v>` may hold. The type of its cell decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AllowedValue {
    /// Index of a shared string.
    Index,
    /// A number or an error: plain characters without entities.
    Plain,
    /// 0 or 1.
    Flag,
    /// Anything.
    Text,
    /// Anything, and character data.
    Run,
}

/// The type of a cell as far as its value depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellKind {
    Index,
    Number,
    Error,
    Flag,
    /// The text of a formula.
    Text,
    Inline,
    Date,
    Unknown,
}

/// A child of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Formula,
    Value,
    Inline,
}

/// The cell that is being read.
#[derive(Clone, Copy, Debug)]
struct OpenCell {
    kind: CellKind,
    /// The last child. calamine goes by it, whatever was before.
    last: Option<Child>,
    has_formula: bool,
    has_value: bool,
    /// Whether the value is more than nothing.
    is_filled: bool,
    has_inline: bool,
    /// Where the cell begins in the copy.
    copied_from: usize,
}

/// Scans one part.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    part: &'a str,
    limits: &'a WorkbookLimits,
    facts: PartFacts,
    /// The tag that is being read, without its `<`.
    tag: Vec<u8>,
    in_tag: bool,
    quote: Option<u8>,
    /// Bytes of text since the last tag.
    text: usize,
    seen: usize,
    cell: Option<OpenCell>,
    /// The reference of the open cell, and its value if it is an error or a date.
    cell_reference: Vec<u8>,
    cell_value: Vec<u8>,
    /// What the open `<v>` may hold.
    value: Option<AllowedValue>,
    value_bytes: usize,
    /// For each open element, where its name begins in `names`.
    open: Vec<usize>,
    names: Vec<u8>,
    /// Whether the part is the table of shared strings.
    has_strings: bool,
    in_string: bool,
    /// The copy so far, if there is to be one.
    copy: Option<Vec<u8>>,
    /// What stands in the copy in place of the tag that was read last, or of the whole cell.
    instead: Option<Instead>,
    in_data: bool,
    /// Number of the last row, from 1, and of the last column in it.
    row: u32,
    column: u32,
}

/// What stands in a copy for something else.
#[derive(Debug)]
struct Instead {
    /// Where what it replaces begins in the copy.
    from: usize,
    text: Vec<u8>,
}

impl<'a> Scanner<'a> {
    /// A scanner that also writes a copy, which calamine can read.
    pub(super) fn copying(part: &'a str, limits: &'a WorkbookLimits) -> Self {
        Self {
            copy: Some(Vec::new()),
            ..Self::new(part, limits)
        }
    }

    /// Takes what was written of the copy since the last call.
    pub(super) fn take_copied(&mut self) -> Result<Vec<u8>, Error> {
        let Some(copy) = &mut self.copy else {
            return Ok(Vec::new());
        };
        let Some(cell) = &mut self.cell else {
            return Ok(std::mem::take(copy));
        };
        // The open cell may still have to be written in another way.
        let rest = copy.split_off(cell.copied_from);
        cell.copied_from = 0;
        let copied = std::mem::replace(copy, rest);
        if copy.len() > MAX_CELL_BYTES {
            return self.refuse(format!("it has a cell of more than {MAX_CELL_BYTES} bytes"));
        }
        Ok(copied)
    }

    pub(super) fn new(part: &'a str, limits: &'a WorkbookLimits) -> Self {
        Self {
            part,
            limits,
            facts: PartFacts::default(),
            tag: Vec::with_capacity(256),
            in_tag: false,
            quote: None,
            text: 0,
            seen: 0,
            cell: None,
            cell_reference: Vec::new(),
            cell_value: Vec::new(),
            value: None,
            value_bytes: 0,
            open: Vec::new(),
            names: Vec::new(),
            has_strings: false,
            in_string: false,
            copy: None,
            instead: None,
            in_data: false,
            row: 0,
            column: 0,
        }
    }

    /// Takes the next bytes of the part.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.check_encoding(chunk)?;
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = if self.in_tag {
                self.take_tag(rest)?
            } else {
                self.take_text(rest)?
            };
        }
        Ok(())
    }

    /// Ends the part and returns what was found in it.
    pub(super) fn finish(mut self) -> Result<PartFacts, Error> {
        if self.in_tag {
            return self.refuse("it ends in the middle of a tag");
        }
        let facts = &self.facts;
        let is_sheet = facts.worksheet_starts > 0 || facts.sheet_data > 0;
        let (starts, ends) = (facts.worksheet_starts, facts.worksheet_ends);
        if is_sheet && ends == 0 {
            return self.refuse("a sheet needs one <worksheet>, closed, with one <sheetData>");
        }
        if !self.open.is_empty() {
            return self.refuse("it ends before all of its elements are closed");
        }
        if is_sheet && (facts.sheet_data, starts, ends) != (1, 1, 1) {
            return self.refuse("a sheet needs one <worksheet>, closed, with one <sheetData>");
        }
        self.facts.is_odd |= facts.claimed_strings > facts.strings;
        Ok(self.facts)
    }

    /// Refuses UTF-16, in which this scanner and some readers would not find the tags.
    fn check_encoding(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let first = self.seen == 0;
        self.seen += chunk.len();
        if first && (chunk.starts_with(&[0xff, 0xfe]) || chunk.starts_with(&[0xfe, 0xff])) {
            return self.refuse("it is UTF-16");
        }
        if memchr::memchr(0, chunk).is_some() {
            return self.refuse("it holds a NUL byte, perhaps it is UTF-16");
        }
        Ok(())
    }

    fn take_text<'c>(&mut self, rest: &'c [u8]) -> Result<&'c [u8], Error> {
        let end = memchr::memchr(b'<', rest);
        let text = &rest[..end.unwrap_or(rest.len())];
        self.text += text.len();
        if self.text > self.limits.text_bytes {
            let most = self.limits.text_bytes;
            return self.refuse(format!("it has a text of more than {most} bytes"));
        }
        self.check_value(text)?;
        if let Some(copy) = &mut self.copy {
            copy.extend_from_slice(text);
        }
        let Some(end) = end else { return Ok(&[]) };
        self.in_tag = true;
        self.text = 0;
        Ok(&rest[end + 1..])
    }

    fn check_value(&mut self, text: &[u8]) -> Result<(), Error> {
        self.value_bytes += text.len();
        if self.value.is_some()
            && let Some(cell) = &mut self.cell
            && cell.last == Some(Child::Value)
        {
            cell.is_filled |= !text.is_empty();
            if matches!(cell.kind, CellKind::Error | CellKind::Date) {
                self.cell_value.extend_from_slice(text);
            }
        }
        match self.value {
            Some(AllowedValue::Index) if !text.iter().all(u8::is_ascii_digit) => {
                self.refuse("a cell's string index is no number")
            }
            Some(AllowedValue::Index) if self.value_bytes > MAX_INDEX_DIGITS => {
                self.refuse("a cell's string index is beyond any table")
            }
            Some(AllowedValue::Plain | AllowedValue::Flag) if text.contains(&b'&') => {
                self.refuse("a cell's number holds an entity")
            }
            Some(AllowedValue::Flag)
                if self.value_bytes > 1 || matches!(text, [byte] if !b"01".contains(byte)) =>
            {
                self.refuse("a cell's boolean is neither 0 nor 1")
            }
            _ => Ok(()),
        }
    }

    fn take_tag<'c>(&mut self, rest: &'c [u8]) -> Result<&'c [u8], Error> {
        let mut rest = rest;
        loop {
            // Bytes before the next quote or end of the tag need no check.
            let next = match self.quote {
                Some(quote) => memchr::memchr(quote, rest),
                None => memchr::memchr3(b'>', b'"', b'\'', rest),
            };
            let plain = next.unwrap_or(rest.len());
            self.tag.extend_from_slice(&rest[..plain]);
            if self.tag.len() > MAX_TAG {
                return self.refuse("it has a tag of more than 64 KiB");
            }
            let Some((&byte, behind)) = rest[plain..].split_first() else {
                return Ok(&[]);
            };
            if byte == b'>' && self.quote.is_none() && self.is_end_of_tag() {
                self.finish_tag()?;
                return Ok(behind);
            }
            self.follow_quotes(byte);
            self.tag.push(byte);
            rest = behind;
        }
    }

    fn follow_quotes(&mut self, byte: u8) {
        match self.quote {
            Some(quote) if quote == byte => self.quote = None,
            None if (byte == b'"' || byte == b'\'')
                && !matches!(self.tag.first(), Some(b'!' | b'?')) =>
            {
                self.quote = Some(byte);
            }
            _ => {}
        }
    }

    /// Whether a `>` here ends the tag. Comments, character data and instructions need more than a
    /// `>`.
    fn is_end_of_tag(&self) -> bool {
        let tag = self.tag.as_slice();
        if tag.starts_with(b"!--") {
            tag.len() >= 5 && tag.ends_with(b"--")
        } else if tag.starts_with(b"![CDATA[") {
            tag.ends_with(b"]]")
        } else if tag.starts_with(b"?") {
            tag.len() >= 2 && tag.ends_with(b"?")
        } else {
            true
        }
    }

    fn finish_tag(&mut self) -> Result<(), Error> {
        let tag = std::mem::take(&mut self.tag);
        let outcome = self.judge(&tag);
        if let Some(copy) = &mut self.copy {
            match self.instead.take() {
                Some(instead) => {
                    copy.truncate(instead.from);
                    copy.extend(instead.text);
                }
                None => {
                    copy.push(b'<');
                    copy.extend_from_slice(&tag);
                    copy.push(b'>');
                }
            }
        }
        self.tag = tag;
        self.tag.clear();
        self.in_tag = false;
        outcome
    }

    fn judge(&mut self, tag: &[u8]) -> Result<(), Error> {
        match tag.first() {
            Some(b'!') if tag.starts_with(b"![CDATA[") => self.judge_character_data(tag),
            Some(b'!') if tag.starts_with(b"!--") => self.check_no_value("a comment"),
            Some(b'!') => self.refuse("it declares a document type"),
            Some(b'?') => self.judge_declaration(tag),
            Some(b'/') => self.judge_end(&tag[1..]),
            _ => self.judge_start(tag),
        }
    }

    /// Character data is text like any other inside of a `<t>`. In a `<v>` readers ignore it.
    fn judge_character_data(&mut self, tag: &[u8]) -> Result<(), Error> {
        if self.value != Some(AllowedValue::Run) {
            return self.check_no_value("character data");
        }
        self.value_bytes += tag.len();
        let most = self.limits.text_bytes;
        if self.value_bytes > most {
            return self.refuse(format!("it has a text of more than {most} bytes"));
        }
        Ok(())
    }

    fn judge_declaration(&mut self, tag: &[u8]) -> Result<(), Error> {
        self.check_no_value("an instruction")?;
        let encoding = attribute(tag, b"encoding").unwrap_or(b"UTF-8");
        if encoding.eq_ignore_ascii_case(b"UTF-8") || encoding.eq_ignore_ascii_case(b"US-ASCII") {
            return Ok(());
        }
        self.refuse("it is not in UTF-8")
    }

    fn judge_end(&mut self, tag: &[u8]) -> Result<(), Error> {
        match (local_name(tag), self.value.take()) {
            (b"v" | b"t", _) => {}
            (_, Some(_)) => return self.refuse("a cell's value is not closed"),
            (b"c", None) => self.end_cell(),
            (b"si", None) => self.in_string = false,
            (b"sheetData", None) => self.in_data = false,
            (b"worksheet", None) => self.facts.worksheet_ends += 1,
            (_, None) => {}
        }
        self.close(tag.trim_ascii_end())
    }

    /// Checks that an end tag closes the element that was opened last. Some readers do not check
    /// that.
    fn close(&mut self, name: &[u8]) -> Result<(), Error> {
        match self.open.pop() {
            Some(start) if self.names[start..] == *name => {
                self.names.truncate(start);
                Ok(())
            }
            _ => self.refuse("it closes an element that is not open"),
        }
    }

    fn open(&mut self, tag: &[u8]) -> Result<(), Error> {
        if self.open.len() == MAX_DEPTH {
            return self.refuse(format!("its elements are more than {MAX_DEPTH} deep"));
        }
        self.open.push(self.names.len());
        self.names.extend(full_name(tag));
        Ok(())
    }

    fn judge_start(&mut self, tag: &[u8]) -> Result<(), Error> {
        self.check_no_value("another element")?;
        let is_closed = tag.ends_with(b"/");
        if !is_closed {
            self.open(tag)?;
        }
        match local_name(tag) {
            b"c" => self.judge_cell(tag, is_closed)?,
            b"v" if self.cell.is_some() => self.judge_value(is_closed)?,
            b"f" | b"is" => {
                let is_formula = local_name(tag) == b"f";
                if let Some(cell) = &mut self.cell {
                    cell.has_formula |= is_formula;
                    cell.has_inline |= !is_formula;
                    cell.last = Some(match is_formula {
                        true => Child::Formula,
                        false => Child::Inline,
                    });
                }
            }
            b"t" if !is_closed && (self.in_data || self.has_strings) => {
                self.value = Some(AllowedValue::Run);
                self.value_bytes = 0;
            }
            b"row" => {
                let [number, _] = self.position_attributes(tag)?;
                self.check_reference(number, false)?;
                self.judge_row(number)?;
            }
            b"dimension" => self.check_dimension(attribute(tag, b"ref"))?,
            b"sheetData" => {
                self.facts.sheet_data += 1;
                self.in_data = !is_closed;
            }
            b"worksheet" => {
                self.facts.worksheet_starts += 1;
                self.facts.worksheet_ends += u32::from(is_closed);
            }
            b"si" if self.in_string => return self.refuse("a string has another string inside"),
            b"si" => {
                self.facts.strings += 1;
                self.in_string = !is_closed;
            }
            b"sheet" => self.note_sheet(tag)?,
            b"sst" => self.judge_table(tag, is_closed),
            b"xf" => self.facts.formats += 1,
            b"Relationship" => self.note_relation(tag)?,
            _ => {}
        }
        self.check_counts()
    }

    fn judge_value(&mut self, is_closed: bool) -> Result<(), Error> {
        let Some(cell) = &mut self.cell else {
            return Ok(());
        };
        cell.last = Some(Child::Value);
        let allowed = allowed_value(cell.kind);
        if std::mem::replace(&mut cell.has_value, true) {
            return self.refuse("a cell has two values");
        }
        self.value = (!is_closed).then_some(allowed);
        self.value_bytes = 0;
        Ok(())
    }

    /// Ends a cell. If calamine would not read what it holds, another cell takes its place.
    fn end_cell(&mut self) {
        let Some(cell) = self.cell.take().filter(|_| self.in_data) else {
            return;
        };
        let Some(odd) = self.odd_cell(cell) else {
            return;
        };
        let instead = self.copy.as_ref().map(|_| Instead {
            from: cell.copied_from,
            text: odd.written(&self.cell_reference),
        });
        self.instead = instead;
        self.facts.is_odd = true;
    }

    /// What the cell is, if calamine would not read it so.
    fn odd_cell(&self, cell: OpenCell) -> Option<OddCell<'_>> {
        let is_value = cell.last == Some(Child::Value);
        match cell.kind {
            CellKind::Error if is_value && cell.is_filled => {
                let is_known = KNOWN_ERRORS.contains(&self.cell_value.as_slice());
                return (!is_known).then_some(OddCell::Error(&self.cell_value));
            }
            CellKind::Date if is_value && cell.is_filled => {
                return Some(OddCell::Date(&self.cell_value));
            }
            _ => {}
        }
        let is_read = match cell.last {
            Some(Child::Inline) => true,
            Some(Child::Value) => match cell.kind {
                CellKind::Inline => false,
                CellKind::Text => true,
                _ => cell.is_filled,
            },
            Some(Child::Formula) | None => false,
        };
        // An empty value says nothing, unless the type says that there is one.
        let is_typed = matches!(
            cell.kind,
            CellKind::Index | CellKind::Flag | CellKind::Error
        );
        let says_something =
            cell.has_formula || cell.has_inline || cell.is_filled || cell.has_value && is_typed;
        (says_something && !is_read).then_some(OddCell::Unstored)
    }

    /// A table that claims more strings than it has is copied without its claim.
    fn judge_table(&mut self, tag: &[u8], is_closed: bool) {
        self.facts.claimed_strings = claimed_count(attribute(tag, b"uniqueCount"));
        self.has_strings = true;
        if let Some(copy) = &self.copy {
            let end: &[u8] = if is_closed { b"/>" } else { b">" };
            self.instead = Some(Instead {
                from: copy.len(),
                text: [b"<", full_name(tag), end].concat(),
            });
        }
    }

    fn judge_cell(&mut self, tag: &[u8], is_closed: bool) -> Result<(), Error> {
        if self.in_data && self.cell.is_some() {
            return self.refuse("a cell has another cell inside");
        }
        let [reference, kind] = self.position_attributes(tag)?;
        self.check_reference(reference, true)?;
        self.cell = (!is_closed).then(|| OpenCell {
            kind: cell_kind(kind),
            last: None,
            has_formula: false,
            has_value: false,
            is_filled: false,
            has_inline: false,
            copied_from: self.copy.as_ref().map_or(0, Vec::len),
        });
        self.cell_value.clear();
        self.cell_reference.clear();
        self.cell_reference.extend(reference.unwrap_or_default());
        if !self.in_data {
            return Ok(());
        }
        let Some(reference) = reference else {
            self.column = self.column.saturating_add(1);
            return Ok(());
        };
        let (column, row) = column_and_row(reference);
        if row != self.row {
            let row = self.row;
            return self.refuse(format!(
                "a cell of row {row} says that it is in another row"
            ));
        }
        if column <= self.column {
            let cell = String::from_utf8_lossy(reference);
            return self.refuse(format!("cell {cell} comes twice or out of order"));
        }
        self.column = column;
        Ok(())
    }

    fn judge_row(&mut self, number: Option<&[u8]>) -> Result<(), Error> {
        if !self.in_data {
            return Ok(());
        }
        let number = number.map_or(self.row.saturating_add(1), |number| {
            column_and_row(number).1
        });
        if number <= self.row {
            return self.refuse(format!("row {number} comes twice or out of order"));
        }
        self.row = number;
        self.column = 0;
        Ok(())
    }

    /// The attributes `r` (position) and `t` (type). Refuses an attribute that comes twice: some
    /// readers take the first and some the last.
    fn position_attributes<'t>(&self, tag: &'t [u8]) -> Result<[Option<&'t [u8]>; 2], Error> {
        let mut found = [None; 2];
        for (key, value) in attributes(tag) {
            let slot = match key {
                b"r" => &mut found[0],
                b"t" => &mut found[1],
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return self.refuse("a cell or row has the same attribute twice");
            }
        }
        Ok(found)
    }

    /// Refuses markup inside a value. Readers would take only the text before it.
    fn check_no_value(&self, what: &str) -> Result<(), Error> {
        match self.value {
            Some(_) => self.refuse(format!("a cell's value has {what} inside")),
            None => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), Error> {
        let limits = self.limits;
        let most = limits.shared_strings;
        if self.facts.strings > most {
            return self.refuse(format!("it has more than {most} strings"));
        }
        if self.facts.formats > limits.formats {
            return self.refuse(format!("it has more than {} cell formats", limits.formats));
        }
        Ok(())
    }

    /// A reference has up to three letters and up to seven digits. A cell's must have letters, a
    /// row's must not. Longer ones wrap around in a reader.
    fn check_reference(&self, reference: Option<&[u8]>, is_cell: bool) -> Result<(), Error> {
        match reference {
            Some(reference) if !is_reference(reference, is_cell) => self.refuse(format!(
                "`{}` is no place in a sheet",
                String::from_utf8_lossy(&reference[..reference.len().min(20)])
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a dimension whose corners are reversed. It overflows in a reader.
    fn check_dimension(&self, reference: Option<&[u8]>) -> Result<(), Error> {
        let Some(reference) = reference else {
            return Ok(());
        };
        let mut corners = reference.split(|&b| b == b':');
        let first = corners.next().unwrap_or_default();
        let last = corners.next().unwrap_or(first);
        self.check_reference(Some(first), true)?;
        self.check_reference(Some(last), true)?;
        let (left, top) = column_and_row(first);
        let (right, bottom) = column_and_row(last);
        if corners.next().is_some() || left > right || top > bottom {
            let shown = String::from_utf8_lossy(&reference[..reference.len().min(40)]);
            return self.refuse(format!("`{shown}` is no place in a sheet"));
        }
        Ok(())
    }

    fn note_relation(&mut self, tag: &[u8]) -> Result<(), Error> {
        let text = |name: &[u8]| self.text_of(attribute(tag, name).unwrap_or_default());
        let relation = Relation {
            id: text(b"Id")?,
            kind: text(b"Type")?,
            target: text(b"Target")?,
            is_external: attribute(tag, b"TargetMode").is_some_and(|mode| mode != b"Internal"),
        };
        self.facts.relations.push(relation);
        self.check_listed(self.facts.relations.len())
    }

    fn note_sheet(&mut self, tag: &[u8]) -> Result<(), Error> {
        let mut ids = attributes(tag).filter(|(key, _)| *key == b"id" || key.ends_with(b":id"));
        let (id, another) = (ids.next(), ids.next());
        if another.is_some() {
            return self.refuse("a sheet has two ids");
        }
        // A sheet without one is refused by its reader, if it is one.
        if let Some((_, id)) = id {
            let id = self.text_of(id)?;
            self.facts.sheet_ids.push(id);
        }
        self.check_listed(self.facts.sheet_ids.len())
    }

    fn check_listed(&self, count: usize) -> Result<(), Error> {
        if count > MAX_LISTED {
            return self.refuse(format!(
                "it lists more than {MAX_LISTED} relations or sheets"
            ));
        }
        Ok(())
    }

    fn text_of(&self, raw: &[u8]) -> Result<String, Error> {
        match str::from_utf8(raw) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.refuse("it is not in UTF-8"),
        }
    }

    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::Part {
            part: self.part.to_owned(),
            reason: reason.into(),
        })
    }
}

fn cell_kind(cell_type: Option<&[u8]>) -> CellKind {
    match cell_type {
        Some(b"s") => CellKind::Index,
        Some(b"n") | None => CellKind::Number,
        Some(b"e") => CellKind::Error,
        Some(b"b") => CellKind::Flag,
        Some(b"str") => CellKind::Text,
        Some(b"inlineStr" | b"is") => CellKind::Inline,
        Some(b"d") => CellKind::Date,
        Some(_) => CellKind::Unknown,
    }
}

const fn allowed_value(kind: CellKind) -> AllowedValue {
    match kind {
        CellKind::Index => AllowedValue::Index,
        CellKind::Number | CellKind::Error => AllowedValue::Plain,
        CellKind::Flag => AllowedValue::Flag,
        CellKind::Text | CellKind::Inline | CellKind::Date | CellKind::Unknown => {
            AllowedValue::Text
        }
    }
}

fn is_reference(reference: &[u8], is_cell: bool) -> bool {
    let letters = reference
        .iter()
        .take_while(|b| b.is_ascii_alphabetic())
        .count();
    let digits = &reference[letters..];
    letters <= 3
        && (letters > 0) == is_cell
        && (1..=7).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && digits[0] != b'0'
}

/// Column (0 if there is none) and row of a valid reference, both from 1.
fn column_and_row(reference: &[u8]) -> (u32, u32) {
    let (mut column, mut row) = (0, 0);
    for &byte in reference {
        if byte.is_ascii_digit() {
            row = row * 10 + u32::from(byte - b'0');
        } else {
            column = column * 26 + u32::from(byte.to_ascii_uppercase() - b'A') + 1;
        }
    }
    (column, row)
}

/// A count as readers understand it. They ignore one that is not a number.
fn claimed_count(count: Option<&[u8]>) -> u64 {
    let digits = count.unwrap_or(b"0");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    // Parsing can only fail because there are too many digits.
    str::from_utf8(digits)
        .ok()
        .and_then(|d| d.parse().ok())
        .unwrap_or(u64::MAX)
}

/// The element's name as it is written.
fn full_name(tag: &[u8]) -> &[u8] {
    let end = tag
        .iter()
        .position(|b| b.is_ascii_whitespace() || *b == b'/')
        .unwrap_or(tag.len());
    &tag[..end]
}

/// The element's name without its prefix.
fn local_name(tag: &[u8]) -> &[u8] {
    let name = full_name(tag);
    name.iter()
        .position(|&b| b == b':')
        .map_or(name, |colon| &name[colon + 1..])
}

/// The value of an attribute, as written, without its quotes.
fn attribute<'t>(tag: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    attributes(tag).find_map(|(key, value)| (key == name).then_some(value))
}

/// Names and values of attributes, as written, without quotes. Stops at the first malformed one.
fn attributes(tag: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let start = tag.iter().position(u8::is_ascii_whitespace);
    let mut rest = &tag[start.unwrap_or(tag.len())..];
    std::iter::from_fn(move || {
        let equals = rest.iter().position(|&b| b == b'=')?;
        let key = rest[..equals].trim_ascii();
        let value = rest[equals + 1..].trim_ascii_start();
        let (&quote, after) = value.split_first()?;
        let end = after.iter().position(|&b| b == quote)?;
        rest = &after[end + 1..];
        Some((key, &after[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(xml: &str, chunk: usize) -> Result<PartFacts, Error> {
        let limits = WorkbookLimits::default();
        let mut scanner = Scanner::new("part.xml", &limits);
        xml.as_bytes()
            .chunks(chunk)
            .try_for_each(|c| scanner.push(c))?;
        scanner.finish()
    }

    fn sheet(cells: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <worksheet><sheetData><row r=\"1\">{cells}</row></sheetData></worksheet>"
        )
    }

    #[test]
    fn chunks_of_any_size_give_the_same() {
        let xml = sheet(
            "<c r=\"A1\" t='s'><v>0</v></c><c r=\"B1\" t=\"str\"><v>a&gt;b</v></c>\
             <!-- > <c> --><x:c a=\">\"/>",
        );
        let whole = scan(&xml, 1 << 20);
        assert!(whole.is_ok(), "{whole:?}");
        for chunk in 1..40 {
            assert_eq!(scan(&xml, chunk), whole);
        }
    }

    #[test]
    fn what_readers_would_misread_is_refused() {
        for (cells, reason) in [
            (
                "<c r=\"A1\" t=\"s\"><v>-1</v></c>",
                "string index is no number",
            ),
            ("<c r=\"A1\" t=\"s\"><v>1<!-- --></v></c>", "comment"),
            (
                "<c r=\"A1\" t=\"str\"><v>1<![CDATA[2]]></v></c>",
                "character data",
            ),
            ("<c r=\"A1\"><v>&#49;</v></c>", "entity"),
            ("<c r=\"A1\"><v>1<b/></v></c>", "another element"),
            ("<c r=\"A1\"><v>1</c>", "not closed"),
            ("<c r=\"A4294967297\"/>", "no place"),
            ("<c r=\"ABCDEFGHIJKL1\"/>", "no place"),
            ("<c r=\"1\"/>", "no place"),
            ("</row><row r=\"12345678901\">", "no place"),
            ("<!DOCTYPE x>", "document type"),
            ("</row></sheetData><sheetData><row>", "one <sheetData>"),
            ("\0", "NUL"),
        ] {
            let error = scan(&sheet(cells), 7).expect_err(cells).to_string();
            assert!(error.contains(reason), "{cells}: {error}");
        }
    }

    #[test]
    fn values_outside_of_cells_are_somebody_elses() {
        assert!(scan("<c:chart><c:v>R&amp;D<b/></c:v></c:chart>", 9).is_ok());
        assert!(scan(&sheet("<c r=\"A1\"/><ext><v>&amp;</v></ext>"), 9).is_ok());
    }

    fn copied(xml: &str, chunk: usize) -> String {
        let limits = WorkbookLimits::default();
        let mut scanner = Scanner::copying("part.xml", &limits);
        let mut copy = Vec::new();
        for piece in xml.as_bytes().chunks(chunk) {
            scanner.push(piece).expect("sound");
            copy.extend(scanner.take_copied().expect("short"));
        }
        scanner.finish().expect("sound");
        String::from_utf8(copy).expect("text")
    }

    #[test]
    fn a_table_is_copied_without_the_number_of_strings_that_it_claims() {
        for (count, is_odd) in [("1", false), ("2", true), ("99999999999999999999999", true)] {
            let xml = format!("<sst count=\"9\" uniqueCount=\"{count}\"><si><t>a</t></si></sst>");
            assert_eq!(scan(&xml, 5).expect("sound").is_odd, is_odd, "{count}");
            assert_eq!(copied(&xml, 5), "<sst><si><t>a</t></si></sst>");
        }
    }

    /// What calamine would refuse or drop, and how it stands in a copy.
    #[test]
    fn odd_cells_are_copied_in_a_form_that_calamine_reads() {
        let unstored = Some("<c r=\"A1\" t=\"d\"><v>?</v></c>");
        for (cell, copy) in [
            ("<c r='A1' t='e'><v>#N/A</v></c>", None),
            (
                "<c r='A1' t='e'><v>#CALC!</v></c>",
                Some("<c r=\"A1\" t=\"d\"><v>!#CALC!</v></c>"),
            ),
            (
                "<c t='e'><v>#CALC!</v></c>",
                Some("<c t=\"d\"><v>!#CALC!</v></c>"),
            ),
            (
                "<c r='A1' t='d'><v>2026-10-12</v></c>",
                Some("<c r=\"A1\" t=\"d\"><v>=2026-10-12</v></c>"),
            ),
            ("<c r='A1'><f>1+1</f></c>", unstored),
            ("<c r='A1'><f>1+1</f><v></v></c>", unstored),
            ("<c r='A1'><f>1+1</f><v/></c>", unstored),
            ("<c r='A1' t='str'><f>1+1</f></c>", unstored),
            ("<c r='A1' t='s'><v/></c>", unstored),
            ("<c r='A1' t='b'><v></v></c>", unstored),
            ("<c r='A1' t='inlineStr'><v>a</v></c>", unstored),
            (
                "<c r='A1' t='inlineStr'><is><t>a</t></is><v>a</v></c>",
                unstored,
            ),
            ("<c r='A1'><v>1</v><f>1</f></c>", unstored),
            ("<c r='A1' t='str'><f>A2</f><v></v></c>", None),
            (
                "<c r='A1' t='inlineStr'><v>a</v><is><t>a</t></is></c>",
                None,
            ),
            ("<c r='A1' t='inlineStr'><is><t>a</t></is></c>", None),
            ("<c r='A1'><f>1+1</f><v>2</v></c>", None),
            ("<c r='A1'><v/></c>", None),
            ("<c r='A1' t='n'><v></v></c>", None),
            ("<c r='A1' t='s'></c>", None),
            ("<c r='A1' t='s'/>", None),
        ] {
            let xml = sheet(&format!("{cell}<c r='B1'><v>7</v></c>"));
            assert_eq!(scan(&xml, 9).expect(cell).is_odd, copy.is_some(), "{cell}");
            let expected = copy.map_or_else(|| xml.clone(), |copy| xml.replace(cell, copy));
            for chunk in [1, 7, 1 << 20] {
                assert_eq!(copied(&xml, chunk), expected, "{chunk}");
            }
        }
    }

    #[test]
    fn foreign_encodings_are_refused() {
        assert!(scan("<?xml version=\"1.0\" encoding=\"GBK\"?><a/>", 9).is_err());
        assert!(scan("<?xml version=\"1.0\" encoding='utf-8'?><a/>", 9).is_ok());
        let utf16: Vec<u8> = "<a/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let limits = WorkbookLimits::default();
        assert!(Scanner::new("p", &limits).push(&utf16).is_err());
    }
}
