//! The fast reader: every part is inflated once and scanned byte by byte, straight into cells.
//!
//! ```text
//!   directory ─► package, workbook ─► strings ─► formats ─► sheets ─► RowSink
//!      every other part: inflated once, seen by the same scanner of markup as before
//! ```
//! It reads the shape that exports have and knows nothing else. What it accepts, the careful reader (`container` and `sheet`) accepts, with
//! the same cells bit for bit; wherever that is not certain it gives up with [`Unknown`], and the careful reader reads or refuses the file.
//! So it never refuses anything itself, and a damaged or dangerous workbook has one judge.

mod directory;
mod formats;
mod rows;
mod source;
mod strings;
mod tags;
#[cfg(test)]
mod tests;
mod text;
mod window;
mod workbook;

use std::cell::Cell as Slot;
use std::thread::{self, Scope};

use directory::{Directory, Part};
use formats::{Format, STYLES};
use rows::{Rows, Spent};
pub(super) use source::Source;
use strings::{STRINGS, Strings};
use tags::{Tags, Token};
use window::{Buffers, Pieces, Window};
use workbook::{PACKAGE, RELATIONS, Sheet, WORKBOOK, Workbook};

use super::markup::{Scanner, Tally};
use super::{IgnoredSheet, Limits, SheetRead, Summary, container, sheet};
use crate::contract::Contract;
use crate::table::{Cell, RowSink};

/// Why a workbook is left to the careful reader: what it has that this one does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown(pub(super) &'static str);

/// What is known exactly.
type Known<T> = Result<T, Unknown>;

/// Why a scan stops within the text it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The text ends before the unit does.
    More,
    Unknown(Unknown),
}

impl From<Unknown> for Step {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(unknown)
    }
}

/// Pieces are large enough that rows cut at their ends cost nothing, and small enough for a cache. A thread of its own pays for itself from
/// some milliseconds of inflating.
const PIECES: Pieces = Pieces {
    size: 256 << 10,
    ahead_from: 8 << 20,
};
/// A larger part is no list of relations, sheets or formats.
const MOST_SMALL_PART: u64 = 1 << 20;

/// What is kept from file to file, so that a small one pays for no large piece of memory.
#[derive(Debug, Default)]
struct Kept {
    buffers: Buffers,
    strings: Strings,
    formats: Vec<Format>,
}

thread_local! {
    static KEPT: Slot<Option<Box<Kept>>> = const { Slot::new(None) };
}

/// Reads all sheets of a workbook, as [`super::workbook`] does. On [`Unknown`] the sink may have seen rows.
pub(super) fn read(
    source: Source<'_>,
    contract: &Contract,
    limits: &Limits,
    sink: &mut dyn RowSink,
) -> Known<Summary> {
    read_by(PIECES, source, contract, limits, sink)
}

/// Reads with parts cut into such pieces.
fn read_by(
    pieces: Pieces,
    source: Source<'_>,
    contract: &Contract,
    limits: &Limits,
    sink: &mut dyn RowSink,
) -> Known<Summary> {
    if source.len() as u64 > limits.container_bytes {
        return Err(Unknown("the file is too large"));
    }
    let directory = Directory::of(source)?;
    let parts = directory.parts(limits)?;
    let mut kept = KEPT.take().unwrap_or_default();
    kept.formats.clear();
    let mut run = Run {
        kept: &mut kept,
        parts,
        pieces,
        limits,
        contract,
        tally: Tally::default(),
    };
    let read = thread::scope(|scope| run.read(sink, scope));
    kept.strings.clear();
    KEPT.set(Some(kept));
    read
}

/// One workbook on its way.
struct Run<'r, 'a> {
    kept: &'r mut Kept,
    /// Those that were not read yet.
    parts: Vec<Part<'a>>,
    pieces: Pieces,
    limits: &'r Limits,
    contract: &'r Contract,
    tally: Tally,
}

impl<'a> Run<'_, 'a> {
    fn read<'s>(&mut self, sink: &mut dyn RowSink, scope: &'s Scope<'s, '_>) -> Known<Summary>
    where
        'a: 's,
    {
        let (workbook, sheets) = self.open(scope)?;
        let (limits, pieces) = (self.limits, self.pieces);
        if let Some(part) = self.take(STRINGS)? {
            let Kept {
                buffers, strings, ..
            } = &mut *self.kept;
            strings.read(buffers, part, pieces, limits, scope)?;
            self.tally.add(&Tally::of_strings(strings.len()));
        }
        if let Some(part) = self.take(STYLES)? {
            let mut formats = std::mem::take(&mut self.kept.formats);
            let read = self.small(part, scope, |text| {
                formats::formats(text, limits, &mut formats)
            });
            self.kept.formats = formats;
            read?;
        }
        // What nobody reads is checked before rows are handed over.
        for part in std::mem::take(&mut self.parts) {
            self.check(part, scope)?;
        }
        let mut summary = Summary::default();
        let mut spent = Spent::default();
        for (sheet, part) in workbook.sheets.iter().zip(sheets) {
            match self.sheet(sheet, part, workbook.is_1904, &mut spent, sink, scope)? {
                Ok(read) => summary.sheets.push(read),
                Err(ignored) => summary.ignored.push(ignored),
            }
        }
        let claims = self.tally.check_string_references();
        claims.map_err(|_| Unknown("the strings are not as many as they claim"))?;
        if summary.sheets.is_empty() {
            return Err(Unknown("no sheet has the header"));
        }
        Ok(summary)
    }

    /// Reads what says which sheets there are; gives them with their parts.
    fn open<'s>(&mut self, scope: &'s Scope<'s, '_>) -> Known<(Workbook, Vec<Part<'a>>)>
    where
        'a: 's,
    {
        let package = self.take(PACKAGE)?.ok_or(MISSING)?;
        self.small(package, scope, workbook::check_package)?;
        let relations = self.take(RELATIONS)?.ok_or(MISSING)?;
        let paths = self.small(relations, scope, workbook::sheet_paths)?;
        let book = self.take(WORKBOOK)?.ok_or(MISSING)?;
        let book = self.small(book, scope, |text| workbook::workbook(text, &paths))?;
        let sheets = book.sheets.iter();
        let sheets = sheets.map(|sheet| self.take(&sheet.path)?.ok_or(MISSING));
        let sheets = sheets.collect::<Known<Vec<_>>>()?;
        Ok((book, sheets))
    }

    /// Takes the part with this name out of those that are left. One that differs in case is found by other readers.
    fn take(&mut self, name: &str) -> Known<Option<Part<'a>>> {
        let mut parts = self.parts.iter();
        let Some(at) = parts.position(|part| part.name.eq_ignore_ascii_case(name)) else {
            return Ok(None);
        };
        let part = self.parts.swap_remove(at);
        if part.name != name || !container::is_markup(name) {
            return Err(Unknown("a part's name is unusual"));
        }
        Ok(Some(part))
    }

    /// Reads a part that is held whole.
    fn small<'s, T>(
        &mut self,
        part: Part<'a>,
        scope: &'s Scope<'s, '_>,
        read: impl FnOnce(&str) -> Known<T>,
    ) -> Known<T>
    where
        'a: 's,
    {
        if part.size > MOST_SMALL_PART {
            return Err(Unknown("a part is too large"));
        }
        let mut scanner = Scanner::new(part.name, self.limits);
        let mut window = Window::open(&mut self.kept.buffers, part, self.pieces, scope)?;
        while !window.is_last() {
            window.advance(0)?;
        }
        let text = window.text()?;
        see(&mut scanner, text)?;
        self.tally
            .add(&scanner.finish().map_err(|_| MARKUP_REFUSED)?);
        read(text)
    }

    /// Checks a part whose content is nobody's business.
    fn check<'s>(&mut self, part: Part<'a>, scope: &'s Scope<'s, '_>) -> Known<()>
    where
        'a: 's,
    {
        let mut scanner =
            container::is_markup(part.name).then(|| Scanner::new(part.name, self.limits));
        let mut window = Window::open(&mut self.kept.buffers, part, self.pieces, scope)?;
        loop {
            if let Some(scanner) = &mut scanner {
                scanner.push(window.bytes()).map_err(|_| MARKUP_REFUSED)?;
            }
            if window.is_last() {
                break;
            }
            let used = window.bytes().len();
            window.advance(used)?;
        }
        if let Some(scanner) = scanner {
            self.tally
                .add(&scanner.finish().map_err(|_| MARKUP_REFUSED)?);
        }
        Ok(())
    }

    /// Reads one sheet; what it was, or why it was left.
    fn sheet<'s>(
        &mut self,
        sheet: &Sheet,
        part: Part<'a>,
        is_1904: bool,
        spent: &mut Spent,
        sink: &mut dyn RowSink,
        scope: &'s Scope<'s, '_>,
    ) -> Known<Result<SheetRead, IgnoredSheet>>
    where
        'a: 's,
    {
        let Kept {
            buffers,
            strings,
            formats,
        } = &mut *self.kept;
        let mut scanner = Scanner::new(part.name, self.limits);
        let mut window = Window::open(buffers, part, self.pieces, scope)?;
        let mut is_over = loop {
            match prelude(window.text()?) {
                Err(tags::CUT) if !window.is_last() => window.advance(0)?,
                Err(unknown) => return Err(unknown),
                Ok((used, is_closed)) => {
                    see(&mut scanner, &window.text()?[..used])?;
                    window.advance(used)?;
                    break is_closed;
                }
            }
        };
        let mut rows = Rows::new(strings, formats, is_1904, self.limits, spent);
        let mut receiver = Receiver::new(&sheet.name, self.contract, sink);
        while !is_over {
            let is_last = window.is_last();
            let (used, ended) = rows.scan(window.text()?, is_last, &mut |number, cells| {
                receiver.row(number, cells)
            })?;
            is_over = ended;
            if ended {
                window.release(used)?;
            } else {
                window.advance(used)?;
            }
        }
        // What follows the rows is not read, but must be as harmless as before.
        loop {
            let text = window.text()?;
            see(&mut scanner, text)?;
            if window.is_last() {
                break;
            }
            let used = text.len();
            window.advance(used)?;
        }
        self.tally
            .add(&scanner.finish().map_err(|_| MARKUP_REFUSED)?);
        Ok(receiver.finish())
    }
}

const MISSING: Unknown = Unknown("a part is missing");
const MARKUP_REFUSED: Unknown = Unknown("a part's markup is refused");

fn see(scanner: &mut Scanner<'_>, text: &str) -> Known<()> {
    scanner.push(text.as_bytes()).map_err(|_| MARKUP_REFUSED)
}

/// Walks to the inside of `<sheetData>`; gives how many bytes that were, and whether it is closed at once.
fn prelude(text: &str) -> Known<(usize, bool)> {
    let mut tags = Tags::new(text)?;
    while let Some(token) = tags.next()? {
        let Token::Start(tag) = token else { continue };
        match (tag.depth, tag.local_name()) {
            (1, "worksheet") if tag.name == "worksheet" => {}
            (2, "sheetData") if tag.name == "sheetData" => {
                return Ok((tags.position(), tag.is_closed));
            }
            (2, "dimension") => check_dimension(tag.raw("ref")?)?,
            (1, _) | (_, "worksheet" | "sheetData" | "dimension" | "row" | "c") => {
                return Err(Unknown("a sheet is built in an unusual way"));
            }
            _ => {}
        }
    }
    Err(tags::CUT)
}

/// The dimension is not believed, but other readers compute with it.
fn check_dimension(reference: Option<&str>) -> Known<()> {
    const ODD: Unknown = Unknown("a sheet's dimension is none");
    let mut corners = reference.ok_or(ODD)?.split(':').map(|corner| {
        let digits = corner.trim_start_matches(|c: char| c.is_ascii_uppercase());
        let letters = &corner[..corner.len() - digits.len()];
        let is_plain = (1..=3).contains(&letters.len())
            && (1..=7).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit());
        // Letters without end would be no number.
        if !is_plain {
            return Err(ODD);
        }
        let column = letters
            .bytes()
            .fold(0, |column, b| column * 26 + u32::from(b - b'A') + 1);
        let row = digits.parse::<u32>().map_err(|_| ODD)?;
        Ok((row, column))
    });
    let first = corners.next().transpose()?;
    let second = corners.next().transpose()?;
    let is_ordered = match (first, second) {
        (Some(first), Some(second)) => first.0 <= second.0 && first.1 <= second.1,
        _ => true,
    };
    if corners.next().is_some() || !is_ordered {
        return Err(ODD);
    }
    Ok(())
}

/// Position of the first byte from `at` on that is no blank.
#[inline]
fn blanks(text: &str, at: usize, limits: &Limits) -> Result<usize, Step> {
    if text.as_bytes().get(at) == Some(&b'<') {
        return Ok(at);
    }
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    let length = rest.iter().take_while(|b| is_blank(b)).count();
    if length > limits.text_bytes {
        return Err(Step::Unknown(Unknown("a text is too long")));
    }
    Ok(at + length)
}

/// The text up to the next `<`.
fn text_until_tag<'t>(text: &'t str, limits: &Limits) -> Result<&'t str, Step> {
    let end = memchr::memchr(b'<', text.as_bytes());
    if end.unwrap_or(text.len()) > limits.text_bytes {
        return Err(Step::Unknown(Unknown("a text is too long")));
    }
    end.map(|end| &text[..end]).ok_or(Step::More)
}

/// Takes the rows of one sheet: looks for the header in the first ones, then hands on.
struct Receiver<'k> {
    sheet: &'k str,
    contract: &'k Contract,
    sink: &'k mut dyn RowSink,
    /// Rows that were no header.
    tried: usize,
    /// Rows below the header.
    rows: u64,
    has_header: bool,
}

impl<'k> Receiver<'k> {
    fn new(sheet: &'k str, contract: &'k Contract, sink: &'k mut dyn RowSink) -> Self {
        Self {
            sheet,
            contract,
            sink,
            tried: 0,
            rows: 0,
            has_header: false,
        }
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) -> Known<()> {
        if self.has_header {
            self.sink.row(number + 1, cells);
            self.rows += 1;
        } else if self.tried < sheet::HEADER_WITHIN {
            self.try_header(number, cells)?;
        }
        Ok(())
    }

    fn try_header(&mut self, number: u32, cells: &[Cell<'_>]) -> Known<()> {
        let header = sheet::header_of(self.sheet, number, cells, self.contract);
        if !sheet::missing(&header, self.contract).is_empty() {
            self.tried += 1;
            return Ok(());
        }
        sheet::check_duplicates(&header, number, self.contract)
            .map_err(|_| Unknown("the header names a column twice"))?;
        self.sink.sheet(&header);
        self.has_header = true;
        Ok(())
    }

    fn finish(self) -> Result<SheetRead, IgnoredSheet> {
        let name = self.sheet.to_owned();
        if self.has_header {
            let rows = self.rows;
            return Ok(SheetRead { name, rows });
        }
        let reason = if self.tried < sheet::HEADER_WITHIN {
            sheet::NO_HEADER.to_owned()
        } else {
            sheet::no_header_within()
        };
        Err(IgnoredSheet { name, reason })
    }
}
