//! Checks the container: what kind of file it is, and whether its zip is whole, consistent and
//! within the limits. Then copies what calamine is to read.
//!
//! ```text
//! bytes ─► zip ─┬─ every part: inflated once, for its sum and size
//!               └─ parts that the relations lead to: markup ─► copy with the usual names
//! ```
//! Every part is inflated once to its end, through a window of 64 KiB. That checks its CRC, which
//! calamine does not check, and shows the markup of those that are read to [`Scanner`]. The copy
//! holds these parts and no other, under the names by which calamine looks for them: it does not
//! follow the relations to strings and formats. Parts are copied as they are packed, unless
//! something in them is odd. Takes bytes and limits. Does not know what a sheet means.

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read, Write as _};

use zip::read::ZipFile;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::markup::{PartFacts, Relation, Scanner};
use super::package::{self, Role};
use super::{Error, WorkbookLimits, layout};

const ZIP: &[u8] = b"PK\x03\x04";
const OLE: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
/// The compression ratio of a smaller part says nothing.
const RATIO_FROM: u64 = 1 << 20;
/// The copy's packing. It is read once and thrown away.
const COPY_LEVEL: i64 = 1;

/// Checks that `bytes` are a workbook that is safe to read, and copies what there is to read.
pub(super) fn checked_copy(bytes: &[u8], limits: &WorkbookLimits) -> Result<Vec<u8>, Error> {
    sniff(bytes)?;
    if bytes.len() as u64 > limits.container_bytes {
        return Err(too_large(bytes.len(), limits));
    }
    layout::check(bytes)?;
    let zip = ZipArchive::new(Cursor::new(bytes)).map_err(no_directory)?;
    let places = check_directory(&zip, limits)?;
    let mut package = Package {
        zip,
        places,
        limits,
        read: HashSet::new(),
        inflated: 0,
    };
    let parts = package.check()?;
    package.copy(&parts)
}

/// A workbook's parts on their way through the checks.
struct Package<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
    /// Indexes of the parts by their folded names.
    places: HashMap<String, usize>,
    limits: &'b WorkbookLimits,
    /// Parts that were inflated.
    read: HashSet<usize>,
    /// Bytes of all parts that were inflated.
    inflated: u64,
}

/// A part that is inflated as it is read.
type InflatingPart<'z, 'b> = ZipFile<'z, Cursor<&'b [u8]>>;

/// A part that is copied.
struct CopiedPart {
    index: usize,
    is_odd: bool,
    /// Its name in the copy.
    name: String,
}

/// The parts that are copied, and the relations between them.
struct CopiedParts {
    parts: Vec<CopiedPart>,
    relations: String,
}

impl Package<'_> {
    /// Checks every part, and finds those that are read.
    fn check(&mut self) -> Result<CopiedParts, Error> {
        let (_, package) = self.scan(package::PACKAGE, "its list of relations")?;
        let mut documents = package.relations.iter();
        let document = documents.rfind(|relation| Role::of(&relation.kind) == Role::Document);
        let document = document.ok_or_else(|| no_workbook("none of its relations leads to one"))?;
        let workbook = path_of("", document)?;
        let (index, facts) = self.scan(&workbook, "its workbook")?;
        let (_, relations) = self.scan(
            &package::relations_of(&workbook),
            "the list of its workbook's relations",
        )?;
        let mut copied = CopiedParts {
            parts: vec![CopiedPart {
                index,
                is_odd: false,
                name: WORKBOOK.to_owned(),
            }],
            relations: String::new(),
        };
        let by_id: HashMap<&str, &Relation> = relations
            .relations
            .iter()
            .map(|relation| (relation.id.as_str(), relation))
            .collect();
        for id in &facts.sheet_ids {
            // calamine says what is wrong with a sheet that leads nowhere.
            let Some(relation) = by_id.get(id.as_str()) else {
                continue;
            };
            let mut target = "other.xml".to_owned();
            if Role::of(&relation.kind) == Role::Worksheet {
                let path = path_of(&workbook, relation)?;
                let (index, facts) = self.scan(&path, "the part of a sheet")?;
                if copied.parts.iter().any(|part| part.index == index) {
                    return Err(Error::Part {
                        part: workbook,
                        reason: "two of its sheets are in the same part".to_owned(),
                    });
                }
                target = format!("worksheets/sheet{}.xml", copied.parts.len());
                copied.parts.push(CopiedPart {
                    index,
                    is_odd: facts.is_odd,
                    name: format!("xl/{target}"),
                });
            }
            copied.relations += &relation_tag(id, &relation.kind, &target);
        }
        for (role, name) in [
            (Role::Strings, "xl/sharedStrings.xml"),
            (Role::Styles, "xl/styles.xml"),
        ] {
            let mut found = relations.relations.iter();
            let Some(relation) = found.find(|relation| Role::of(&relation.kind) == role) else {
                continue;
            };
            if found.any(|relation| Role::of(&relation.kind) == role) {
                return Err(Error::Part {
                    part: package::relations_of(&workbook),
                    reason: format!("two relations lead to what is usually `{name}`"),
                });
            }
            let path = path_of(&workbook, relation)?;
            // A workbook whose sheets need no strings or formats may lack the part.
            if !self.places.contains_key(&folded(&path)) {
                continue;
            }
            let (index, facts) = self.scan(&path, "what its relations lead to")?;
            copied.parts.push(CopiedPart {
                index,
                is_odd: facts.is_odd,
                name: name.to_owned(),
            });
        }
        self.inflate_the_others()?;
        Ok(copied)
    }

    /// Inflates and scans the part at `path`, which is `what`.
    fn scan(&mut self, path: &str, what: &str) -> Result<(usize, PartFacts), Error> {
        let index = self.places.get(&folded(path)).copied();
        let index = index.ok_or_else(|| no_workbook(&format!("{what} `{path}` is missing")))?;
        let facts = self.inflate(index, |name, limits| Some(Scanner::new(name, limits)))?;
        self.read.insert(index);
        Ok((index, facts.unwrap_or_default()))
    }

    fn inflate_the_others(&mut self) -> Result<(), Error> {
        for index in 0..self.zip.len() {
            if self.read.insert(index) {
                self.inflate(index, |_, _| None)?;
            }
        }
        Ok(())
    }

    /// Inflates one part to its end and checks it.
    fn inflate(
        &mut self,
        index: usize,
        scanner: for<'s> fn(&'s str, &'s WorkbookLimits) -> Option<Scanner<'s>>,
    ) -> Result<Option<PartFacts>, Error> {
        let limits = self.limits;
        let (name, mut part) = open(&mut self.zip, index)?;
        let mut scanner = scanner(&name, limits);
        let size = inflate(&name, &mut part, limits, |piece| match &mut scanner {
            Some(scanner) => scanner.push(piece),
            None => Ok(()),
        })?;
        if size != part.size() {
            return Err(Error::Container(format!(
                "part `{name}` has another size than the directory says"
            )));
        }
        self.inflated += size;
        if self.inflated > limits.total_bytes {
            let most = limits.total_bytes;
            return Err(Error::TooLarge(format!("more than {most} bytes inflated")));
        }
        scanner.map(Scanner::finish).transpose()
    }

    /// Copies the parts under their usual names.
    fn copy(&mut self, copied: &CopiedParts) -> Result<Vec<u8>, Error> {
        let not_copied =
            |error: ZipError| Error::Container(format!("it cannot be copied: {error}"));
        let mut copy = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_level(Some(COPY_LEVEL));
        let document = relation_tag("d", "/relationships/officeDocument", WORKBOOK);
        for (name, relations) in [
            (package::PACKAGE.to_owned(), &document),
            (package::relations_of(WORKBOOK), &copied.relations),
        ] {
            copy.start_file(name, options).map_err(not_copied)?;
            write!(copy, "<Relationships>{relations}</Relationships>")
                .map_err(|error| not_copied(error.into()))?;
        }
        for part in &copied.parts {
            if !part.is_odd {
                let packed = self.zip.by_index_raw(part.index).map_err(not_copied)?;
                copy.raw_copy_file_rename(packed, &part.name)
                    .map_err(not_copied)?;
                continue;
            }
            copy.start_file(&part.name, options).map_err(not_copied)?;
            let (name, mut inflating) = open(&mut self.zip, part.index)?;
            let mut scanner = Scanner::copying(&name, self.limits);
            let mut write = |scanner: &mut Scanner<'_>| -> Result<(), Error> {
                let copied = scanner.take_copied()?;
                copy.write_all(&copied)
                    .map_err(|error| not_copied(error.into()))
            };
            inflate(&name, &mut inflating, self.limits, |piece| {
                scanner.push(piece)?;
                write(&mut scanner)
            })?;
            write(&mut scanner)?;
        }
        Ok(copy.finish().map_err(not_copied)?.into_inner())
    }
}

/// Path of the workbook in a copy.
const WORKBOOK: &str = "xl/workbook.xml";

fn no_workbook(why: &str) -> Error {
    Error::Container(format!(
        "it has no workbook inside, so it is no .xlsx: {why}"
    ))
}

fn path_of(source: &str, relation: &Relation) -> Result<String, Error> {
    let refuse = |reason: &str| Error::Part {
        part: package::relations_of(source),
        reason: reason.to_owned(),
    };
    if relation.is_external {
        return Err(refuse("what should be in the workbook is in another file"));
    }
    let target = relation.target.as_str();
    if target.contains('&') {
        return Err(refuse("a target holds an entity"));
    }
    package::target_of(source, target).ok_or_else(|| refuse("a target leads out of the workbook"))
}

/// A relation with attributes as they were written, so none holds both kinds of quotes.
fn relation_tag(id: &str, kind: &str, target: &str) -> String {
    let quoted = |value: &str| match value.contains('"') {
        true => format!("'{value}'"),
        false => format!("\"{value}\""),
    };
    let (id, kind) = (quoted(id), quoted(kind));
    format!("<Relationship Id={id} Type={kind} Target=\"{target}\"/>")
}

/// The error for a file of `size` bytes, which is too large.
pub(super) fn too_large(size: usize, limits: &WorkbookLimits) -> Error {
    let most = limits.container_bytes;
    Error::TooLarge(format!("{size} bytes, at most {most} are read"))
}

/// Says what the bytes are if they are no zip. It tells an error page from a protected file and
/// from a cut-off download.
fn sniff(bytes: &[u8]) -> Result<(), Error> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = text.trim_ascii_start();
    let kind = match start {
        _ if bytes.is_empty() => return Err(Error::Empty),
        _ if bytes.starts_with(ZIP) => return Ok(()),
        _ if bytes.starts_with(b"PK") && bytes.len() < ZIP.len() => "a cut-off zip",
        _ if bytes.starts_with(b"PK\x05\x06") => "a zip without any file in it",
        _ if bytes.starts_with(OLE) => {
            "an OLE file, which is an old .xls or a password-protected workbook"
        }
        _ if bytes.starts_with(&[0x1f, 0x8b]) => "gzip; unpack it first",
        [b'{' | b'[', ..] => return Err(Error::NotAWorkbook(describe_json(start))),
        [b'<', ..] => "HTML or XML, perhaps an error page",
        _ => "it does not begin with a zip's `PK\\x03\\x04`",
    };
    Err(Error::NotAWorkbook(kind.into()))
}

/// Describes an API error that came in place of a file. Only its code is shown, because its message
/// may name people.
fn describe_json(text: &[u8]) -> String {
    let code = serde_json::from_slice::<serde_json::Value>(text)
        .ok()
        .and_then(|body| body.get("code").and_then(serde_json::Value::as_i64));
    match code {
        Some(code) => format!("JSON, an API answer with code {code}"),
        None => "JSON".into(),
    }
}

fn no_directory(error: ZipError) -> Error {
    Error::Container(format!(
        "no readable zip directory, the file is probably cut off ({error})"
    ))
}

/// Checks the names of the parts. Returns their places by folded name.
fn check_directory(
    zip: &ZipArchive<Cursor<&[u8]>>,
    limits: &WorkbookLimits,
) -> Result<HashMap<String, usize>, Error> {
    if zip.len() > limits.entries {
        let (len, most) = (zip.len(), limits.entries);
        return Err(Error::TooLarge(format!("{len} parts, at most {most}")));
    }
    if zip.has_duplicate_names() {
        return Err(Error::Container("two parts have the same name".into()));
    }
    let mut places = HashMap::with_capacity(zip.len());
    for (index, name) in zip.file_names().enumerate() {
        let name = name.map_err(|_| Error::Container("a part's name is not text".into()))?;
        let folded = check_name(&name)?;
        // Readers ignore case and the direction of slashes when they look for a part.
        if places.insert(folded, index).is_some() {
            return Err(Error::Container(format!(
                "two parts are called `{name}`, apart from case"
            )));
        }
    }
    Ok(places)
}

/// A name as readers compare it.
fn folded(name: &str) -> String {
    name.replace('\\', "/").to_lowercase()
}

fn check_name(name: &str) -> Result<String, Error> {
    let folded = folded(name);
    let refuse = |what: &str| Err(Error::Container(format!("part `{name}` {what}")));
    if folded.starts_with('/') || folded.contains(':') || folded.contains('\0') {
        return refuse("has an absolute or impossible path");
    }
    if folded.is_empty() || folded.chars().any(char::is_control) {
        return refuse("has an empty name, or one with a control character");
    }
    if folded.split('/').any(|step| step == "..") {
        return refuse("points outside of the file");
    }
    if folded.contains("vbaproject") {
        return refuse("is a macro, which no export has");
    }
    Ok(folded)
}

/// A part and its name.
fn open<'z, 'b>(
    zip: &'z mut ZipArchive<Cursor<&'b [u8]>>,
    index: usize,
) -> Result<(String, InflatingPart<'z, 'b>), Error> {
    let part = zip.by_index(index).map_err(|error| match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
            Error::Container("a part is encrypted".into())
        }
        error => Error::Container(error.to_string()),
    })?;
    let name = part.name().map(|name| name.into_owned());
    let name = name.map_err(|error| Error::Container(error.to_string()))?;
    Ok((name, part))
}

/// Inflates a part to its end and returns its size.
fn inflate(
    name: &str,
    part: &mut InflatingPart<'_, '_>,
    limits: &WorkbookLimits,
    mut each: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<u64, Error> {
    let compressed = part.compressed_size();
    let mut window = [0; 64 << 10];
    let mut size = 0;
    loop {
        let read = part
            .read(&mut window)
            .or_else(|error| match planted!("planted-crc-ignored") {
                true => Ok(0),
                false => Err(error),
            })
            .map_err(|error| Error::Container(format!("part `{name}` is damaged ({error})")))?;
        if read == 0 {
            return Ok(size);
        }
        size += read as u64;
        check_size(name, size, compressed, limits)?;
        each(&window[..read])?;
    }
}

fn check_size(
    name: &str,
    size: u64,
    compressed: u64,
    limits: &WorkbookLimits,
) -> Result<(), Error> {
    if size > limits.entry_bytes {
        let most = limits.entry_bytes;
        return Err(Error::TooLarge(format!(
            "part `{name}` inflates to more than {most} bytes"
        )));
    }
    if size > RATIO_FROM && size > compressed.saturating_mul(limits.ratio) {
        let most = limits.ratio;
        return Err(Error::TooLarge(format!(
            "part `{name}` inflates to more than {most} times its size, like a zip bomb"
        )));
    }
    Ok(())
}
