//! Rows of text become a workbook as the Go library excelize writes it: the sheet first, data descriptors behind every part, empty texts
//! as cells, `<dimension ref="A1">`; with a shared string table, or with inline strings as its stream writer has them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::str::FromStr;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc, Decompress, FlushDecompress};

/// Where texts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strings {
    Shared,
    Inline,
}

impl FromStr for Strings {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "shared" => Ok(Self::Shared),
            "inline" => Ok(Self::Inline),
            _ => anyhow::bail!("STRINGS is `shared` or `inline`, not `{text}`"),
        }
    }
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";

/// Writes the workbook.
pub(crate) fn write(
    out: &mut impl Write,
    header: Vec<String>,
    rows: impl Iterator<Item = Vec<String>>,
    strings: Strings,
) -> io::Result<()> {
    let mut zip = Zip::new(out);
    let mut table = Table::default();
    zip.part("xl/worksheets/sheet1.xml", |sheet| {
        write!(
            sheet,
            "{XML}<worksheet xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONS}\"><dimension ref=\"A1\"></dimension><sheetViews>\
             <sheetView tabSelected=\"true\" workbookViewId=\"0\"></sheetView></sheetViews><sheetFormatPr defaultRowHeight=\"15\">\
             </sheetFormatPr><sheetData>"
        )?;
        let letters: Vec<String> = (0..header.len()).map(column_name).collect();
        let mut line = String::new();
        for (number, row) in (1u32..).zip(std::iter::once(header).chain(rows)) {
            line.clear();
            write_row(&mut line, number, &row, &letters, strings, &mut table);
            sheet.write_all(line.as_bytes())?;
        }
        write!(sheet, "</sheetData></worksheet>")
    })?;
    zip.part("xl/workbook.xml", |part| {
        write!(
            part,
            "{XML}<workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONS}\"><workbookPr filterPrivacy=\"true\"></workbookPr><sheets>\
             <sheet name=\"Sheet1\" sheetId=\"1\" r:id=\"rId1\"></sheet></sheets></workbook>"
        )
    })?;
    zip.part("xl/styles.xml", |part| {
        write!(
            part,
            "{XML}<styleSheet xmlns=\"{MAIN}\"><fonts count=\"1\"><font><name val=\"Calibri\"></name><sz val=\"11\"></sz></font></fonts>\
             <fills count=\"1\"><fill><patternFill patternType=\"none\"></patternFill></fill></fills><borders count=\"1\"><border></border>\
             </borders><cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\"></xf></cellStyleXfs>\
             <cellXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\"></xf></cellXfs></styleSheet>"
        )
    })?;
    if strings == Strings::Shared {
        zip.part("xl/sharedStrings.xml", |part| table.write(part))?;
    }
    let shared = strings == Strings::Shared;
    zip.part("xl/_rels/workbook.xml.rels", |part| {
        write!(part, "{XML}<Relationships xmlns=\"{PACKAGE}/relationships\">")?;
        let kinds = [("worksheet", "worksheets/sheet1.xml"), ("styles", "styles.xml"), ("sharedStrings", "sharedStrings.xml")];
        for (id, (kind, target)) in (1..).zip(&kinds[..if shared { 3 } else { 2 }]) {
            write!(part, "<Relationship Id=\"rId{id}\" Type=\"{RELATIONS}/{kind}\" Target=\"{target}\"></Relationship>")?;
        }
        write!(part, "</Relationships>")
    })?;
    zip.part("_rels/.rels", |part| {
        write!(
            part,
            "{XML}<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"rId1\" Type=\"{RELATIONS}/officeDocument\" \
             Target=\"xl/workbook.xml\"></Relationship></Relationships>"
        )
    })?;
    zip.part("[Content_Types].xml", |part| {
        let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml";
        write!(
            part,
            "{XML}<Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"rels\" \
             ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"></Default><Default Extension=\"xml\" \
             ContentType=\"application/xml\"></Default><Override PartName=\"/xl/workbook.xml\" ContentType=\"{kind}.sheet.main+xml\"></Override>\
             <Override PartName=\"/xl/worksheets/sheet1.xml\" ContentType=\"{kind}.worksheet+xml\"></Override>\
             <Override PartName=\"/xl/styles.xml\" ContentType=\"{kind}.styles+xml\"></Override>"
        )?;
        if shared {
            write!(part, "<Override PartName=\"/xl/sharedStrings.xml\" ContentType=\"{kind}.sharedStrings+xml\"></Override>")?;
        }
        write!(part, "</Types>")
    })?;
    zip.finish()
}

fn write_row(
    line: &mut String,
    number: u32,
    cells: &[String],
    letters: &[String],
    strings: Strings,
    table: &mut Table,
) {
    let number = number.to_string();
    let mut push = |texts: &[&str]| texts.iter().for_each(|text| line.push_str(text));
    push(&["<row r=\"", &number, "\">"]);
    for (letters, text) in letters.iter().zip(cells) {
        match strings {
            Strings::Shared => {
                let index = table.index(text).to_string();
                push(&[
                    "<c r=\"",
                    letters,
                    &number,
                    "\" t=\"s\"><v>",
                    &index,
                    "</v></c>",
                ]);
            }
            Strings::Inline => {
                push(&["<c r=\"", letters, &number, "\" t=\"inlineStr\"><is>"]);
                push(&[opening(text), &escaped(text), "</t></is></c>"]);
            }
        }
    }
    push(&["</row>"]);
}

fn column_name(index: usize) -> String {
    let letter = |n: usize| char::from(b'A' + u8::try_from(n).expect("a letter"));
    match index / 26 {
        0 => letter(index).to_string(),
        first => format!("{}{}", letter(first - 1), letter(index % 26)),
    }
}

fn opening(text: &str) -> &'static str {
    if text.trim() == text {
        "<t>"
    } else {
        "<t xml:space=\"preserve\">"
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\n' => escaped.push_str("&#xA;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The shared strings, in the order of their first use.
#[derive(Debug, Default)]
struct Table {
    indexes: HashMap<String, u32>,
    xml: String,
}

impl Table {
    fn index(&mut self, text: &str) -> u32 {
        if let Some(index) = self.indexes.get(text) {
            return *index;
        }
        let next = u32::try_from(self.indexes.len()).expect("fewer texts than four billion");
        self.indexes.insert(text.to_owned(), next);
        for piece in ["<si>", opening(text), &escaped(text), "</t></si>"] {
            self.xml.push_str(piece);
        }
        next
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = self.indexes.len();
        write!(
            out,
            "{XML}<sst xmlns=\"{MAIN}\" count=\"{count}\" uniqueCount=\"{count}\">"
        )?;
        out.write_all(self.xml.as_bytes())?;
        write!(out, "</sst>")
    }
}

/// A zip as Go's `archive/zip` writes it: sizes and CRC behind the data, no date.
struct Zip<'o, W: Write> {
    out: Counting<'o, W>,
    directory: Vec<u8>,
    entries: u16,
}

impl<'o, W: Write> Zip<'o, W> {
    fn new(out: &'o mut W) -> Self {
        let out = Counting { out, count: 0 };
        Self {
            out,
            directory: Vec::new(),
            entries: 0,
        }
    }

    fn part(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let offset = small(self.out.count)?;
        // Version 2.0, a data descriptor follows, deflated, no date.
        let fixed = [20u8, 0, 8, 0, 8, 0, 0, 0, 0, 0];
        let length = u16::try_from(name.len())
            .expect("names are short")
            .to_le_bytes();
        self.out.write_all(b"PK\x03\x04")?;
        self.out.write_all(&fixed)?;
        self.out.write_all(&[0; 12])?;
        self.out.write_all(&length)?;
        self.out.write_all(&[0; 2])?;
        self.out.write_all(name.as_bytes())?;
        let start = self.out.count;
        let (crc, size) = deflate(&mut self.out, fill)?;
        let mut sizes = crc.to_le_bytes().to_vec();
        sizes.extend(small(self.out.count - start)?.to_le_bytes());
        sizes.extend(small(size)?.to_le_bytes());
        self.out.write_all(b"PK\x07\x08")?;
        self.out.write_all(&sizes)?;
        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(fixed);
        self.directory.extend(&sizes);
        self.directory.extend(length);
        self.directory.extend([0; 12]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let offset = small(self.out.count)?;
        self.out.write_all(&self.directory)?;
        self.out.write_all(b"PK\x05\x06\x00\x00\x00\x00")?;
        let entries = self.entries.to_le_bytes();
        self.out.write_all(&[entries, entries].concat())?;
        self.out
            .write_all(&small(self.directory.len() as u64)?.to_le_bytes())?;
        self.out.write_all(&offset.to_le_bytes())?;
        self.out.write_all(&[0; 2])
    }
}

/// Deflates what `fill` writes; gives its CRC and size.
fn deflate(
    out: impl Write,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(u32, u64)> {
    let encoder = DeflateEncoder::new(out, Compression::new(6));
    let mut checked = Checked {
        out: io::BufWriter::with_capacity(1 << 16, encoder),
        crc: Crc::new(),
        size: 0,
    };
    fill(&mut checked)?;
    checked.out.into_inner()?.finish()?;
    Ok((checked.crc.sum(), checked.size))
}

fn small(size: u64) -> io::Result<u32> {
    u32::try_from(size).map_err(|_| io::Error::other("a zip without extensions ends at 4 GiB"))
}

struct Counting<'o, W: Write> {
    out: &'o mut W,
    count: u64,
}

impl<W: Write> Write for Counting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Checked<W: Write> {
    out: W,
    crc: Crc,
    size: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Inflates the parts of a workbook of [`write()`] one after the other, in a window of 64 KiB, and gives their size; no CRC.
pub(crate) fn inflate(zip: &[u8]) -> anyhow::Result<u64> {
    let mut window = vec![0; 1 << 16];
    let (mut rest, mut total) = (zip, 0);
    while let Some(local) = rest.strip_prefix(b"PK\x03\x04") {
        let name = local
            .get(22..24)
            .map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
        let data = name.and_then(|name| local.get(26 + name..));
        let data = data.ok_or_else(|| anyhow::anyhow!("a part's header is cut"))?;
        let mut inflater = Decompress::new(false);
        loop {
            let at = usize::try_from(inflater.total_in())?;
            let status = inflater.decompress(&data[at..], &mut window, FlushDecompress::None)?;
            std::hint::black_box(&window);
            match status {
                flate2::Status::StreamEnd => break,
                flate2::Status::Ok => {}
                flate2::Status::BufError => anyhow::bail!("a part is cut"),
            }
        }
        total += inflater.total_out();
        let descriptor = usize::try_from(inflater.total_in())?;
        rest = data.get(descriptor + 16..).unwrap_or_default();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_inflates_what_was_written() {
        for strings in [Strings::Shared, Strings::Inline] {
            let row = vec!["a & b".to_owned(), String::new()];
            let mut zip = Vec::new();
            write(
                &mut zip,
                row.clone(),
                std::iter::repeat_n(row, 1_000),
                strings,
            )
            .expect("written");
            let inflated = inflate(&zip).expect("inflated");
            assert!(
                inflated > 60_000 && zip.len() < 20_000,
                "{inflated} from {}",
                zip.len()
            );
        }
    }
}
