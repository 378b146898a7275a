//! Reads the zip's directory strictly: the parts must follow one another from the first byte on,
//! and their headers must agree with the directory.
//!
//! It accepts nothing that [`super::super::layout`] refuses. Debug builds assert that for every
//! workbook that is read. Anything that some program might see differently (zip64, comments, extra
//! fields, other methods) is left to the careful reader.

use std::borrow::Cow;

use super::source::WorkbookBytes;
use super::{FastResult, Unsupported};
use crate::decode::WorkbookLimits;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
const END: &[u8] = b"PK\x05\x06";
/// Length of the end record without a comment.
const END_LENGTH: usize = 22;
/// Longest entry of a directory without extra fields.
const MOST_ENTRY: usize = 46 + u16::MAX as usize;
/// Length of a part's header without its name.
const HEADER_LENGTH: usize = 30;
/// Length of a descriptor with its signature.
const DESCRIPTOR_LENGTH: usize = 16;
/// The sizes follow the data. Writers that cannot seek write them so.
const HAS_DESCRIPTOR: u16 = 1 << 3;
/// Flags without harm: a descriptor, two bits for the compression level, and UTF-8 names.
const HARMLESS_FLAGS: u16 = HAS_DESCRIPTOR | 0b110 | 1 << 11;
/// An export has about a dozen parts. Every name is compared with every other.
const MOST_PARTS: usize = 128;
/// The compression ratio of a smaller part says nothing.
const RATIO_FROM: u64 = 1 << 20;

/// One part as the directory and its local header describe it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ZipPart<'a> {
    pub(super) name: &'a str,
    /// Its bytes, compressed or stored: `packed` bytes of `source`, from `at` on.
    pub(super) source: WorkbookBytes<'a>,
    pub(super) at: usize,
    pub(super) packed: usize,
    pub(super) is_deflated: bool,
    /// Inflated size, bytes.
    pub(super) size: u64,
    pub(super) crc: u32,
}

/// The zip's directory.
#[derive(Debug)]
pub(super) struct ZipDirectory<'a> {
    source: WorkbookBytes<'a>,
    bytes: Cow<'a, [u8]>,
    at: usize,
    count: usize,
}

impl<'a> ZipDirectory<'a> {
    /// Reads the end of the file and the directory that it points to.
    pub(super) fn of(source: WorkbookBytes<'a>) -> FastResult<Self> {
        let end_at = source.len().checked_sub(END_LENGTH);
        let end_at = end_at.ok_or(Unsupported("the file is cut off"))?;
        let end = source.bytes(end_at, END_LENGTH)?;
        let mut end = RecordFields(&end);
        end.expect(END)?;
        let (disk, start_disk) = (end.u16()?, end.u16()?);
        let (count, count_of_all) = (usize::from(end.u16()?), usize::from(end.u16()?));
        let (size, at) = (end.u32()? as usize, end.u32()? as usize);
        if (disk, start_disk, end.u16()?) != (0, 0, 0) || count != count_of_all {
            return Err(Unsupported("the zip has several disks or a comment"));
        }
        let is_too_long = count > MOST_PARTS || size > count * MOST_ENTRY;
        if at.checked_add(size) != Some(end_at) || is_too_long {
            return Err(Unsupported("the zip's directory is not where it should be"));
        }
        let bytes = source.bytes(at, size)?;
        Ok(Self {
            source,
            bytes,
            at,
            count,
        })
    }

    /// Lists the parts, if the zip is within the limits.
    pub(super) fn parts(&self, limits: &WorkbookLimits) -> FastResult<Vec<ZipPart<'_>>> {
        if self.count > limits.entries {
            return Err(Unsupported("the zip's parts are too many"));
        }
        let mut entries = RecordFields(&self.bytes);
        let mut parts: Vec<ZipPart<'_>> = Vec::with_capacity(self.count);
        let mut spans = Vec::with_capacity(self.count);
        let mut inflated = 0;
        for _ in 0..self.count {
            let (part, span) = self.read_part(&mut entries)?;
            if parts
                .iter()
                .any(|other| other.name.eq_ignore_ascii_case(part.name))
            {
                return Err(Unsupported("two parts have the same name"));
            }
            check_size(&part, limits)?;
            inflated += part.size;
            parts.push(part);
            spans.push(span);
        }
        spans.sort_unstable();
        let starts = spans.iter().map(|span| span.0).chain([self.at]);
        let ends = [0].into_iter().chain(spans.iter().map(|span| span.1));
        if !entries.0.is_empty() || starts.ne(ends) || inflated > limits.total_bytes {
            return Err(Unsupported("the zip's parts are not one behind the other"));
        }
        Ok(parts)
    }

    /// Reads the next entry and the header that it points to. Returns the part, and where it starts
    /// and ends in the file.
    fn read_part<'d>(
        &'d self,
        entries: &mut RecordFields<'d>,
    ) -> FastResult<(ZipPart<'d>, (usize, usize))> {
        entries.expect(CENTRAL)?;
        entries.u16()?; // Which program made it.
        let common = entries.take(10)?;
        let (crc, packed, size) = (entries.u32()?, entries.u32()?, entries.u32()?);
        let name_length = entries.u16()?;
        let (extra, comment, disk) = (entries.u16()?, entries.u16()?, entries.u16()?);
        entries.take(6)?; // What kind of file it was on the writer's disk.
        let start = entries.u32()? as usize;
        let name = entries.take(name_length.into())?;
        let mut fields = RecordFields(common);
        let (version, flags, method) = (fields.u16()?, fields.u16()?, fields.u16()?);
        if (extra, comment, disk) != (0, 0, 0) || version > 20 {
            return Err(Unsupported("a part has extra fields"));
        }
        if flags & !HARMLESS_FLAGS != 0 || !matches!(method, 0 | 8) {
            return Err(Unsupported(
                "a part is encrypted or packed in an unusual way",
            ));
        }
        let header = self.source.bytes(start, HEADER_LENGTH + name.len())?;
        let mut local = RecordFields(&header);
        local.expect(LOCAL)?;
        let local_common = local.take(10)?;
        let sizes = (local.u32()?, local.u32()?, local.u32()?);
        let lengths = (local.u16()?, local.u16()?);
        let has_descriptor = flags & HAS_DESCRIPTOR != 0;
        let agrees = sizes == (crc, packed, size) || has_descriptor && sizes == (0, 0, 0);
        if local_common != common || lengths != (name_length, 0) || !agrees {
            return Err(Unsupported("a part's header and the directory differ"));
        }
        if local.take(name.len())? != name {
            return Err(Unsupported("a part's header and the directory differ"));
        }
        let at = start + header.len();
        let mut end = at.saturating_add(packed as usize);
        if end > self.at {
            return Err(Unsupported("a part is cut off"));
        }
        if has_descriptor {
            let behind = self.source.bytes(end, DESCRIPTOR_LENGTH)?;
            // The signature is optional.
            let signed = behind.strip_prefix(DESCRIPTOR);
            let mut described = RecordFields(signed.unwrap_or(&behind));
            if (described.u32()?, described.u32()?, described.u32()?) != (crc, packed, size) {
                return Err(Unsupported("a part's descriptor and the directory differ"));
            }
            end += if signed.is_some() { 16 } else { 12 };
        }
        if packed == u32::MAX || size == u32::MAX {
            return Err(Unsupported("a part is of a zip64 file"));
        }
        if method == 0 && packed != size {
            return Err(Unsupported("a stored part has two sizes"));
        }
        let part = ZipPart {
            name: plain_name(name)?,
            source: self.source,
            at,
            packed: packed as usize,
            is_deflated: method == 8,
            size: size.into(),
            crc,
        };
        Ok((part, (start, end)))
    }
}

fn check_size(part: &ZipPart<'_>, limits: &WorkbookLimits) -> FastResult<()> {
    let compressed = part.packed as u64;
    let is_bomb = part.size > RATIO_FROM && part.size > compressed.saturating_mul(limits.ratio);
    if part.size > limits.entry_bytes || is_bomb {
        return Err(Unsupported("a part is too large"));
    }
    Ok(())
}

/// The name, if it is a relative path in characters that all readers understand alike.
fn plain_name(name: &[u8]) -> FastResult<&str> {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-./[] ()".contains(b);
    let name = name
        .iter()
        .all(is_plain)
        .then(|| str::from_utf8(name).unwrap_or_default());
    let name = name.ok_or(Unsupported("a part's name is unusual"))?;
    let is_file = !name.is_empty() && !name.starts_with('/') && !name.ends_with('/');
    let is_macro = name.to_ascii_lowercase().contains("vbaproject");
    let has_steps = name.split('/').any(|step| matches!(step, "" | "." | ".."));
    if !is_file || is_macro || has_steps {
        return Err(Unsupported("a part's name is unusual"));
    }
    Ok(name)
}

/// Reads the little-endian fields of a record, one after another.
struct RecordFields<'a>(&'a [u8]);

impl<'a> RecordFields<'a> {
    fn take(&mut self, length: usize) -> FastResult<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Unsupported("the zip is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn expect(&mut self, signature: &[u8]) -> FastResult<()> {
        if self.take(signature.len())? != signature {
            return Err(Unsupported("the zip's directory is not where it should be"));
        }
        Ok(())
    }

    fn u16(&mut self) -> FastResult<u16> {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Unsupported("the zip is cut off"))?;
        self.0 = rest;
        Ok(u16::from_le_bytes(*field))
    }

    fn u32(&mut self) -> FastResult<u32> {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Unsupported("the zip is cut off"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*field))
    }
}
