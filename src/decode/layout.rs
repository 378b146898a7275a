//! Checks that a zip is laid out as its directory says, so that every reader finds the same parts
//! in the same bytes.
//!
//! ```text
//! header · data · (descriptor) │ header · data · … │ directory │ end
//! ```
//! The parts must follow one another without gap or overlap. Each header must agree with the
//! directory. The end record must be the end of the file. Where two places disagree, zip programs
//! differ in which one they believe. Spreadsheet programs write no such file. Knows nothing of what
//! is inside the parts.

use super::Error;

const HEADER: u32 = 0x0403_4b50;
const ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const END_LENGTH: usize = 22;
/// A field with this value means that the real value is elsewhere, as in files beyond 4 GiB.
const ELSEWHERE: u32 = u32::MAX;
/// The checksum and the sizes follow the data, in a descriptor.
const DESCRIBED_BEHIND: u16 = 1 << 3;
/// The part is encrypted, strongly encrypted, or its directory entry is masked.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Kind of an extra field that gives the part another name.
const OTHER_NAME: u16 = 0x7075;

/// A part as the directory describes it.
#[derive(Clone, Copy, Debug)]
struct DirectoryEntry<'a> {
    flags: u16,
    method: u16,
    crc: u32,
    packed: u32,
    size: u32,
    at: u32,
    name: &'a [u8],
}

/// Checks the layout of `bytes`, which must begin with the header of a part.
pub(super) fn check(bytes: &[u8]) -> Result<(), Error> {
    let mut entries = read_directory(bytes)?;
    let directory_at = entries.directory_at;
    entries.entries.sort_by_key(|entry| entry.at);
    let mut end = 0;
    for entry in &entries.entries {
        if entry.at as usize != end {
            let what = if (entry.at as usize) < end {
                "overlap"
            } else {
                "have bytes between them that belong to no part"
            };
            return refuse(format!("its parts {what}"));
        }
        end = part_end(bytes, entry, directory_at)?;
    }
    if end != directory_at {
        return refuse("there are bytes between its parts and its directory");
    }
    Ok(())
}

struct DirectoryEntries<'a> {
    entries: Vec<DirectoryEntry<'a>>,
    directory_at: usize,
}

fn read_directory(bytes: &[u8]) -> Result<DirectoryEntries<'_>, Error> {
    let no_end = "no readable zip directory at its end, the file is probably cut off";
    let end_at = bytes.len().checked_sub(END_LENGTH);
    let mut end = LayoutCursor::at(bytes, end_at.unwrap_or(bytes.len()));
    if end.u32() != Some(END) {
        return refuse(no_end);
    }
    let disks = [end.u16(), end.u16()];
    let (here, all) = (end.u16(), end.u16());
    let (size, at, comment) = (end.u32(), end.u32(), end.u16());
    if disks != [Some(0); 2] || here != all || comment != Some(0) {
        return refuse("the end of its directory names several disks or a comment");
    }
    let (Some(count), Some(size), Some(at)) = (all, size, at) else {
        return refuse(no_end);
    };
    if count == u16::MAX || at == ELSEWHERE {
        return refuse("it is a zip64 file, which no export needs");
    }
    let (size, at) = (size as usize, at as usize);
    if at.checked_add(size) != end_at {
        return refuse("its directory is not where its end says");
    }
    let mut fields = LayoutCursor::at(bytes, at);
    let mut entries = Vec::with_capacity(count.into());
    for _ in 0..count {
        let entry = read_entry(&mut fields);
        entries.push(entry.ok_or_else(|| refused("its directory is damaged"))?);
    }
    if Some(fields.at) != end_at {
        return refuse("its directory has another number of parts than its end says");
    }
    for entry in &entries {
        check_entry(entry)?;
    }
    Ok(DirectoryEntries {
        entries,
        directory_at: at,
    })
}

fn read_entry<'a>(fields: &mut LayoutCursor<'a>) -> Option<DirectoryEntry<'a>> {
    if fields.u32()? != ENTRY {
        return None;
    }
    fields.skip(4)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.skip(4)?;
    let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    fields.skip(6)?;
    let at = fields.u32()?;
    let name = fields.bytes(name)?;
    let extra = fields.bytes(extra)?;
    fields.skip(comment.into())?;
    (disk == 0 && has_plain_extra_fields(extra)).then_some(DirectoryEntry {
        flags,
        method,
        crc,
        packed,
        size,
        at,
        name,
    })
}

/// Whether the extra fields are whole and none of them gives the part another name.
fn has_plain_extra_fields(extra: &[u8]) -> bool {
    let mut fields = LayoutCursor::at(extra, 0);
    while fields.at < extra.len() {
        let (Some(kind), Some(length)) = (fields.u16(), fields.u16()) else {
            return false;
        };
        if kind == OTHER_NAME || fields.bytes(length).is_none() {
            return false;
        }
    }
    true
}

fn check_entry(entry: &DirectoryEntry<'_>) -> Result<(), Error> {
    if entry.flags & ENCRYPTED != 0 {
        return refuse("a part is encrypted");
    }
    if !matches!(entry.method, 0 | 8) {
        return refuse(format!(
            "a part is packed by method {}, which no workbook uses",
            entry.method
        ));
    }
    if has_idle_steps(entry.name) {
        return refuse("a part's path contains an empty step or a `.`");
    }
    if [entry.packed, entry.size, entry.at].contains(&ELSEWHERE) {
        return refuse("it is a zip64 file, which no export needs");
    }
    if entry.method == 0 && entry.packed != entry.size {
        return refuse("a part that is not packed has two sizes");
    }
    Ok(())
}

/// Whether the path contains `//` or `/./`, so that two names could mean one part. A path from the
/// root is refused elsewhere, with a clearer message.
fn has_idle_steps(name: &[u8]) -> bool {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let mut steps = name.split(is_slash);
    !name.first().is_some_and(is_slash)
        && name.len() > 1
        && steps.any(|step| matches!(step, b"" | b"."))
}

/// Checks a part's header against its directory entry, and its descriptor if it has one. Returns
/// where the part ends.
fn part_end(bytes: &[u8], entry: &DirectoryEntry<'_>, directory_at: usize) -> Result<usize, Error> {
    let damaged = || refused("a part's header is damaged, or is not what the directory says");
    let mut fields = LayoutCursor::at(&bytes[..directory_at], entry.at as usize);
    let is_same = is_header_of(&mut fields, entry).ok_or_else(damaged)?;
    if !is_same || fields.skip(entry.packed as usize).is_none() {
        return Err(damaged());
    }
    if entry.flags & DESCRIBED_BEHIND == 0 {
        return Ok(fields.at);
    }
    // A descriptor may lack its signature, and its sizes may have four or eight bytes.
    let described = |signed: bool, wide: bool| {
        let mut fields = LayoutCursor::at(&bytes[..directory_at], fields.at);
        let is_signed = !signed || fields.u32()? == DESCRIPTOR;
        let crc = fields.u32()?;
        let sizes = if wide {
            [fields.u64()?, fields.u64()?]
        } else {
            [fields.u32()?.into(), fields.u32()?.into()]
        };
        let is_same = crc == entry.crc && sizes == [u64::from(entry.packed), u64::from(entry.size)];
        (is_signed && is_same).then_some(fields.at)
    };
    [(true, false), (false, false), (true, true), (false, true)]
        .into_iter()
        .find_map(|(signed, wide)| described(signed, wide))
        .ok_or_else(|| refused("what stands behind a part is not what the directory says"))
}

/// Reads a header and returns whether it agrees with `entry`. `None` if it is cut off.
fn is_header_of(fields: &mut LayoutCursor<'_>, entry: &DirectoryEntry<'_>) -> Option<bool> {
    let is_header = fields.u32()? == HEADER;
    fields.skip(2)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.skip(4)?;
    let said = [fields.u32()?, fields.u32()?, fields.u32()?];
    let (name, extra) = (fields.u16()?, fields.u16()?);
    let name = fields.bytes(name)?;
    let extra = fields.bytes(extra)?;
    let behind = entry.flags & DESCRIBED_BEHIND != 0;
    let known = [entry.crc, entry.packed, entry.size];
    let is_said = said
        .iter()
        .zip(known)
        .enumerate()
        .all(|(place, (&said, known))| {
            // Even in a small file the sizes may be in an extra field.
            said == known || (behind && said == 0) || (place > 0 && said == ELSEWHERE)
        });
    let is_same = flags == entry.flags && method == entry.method && name == entry.name;
    Some(is_header && is_same && is_said && has_plain_extra_fields(extra))
}

/// Reads little-endian fields one after another, and knows its position.
#[derive(Clone, Copy, Debug)]
struct LayoutCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> LayoutCursor<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.at.checked_add(N)?;
        let found = self.bytes.get(self.at..end)?.try_into().ok()?;
        self.at = end;
        Some(found)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, length: u16) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length.into())?;
        let found = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(found)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        let end = self.at.checked_add(length)?;
        self.bytes.get(self.at..end)?;
        self.at = end;
        Some(())
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Container(reason.into())
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(refused(reason))
}
