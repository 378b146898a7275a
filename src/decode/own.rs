//! The fast reader: inflates every part once and scans it byte by byte, straight into cells.
//!
//! ```text
//!   directory ─► package, workbook ─► strings ─► formats ─► sheets ─► RowSink
//!      every other part: inflated once, for its sum
//! ```
//! It supports only the shape that exports have. Whatever it accepts, the careful reader
//! (`container` and `sheet`) accepts too, and gives the same cells bit for bit. Where that is not
//! certain, this reader gives up with [`Unsupported`], and the careful reader reads or refuses the
//! file. So this reader never refuses a file: only the careful reader judges damaged or dangerous
//! workbooks.

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

use directory::{ZipDirectory, ZipPart};
use formats::NumberFormat;
use rows::RowScanner;
pub(super) use source::WorkbookBytes;
use strings::Strings;
use tags::{Tags, Token};
use window::{Buffers, InflateOptions, PartWindow};
use workbook::{SheetPart, Workbook, WorkbookRelations};

use super::markup::Scanner;
use super::package;
use super::sheet::ContentSize;
use super::{DecodeSummary, IgnoredSheet, SheetRead, WorkbookLimits, sheet};
use crate::contract::Contract;
use crate::table::{Cell, RowSink};

/// Why a workbook is left to the careful reader: what this reader does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsupported(pub(super) &'static str);

/// A result of the fast reader, which either knows a value exactly or gives up.
type FastResult<T> = Result<T, Unsupported>;

/// Why a scan stops before the end of the unit that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanStop {
    /// The text in the window ends first.
    NeedsMore,
    Unsupported(Unsupported),
}

impl From<Unsupported> for ScanStop {
    fn from(unsupported: Unsupported) -> Self {
        Self::Unsupported(unsupported)
    }
}

/// Pieces are so large that rows cut at their ends cost next to nothing, and small enough for a
/// cache. A thread of its own pays off if inflating takes some milliseconds.
const INFLATE_OPTIONS: InflateOptions = InflateOptions {
    piece_bytes: 256 << 10,
    ahead_from_bytes: 8 << 20,
};
/// No list of relations, sheets or formats is larger.
const MAX_SMALL_PART_BYTES: u64 = 1 << 20;

/// Memory that is reused from file to file, so that a small file needs no large allocation.
#[derive(Debug, Default)]
struct ScanMemory {
    buffers: Buffers,
    strings: Strings,
    formats: Vec<NumberFormat>,
}

thread_local! {
    static SCAN_MEMORY: Slot<Option<Box<ScanMemory>>> = const { Slot::new(None) };
}

/// Reads all sheets of a workbook, as [`super::workbook`] does. After [`Unsupported`] the sink may
/// have seen rows.
pub(super) fn read(
    source: WorkbookBytes<'_>,
    contract: &Contract,
    limits: &WorkbookLimits,
    sink: &mut dyn RowSink,
) -> FastResult<DecodeSummary> {
    read_with_options(INFLATE_OPTIONS, source, contract, limits, sink)
}

/// Reads all sheets, and inflates parts as `options` say.
fn read_with_options(
    options: InflateOptions,
    source: WorkbookBytes<'_>,
    contract: &Contract,
    limits: &WorkbookLimits,
    sink: &mut dyn RowSink,
) -> FastResult<DecodeSummary> {
    if source.len() as u64 > limits.container_bytes {
        return Err(Unsupported("the file is too large"));
    }
    let directory = ZipDirectory::of(source)?;
    let parts = directory.parts(limits)?;
    let mut kept = SCAN_MEMORY.take().unwrap_or_default();
    kept.formats.clear();
    let mut scan = WorkbookScan {
        kept: &mut kept,
        parts,
        options,
        limits,
        contract,
    };
    let read = thread::scope(|scope| scan.read(sink, scope));
    kept.strings.clear();
    SCAN_MEMORY.set(Some(kept));
    read
}

/// The scan of one workbook.
struct WorkbookScan<'r, 'a> {
    kept: &'r mut ScanMemory,
    /// The parts that were not read yet.
    parts: Vec<ZipPart<'a>>,
    options: InflateOptions,
    limits: &'r WorkbookLimits,
    contract: &'r Contract,
}

impl<'a> WorkbookScan<'_, 'a> {
    fn read<'s>(
        &mut self,
        sink: &mut dyn RowSink,
        scope: &'s Scope<'s, '_>,
    ) -> FastResult<DecodeSummary>
    where
        'a: 's,
    {
        let (workbook, relations) = self.open(scope)?;
        let sheets = workbook.sheets.iter();
        let sheets = sheets.map(|sheet| self.take_part(&sheet.path));
        let sheets = sheets.collect::<FastResult<Vec<_>>>()?;
        let (limits, options) = (self.limits, self.options);
        if let Some(part) = self.take_optional_part(relations.strings.as_deref())? {
            let ScanMemory {
                buffers, strings, ..
            } = &mut *self.kept;
            strings.read(buffers, part, options, limits, scope)?;
        }
        if let Some(part) = self.take_optional_part(relations.styles.as_deref())? {
            let mut formats = std::mem::take(&mut self.kept.formats);
            let read = self.read_small_part(part, scope, |text| {
                formats::formats(text, limits, &mut formats)
            });
            self.kept.formats = formats;
            read?;
        }
        // Parts that nobody reads are checked before the first row goes to the sink.
        for part in std::mem::take(&mut self.parts) {
            self.check_unread_part(part, scope)?;
        }
        let mut summary = DecodeSummary::default();
        let mut spent = ContentSize::default();
        for (sheet, part) in workbook.sheets.iter().zip(sheets) {
            match self.read_sheet(sheet, part, workbook.is_1904, &mut spent, sink, scope)? {
                Ok(read) => summary.sheets.push(read),
                Err(ignored) => summary.ignored.push(ignored),
            }
        }
        if summary.sheets.is_empty() {
            return Err(Unsupported("no sheet has the header"));
        }
        Ok(summary)
    }

    /// Reads the parts that list the sheets, and where the relations lead.
    fn open<'s>(&mut self, scope: &'s Scope<'s, '_>) -> FastResult<(Workbook, WorkbookRelations)>
    where
        'a: 's,
    {
        let part = self.take_part(package::PACKAGE)?;
        let path = self.read_small_part(part, scope, workbook::document)?;
        let part = self.take_part(&package::relations_of(&path))?;
        let relations = self.read_small_part(part, scope, |text| {
            workbook::workbook_relations(&path, text)
        })?;
        let part = self.take_part(&path)?;
        let book =
            self.read_small_part(part, scope, |text| workbook::workbook(text, &relations))?;
        Ok((book, relations))
    }

    /// Takes the part with this name out of `parts`.
    fn take_part(&mut self, name: &str) -> FastResult<ZipPart<'a>> {
        self.take_optional_part(Some(name))?.ok_or(MISSING)
    }

    /// Takes the part with this name out of `parts`, if it is there. Other readers ignore case, so
    /// a name that differs in case is unsupported.
    fn take_optional_part(&mut self, name: Option<&str>) -> FastResult<Option<ZipPart<'a>>> {
        let Some(name) = name else { return Ok(None) };
        let mut parts = self.parts.iter();
        let Some(at) = parts.position(|part| part.name.eq_ignore_ascii_case(name)) else {
            return Ok(None);
        };
        let part = self.parts.swap_remove(at);
        if part.name != name {
            return Err(Unsupported("a part's name is unusual"));
        }
        Ok(Some(part))
    }

    /// Reads a small part, which is held in memory as a whole.
    fn read_small_part<'s, T>(
        &mut self,
        part: ZipPart<'a>,
        scope: &'s Scope<'s, '_>,
        read: impl FnOnce(&str) -> FastResult<T>,
    ) -> FastResult<T>
    where
        'a: 's,
    {
        if part.size > MAX_SMALL_PART_BYTES {
            return Err(Unsupported("a part is too large"));
        }
        let mut scanner = Scanner::new(part.name, self.limits);
        let mut window = PartWindow::open(&mut self.kept.buffers, part, self.options, scope)?;
        while !window.is_last() {
            window.advance(0)?;
        }
        let text = window.text()?;
        scan_markup(&mut scanner, text)?;
        scanner.finish().map_err(|_| MARKUP_REFUSED)?;
        read(text)
    }

    /// Checks the sum of a part whose content is not used.
    fn check_unread_part<'s>(
        &mut self,
        part: ZipPart<'a>,
        scope: &'s Scope<'s, '_>,
    ) -> FastResult<()>
    where
        'a: 's,
    {
        let mut window = PartWindow::open(&mut self.kept.buffers, part, self.options, scope)?;
        while !window.is_last() {
            let used = window.bytes().len();
            window.advance(used)?;
        }
        Ok(())
    }

    /// Reads one sheet. Returns what was read, or why the sheet was skipped.
    fn read_sheet<'s>(
        &mut self,
        sheet: &SheetPart,
        part: ZipPart<'a>,
        is_1904: bool,
        spent: &mut ContentSize,
        sink: &mut dyn RowSink,
        scope: &'s Scope<'s, '_>,
    ) -> FastResult<Result<SheetRead, IgnoredSheet>>
    where
        'a: 's,
    {
        let ScanMemory {
            buffers,
            strings,
            formats,
        } = &mut *self.kept;
        let mut scanner = Scanner::new(part.name, self.limits);
        let mut window = PartWindow::open(buffers, part, self.options, scope)?;
        let mut is_over = loop {
            match skip_to_rows(window.text()?) {
                Err(tags::CUT) if !window.is_last() => window.advance(0)?,
                Err(unknown) => return Err(unknown),
                Ok((used, is_closed)) => {
                    scan_markup(&mut scanner, &window.text()?[..used])?;
                    window.advance(used)?;
                    break is_closed;
                }
            }
        };
        let mut rows = RowScanner::new(strings, formats, is_1904, self.limits, spent);
        let mut receiver = SheetReceiver::new(sheet, self.contract, sink);
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
        // What follows the rows is not used, but its markup must be checked too.
        loop {
            let text = window.text()?;
            scan_markup(&mut scanner, text)?;
            if window.is_last() {
                break;
            }
            let used = text.len();
            window.advance(used)?;
        }
        scanner.finish().map_err(|_| MARKUP_REFUSED)?;
        Ok(receiver.finish())
    }
}

const MISSING: Unsupported = Unsupported("a part is missing");
const MARKUP_REFUSED: Unsupported = Unsupported("a part's markup is refused");

fn scan_markup(scanner: &mut Scanner<'_>, text: &str) -> FastResult<()> {
    scanner.push(text.as_bytes()).map_err(|_| MARKUP_REFUSED)
}

/// Walks to the inside of `<sheetData>`. Returns how many bytes that were, and whether the element
/// is closed at once.
fn skip_to_rows(text: &str) -> FastResult<(usize, bool)> {
    let mut tags = Tags::new(text)?;
    while let Some(token) = tags.next()? {
        let Token::Start(tag) = token else { continue };
        match (tag.depth, tag.local_name()) {
            (1, "worksheet") if tag.name == "worksheet" => {}
            (2, "sheetData") if tag.name == "sheetData" => {
                return Ok((tags.position(), tag.is_closed));
            }
            (2, "dimension") => check_dimension(tag.raw_value("ref")?)?,
            (1, _) | (_, "worksheet" | "sheetData" | "dimension" | "row" | "c") => {
                return Err(Unsupported("a sheet is built in an unusual way"));
            }
            _ => {}
        }
    }
    Err(tags::CUT)
}

/// Checks the dimension. It is not used here, but other readers compute with it.
fn check_dimension(reference: Option<&str>) -> FastResult<()> {
    const ODD: Unsupported = Unsupported("a sheet's dimension is malformed");
    let mut corners = reference.ok_or(ODD)?.split(':').map(|corner| {
        let digits = corner.trim_start_matches(|c: char| c.is_ascii_uppercase());
        let letters = &corner[..corner.len() - digits.len()];
        let is_plain = (1..=3).contains(&letters.len())
            && (1..=7).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit());
        // More than three letters could overflow the number.
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

/// Position of the first byte from `at` on that is not a blank.
#[inline]
fn skip_blanks(text: &str, at: usize, limits: &WorkbookLimits) -> Result<usize, ScanStop> {
    if text.as_bytes().get(at) == Some(&b'<') {
        return Ok(at);
    }
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    let length = rest.iter().take_while(|b| is_blank(b)).count();
    if length > limits.text_bytes {
        return Err(ScanStop::Unsupported(Unsupported("a text is too long")));
    }
    Ok(at + length)
}

/// The text up to the next `<`.
fn text_until_tag<'t>(text: &'t str, limits: &WorkbookLimits) -> Result<&'t str, ScanStop> {
    let end = memchr::memchr(b'<', text.as_bytes());
    if end.unwrap_or(text.len()) > limits.text_bytes {
        return Err(ScanStop::Unsupported(Unsupported("a text is too long")));
    }
    end.map(|end| &text[..end]).ok_or(ScanStop::NeedsMore)
}

/// Takes the rows of one sheet: looks for the header in the first ones, then passes rows to the
/// sink.
struct SheetReceiver<'k> {
    sheet: &'k SheetPart,
    contract: &'k Contract,
    sink: &'k mut dyn RowSink,
    /// Rows that were checked and are not the header.
    tried: usize,
    /// Rows below the header.
    rows: u64,
    has_header: bool,
}

impl<'k> SheetReceiver<'k> {
    fn new(sheet: &'k SheetPart, contract: &'k Contract, sink: &'k mut dyn RowSink) -> Self {
        Self {
            sheet,
            contract,
            sink,
            tried: 0,
            rows: 0,
            has_header: false,
        }
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) -> FastResult<()> {
        if self.has_header {
            self.sink.row(number + 1, cells);
            self.rows += 1;
        } else if self.tried < sheet::HEADER_WITHIN {
            self.try_header(number, cells)?;
        }
        Ok(())
    }

    fn try_header(&mut self, number: u32, cells: &[Cell<'_>]) -> FastResult<()> {
        let header = sheet::header_of(&self.sheet.name, number, cells, self.contract);
        if !sheet::missing_keys(&header, self.contract).is_empty() {
            self.tried += 1;
            self.sink.above(&self.sheet.name, cells);
            return Ok(());
        }
        sheet::check_duplicates(&header, number, self.contract)
            .map_err(|_| Unsupported("the header names a column twice"))?;
        self.sink.sheet(&header);
        self.has_header = true;
        Ok(())
    }

    fn finish(self) -> Result<SheetRead, IgnoredSheet> {
        let name = self.sheet.name.clone();
        if self.has_header {
            return Ok(SheetRead {
                name,
                rows: self.rows,
                is_hidden: self.sheet.is_hidden,
            });
        }
        let reason = if self.tried < sheet::HEADER_WITHIN {
            sheet::NO_HEADER.to_owned()
        } else {
            sheet::no_header_within()
        };
        Err(IgnoredSheet { name, reason })
    }
}
